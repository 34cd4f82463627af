"""CUDA C as text: kernels as functions, the names of element types, and numbers written down exactly.

What kernels share lies in ``kernels/*.h``, ordinary CUDA C++ to be read as such. What depends on a node (its operators,
sizes and strides) is written by the modules of the families, mostly as a call of a template of those headers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np

from toolkit.operators.precision import HALF_WIDTH

FOLDER = Path(__file__).parent / "kernels"
ALWAYS = ("device", "types", "elements")
FLOAT_TYPES = frozenset(map(np.dtype, (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)))
INTEGER_TYPES = frozenset(np.dtype(f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64))
NUMBER_TYPES = FLOAT_TYPES | INTEGER_TYPES
ELEMENT_TYPES = NUMBER_TYPES | {np.dtype(bool)}
LARGEST_32_BIT = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Function:
    """One kernel: its ``parameters`` as C declares them, its ``body``, and the headers it needs beyond the usual ones.

    ``before`` stands ahead of the kernel: functions that its body calls.
    """

    name: str
    parameters: tuple[str, ...]
    body: str
    headers: tuple[str, ...] = ()
    before: str = ""

    def text(self) -> str:
        """The function without the headers."""
        return (
            f'{self.before}\nextern "C" __global__ void {self.name}({", ".join(self.parameters)}) {{\n{self.body}\n}}\n'
        )

    def source(self) -> str:
        """All that a compiler needs."""
        return "\n".join([*map(header, (*ALWAYS, *self.headers)), self.text()])


@cache
def header(name: str) -> str:
    """The text of one of the headers."""
    return (FOLDER / f"{name}.h").read_text(encoding="utf-8")


def type_name(dtype: np.dtype) -> str:
    """What the headers call an element type in memory."""
    return dtype.name


def wide_type(dtype: np.dtype) -> np.dtype:
    """What arithmetic on an element type happens in."""
    return np.dtype(np.float32) if dtype in HALF_WIDTH else dtype


def wide_name(dtype: np.dtype) -> str:
    """The name of ``wide_type``."""
    return type_name(wide_type(dtype))


def literal(value: object, dtype: np.dtype) -> str:
    """A number as a constant of ``wide_type(dtype)``, exactly as it is once rounded to ``dtype``."""
    name = wide_name(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.asarray(value).astype(dtype)
    if dtype.kind == "b":
        return "true" if rounded else "false"
    if dtype in INTEGER_TYPES:
        number = int(rounded)
        if number == np.iinfo(np.int64).min:
            return f"((int64){number + 1}LL - 1)"
        return f"({name}){number}{'ULL' if dtype.kind == 'u' else 'LL'}"
    real = float(rounded)
    if math.isnan(real):
        return f"nan_of<{name}>()"
    if math.isinf(real):
        return f"{'-' if real < 0 else ''}infinity_of<{name}>()"
    return f"({name}){real!r}"


def index_type(elements: int) -> str:
    """The unsigned type that counts so many elements; 64 bits cost registers and time, so only where needed."""
    return "uint32" if elements <= LARGEST_32_BIT else "uint64"


def reads(name: str, dtype: np.dtype) -> str:
    """A parameter that is only read."""
    return f"const {type_name(dtype)}* __restrict__ {name}"


def writes(name: str, dtype: np.dtype) -> str:
    """A parameter that is written; it may be the memory of one that was read in the same place."""
    return f"{type_name(dtype)}* {name}"


def readable_name(words: Sequence[str]) -> str:
    """A name for a profiler to show: the operators in it, as far as there is room."""
    name = "_".join(words)
    return name if len(name) <= 60 else f"{name[:48]}_and_more"
