"""Runs a few lines of a kernel on arrays, for tests of what kernels are written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler

Compute = Callable[..., Number]


def computed(compute: Compute, operands: Sequence[np.ndarray], lanes: int) -> np.ndarray:
    """``compute`` of all elements, ``lanes`` at a time; their number is a multiple of that."""
    code = Code(len(operands) + 1)
    made: list[np.dtype] = []
    with code.loop(operands[0].size, lanes) as at:
        numbers = [code.load(place, at, item.dtype, lanes) for place, item in zip(code.places, operands, strict=False)]
        result = compute(*numbers)
        made.append(result.dtype)
        code.store(result, code.places[-1], at)
    found = np.empty(operands[0].shape, made[0])
    run(code, [*operands, found])
    return found


def run(code: Code, arrays: Sequence[np.ndarray]) -> None:
    """Execute a kernel on arrays."""
    table = np.array([item.ctypes.data for item in arrays], np.int64)
    assert compiler().function(code.text())(table.ctypes.data) == 0
