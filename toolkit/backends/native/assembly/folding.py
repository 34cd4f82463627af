"""Sums, extremes and the like of what lies together: several vectors at a time, which are joined at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import FLOATS, Number
from toolkit.backends.native.compilation.compiler import compiler

TOGETHER = 4  # vectors, so that an addition need not wait for the one before
Read = Callable[[Number, int], Number]


class Fold(NamedTuple):
    """An operation on two numbers, in any order, and the number that changes nothing."""

    combine: Callable[[Number, Number], Number]
    neutral: Any


SUM = Fold(lambda one, other: one + other, 0)
PRODUCT = Fold(lambda one, other: one * other, 1)


def largest(dtype: np.dtype) -> Fold:
    """The larger one of numbers of a type; NaN where one is."""
    return Fold(Number.larger, -math.inf if dtype in FLOATS else np.iinfo(dtype).min)


def smallest(dtype: np.dtype) -> Fold:
    """The smaller one of numbers of a type; NaN where one is."""
    return Fold(Number.smaller, math.inf if dtype in FLOATS else np.iinfo(dtype).max)


def lanes_for(size: int, dtype: np.dtype) -> int:
    """As many numbers as a vector has, fewer for a short axis; a power of two."""
    return min(compiler().lanes(dtype), 1 << (size - 1).bit_length())


def folded(code: Code, fold: Fold, size: int, read: Read, lanes: int, dtype: np.dtype) -> Number:
    """One vector of what ``read(position, count)`` gives for an axis; its lanes are still to be joined.

    Of the vectors that are read, lanes from ``count`` on do not matter.
    """
    neutral = code.constant(fold.neutral, dtype, lanes)
    together = TOGETHER if size >= 2 * TOGETHER * lanes else 1
    cells = [code.cell(neutral) for _ in range(together)]

    def add(position: Number, count: int, cell: int = 0) -> None:
        value = read(position, count).only(count, fold.neutral)
        cells[cell].set(fold.combine(cells[cell].get(), value))

    whole = size // (together * lanes) * (together * lanes)
    if whole:
        with code.loop(whole, together * lanes) as position:
            for cell in range(together):
                add(position + cell * lanes, lanes, cell)
    code.pieces(size - whole, lanes, lambda position, count: add(position + whole, count))
    return reduce(fold.combine, [cell.get() for cell in cells])


def joined_lanes(fold: Fold, value: Number) -> Number:
    """All lanes of a vector as one number, halves first."""
    while value.lanes > 1:
        half = value.lanes // 2
        value = fold.combine(value.part(0, half), value.part(half, half))
    return value
