"""Descriptors of cuDNN's functions beside the graphs: softmax, batch statistics, recurrent layers."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

from toolkit.backends.cuda.cudnn.functions import Functions
from toolkit.backends.cuda.cudnn.graph import row_major
from toolkit.backends.cuda.cudnn.graph_constants import DataType
from toolkit.backends.protocol import Step

ONE, ZERO = ctypes.c_float(1.0), ctypes.c_float(0.0)  # results replace what lies there


class Legacy:
    """A descriptor of some kind (``Tensor``, ``RNN``), destroyed with its last reference."""

    def __init__(self, functions: Functions, kind: str = "Tensor") -> None:
        made = ctypes.c_void_p()
        getattr(functions, f"Create{kind}Descriptor")(ctypes.byref(made))
        self.handle = made
        weakref.finalize(self, getattr(functions, f"Destroy{kind}Descriptor"), made.value).atexit = False


def integers(values: Sequence[int]) -> Any:
    """An array of C integers."""
    return (ctypes.c_int * len(values))(*values)


def tensor(functions: Functions, dtype: DataType, shape: Sequence[int], strides: Sequence[int] | None = None) -> Legacy:
    """A tensor descriptor of at least three axes, row-major unless ``strides`` (in elements) say otherwise."""
    made = Legacy(functions)
    steps = row_major(shape) if strides is None else strides
    functions.SetTensorNdDescriptor(made.handle, dtype, len(shape), integers(shape), integers(steps))
    return made


def call(function: Any, *arguments: Any) -> Step:
    """A bound call. Descriptors and numbers stand for their addresses and live as long as the step."""
    raw = [
        item.handle
        if isinstance(item, Legacy)
        else ctypes.addressof(item)
        if isinstance(item, ctypes.c_float)
        else item
        for item in arguments
    ]
    step: Any = partial(function, *raw)
    step.owned = arguments
    return step
