"""A compiled kernel of the backend: code, and which tensors the places are that it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.sequence import in_one_call
from toolkit.backends.protocol import Buffer, Kernel, Layout, NativeCall, Step, plain
from toolkit.compiler.program import Variable

NAME = "native"


def plain_layouts(items: Sequence[Variable | None]) -> list[Layout | None]:
    """Row-major order for all tensors that are there."""
    return [None if item is None else plain(item.dtype, item.shape) for item in items]


class _CheckedCall(NativeCall):
    """A call whose function may refuse data; the operator's reference then tells why."""

    explain: Callable[[], Any]

    def __call__(self) -> Any:
        status = super().__call__()
        if status:
            self.explain()
        return status


class CompiledKernel(Kernel):
    """A node done by one function; its places are the tensors it reads, those it writes, the workspace, the tables.

    ``inputs`` and ``outputs`` are ``None`` where a tensor is not touched, ``workspace`` are the bytes it needs of
    scratch memory, ``tables`` are arrays that belong to the kernel and follow from attributes. ``explain`` is called
    with the arrays that the kernel reads once its code refuses them, and raises. ``after`` are further functions of the
    same places, each once the one before is done, whatever threads it has.
    """

    name = "compiled"
    is_shared = True

    def __init__(
        self,
        code: Code,
        inputs: Sequence[Layout | None],
        outputs: Sequence[Layout | None],
        *,
        in_place: Sequence[tuple[int, int]] = (),
        workspace: int = 0,
        tables: Sequence[np.ndarray] = (),
        explain: Callable[..., Any] | None = None,
        after: Sequence[Code] = (),
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.in_place, self.workspace = in_place, workspace
        self._tables, self._explain = tuple(tables), explain
        self._functions = [compiler().function(item.text()) for item in (code, *after)]

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        touched = [item for item in (*inputs, *outputs, workspace) if item is not None]
        addresses = [*(item.address for item in touched), *(array.ctypes.data for array in self._tables)]
        places = np.array(addresses, np.int64)
        kept = (places, self._tables)
        (step,) = in_one_call([NativeCall(item, places.ctypes.data, kept=kept) for item in self._functions])
        if self._explain is None:
            return step
        checked = _CheckedCall(step.func, *step.words, kept=step.kept)
        checked.explain = partial(self._explain, *(item.array for item in inputs if item is not None))
        return checked
