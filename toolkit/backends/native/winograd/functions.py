"""What kernels of minimal filtering of all shapes have in common: functions that are compiled once a process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from toolkit.backends.native.code import Code
from toolkit.backends.native.library import compiler
from toolkit.backends.native.products.tile import width
from toolkit.backends.native.winograd.transforms import Filtering, Line, in_both_axes

FLOAT32 = np.dtype(np.float32)


@cache
def window_function(filtering: Filtering) -> str:
    """Windows seen at all points, see ``_seeing``."""
    return _seeing(filtering.window, filtering.size)


@cache
def square_function(filtering: Filtering) -> str:
    """Squares of ``taps`` positions, which filter windows when a gradient by a weight is computed; see ``_seeing``."""
    return _seeing(filtering.filter, filtering.taps)


def _seeing(transform: Callable[[Line], Line], side: int) -> str:
    """Squares seen at all points. Places: squares, target; numbers: vectors of channels, and four distances.

    Those are between vectors, rows and columns of a square (``Distances``), and between the points in the target, where
    vectors lie densely.
    """
    code = Code(2, numbers=5)
    (squares, target), (vectors, vector_apart, row_apart, column_apart, apart) = code.places, code.numbers
    lanes, steps = compiler().lanes(FLOAT32), range(side)
    rows = [row_apart * row for row in steps]
    starts = [[row + column_apart * column for column in steps] for row in rows]
    with code.loop(vectors) as vector:
        first = vector_apart * vector
        square = [[code.load(squares, start + first, FLOAT32, lanes) for start in line] for line in starts]
        for point, value in enumerate(_flat(in_both_axes(transform, square))):
            code.store(value, target, apart * point + vector * lanes)
    return compiler().name(code.text())


@cache
def result_function(filtering: Filtering) -> str:
    """One vector of products as results. Places: products, target; numbers: the distance between the points.

    The target holds vector after vector, row by row.
    """
    code = Code(2, numbers=1)
    (products, target), (apart,) = code.places, code.numbers
    lanes, size = compiler().lanes(FLOAT32), filtering.size
    seen = [
        [code.load(products, apart * (row * size + column), FLOAT32, lanes) for column in range(size)]
        for row in range(size)
    ]
    for at, value in enumerate(_flat(in_both_axes(filtering.result, seen))):
        code.store(value, target, at * lanes)
    return compiler().name(code.text())


@cache
def weight_function(filtering: Filtering) -> str:
    """Products of one vector of outputs as filters. Places: products, weight; numbers: channels, outputs, distances.

    Those are between the points of the products and between outputs in the weight, (outputs, channels, taps, taps).
    Channels lie as far apart in the products as a panel is wide. Outputs fill the vector, or a part of it.
    """
    code = Code(2, numbers=4)
    (products, weight), (channels, outputs, apart, output_apart) = code.places, code.numbers
    lanes, size = compiler().lanes(FLOAT32), filtering.size
    with code.loop(channels) as channel:
        start = channel * width()
        seen = [
            [code.load(products, start + apart * (row * size + column), FLOAT32, lanes) for column in range(size)]
            for row in range(size)
        ]
        taps = _flat(in_both_axes(filtering.result, seen))
        for lane in range(lanes):
            at = output_apart * lane + channel * len(taps)
            with code.where(outputs > lane):
                for tap, values in enumerate(taps):
                    code.store(values.lane(lane), weight, at + tap)
    return compiler().name(code.text())


def _flat(square: Sequence[Line]) -> list[Any]:
    return [value for line in square for value in line]
