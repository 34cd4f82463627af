"""What kernels of minimal filtering of all shapes have in common: functions that are compiled once a process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from toolkit.backends.native.code import Code
from toolkit.backends.native.library import compiler
from toolkit.backends.native.winograd.transforms import Filtering, Line, in_both_axes

FLOAT32 = np.dtype(np.float32)


@cache
def window_function(filtering: Filtering) -> str:
    """Windows seen at all points. Places: windows, target; numbers: channels, and three distances in numbers.

    Those are between the rows and the columns of a window, and between the points in the target. Channels lie densely,
    as many as vectors hold.
    """
    code = Code(2, numbers=4)
    (windows, target), (channels, row_apart, column_apart, apart) = code.places, code.numbers
    lanes, steps = compiler().lanes(FLOAT32), range(filtering.size)
    rows = [row_apart * row for row in steps]
    starts = [[row + column_apart * column for column in steps] for row in rows]
    points = [apart * point for point in range(filtering.size**2)]
    with code.loop(channels, lanes) as channel:
        window = [[code.load(windows, start + channel, FLOAT32, lanes) for start in line] for line in starts]
        for point, value in zip(points, _flat(in_both_axes(filtering.window, window)), strict=True):
            code.store(value, target, point + channel)
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


def _flat(square: Sequence[Line]) -> list[Any]:
    return [value for line in square for value in line]
