"""Tiles in an order in which those that have a product at infinity follow each other.

That product is part of the last result of a tile along an axis, and of no other. Where tiles do not end with an axis,
as many as possible have one result less, and are short: 14 results are those of tiles of 4, 4, 3 and 3. A sixth of the
products of a short tile is left out, or two in both axes.
"""

from __future__ import annotations

from typing import NamedTuple

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.winograd.images import Corner
from toolkit.backends.native.winograd.tiles import Tiles


class _Axis(NamedTuple):
    """``results`` of tiles with ``outputs``, so many ``whole`` ones and then so many ``short`` ones."""

    results: int
    outputs: int
    whole: int
    short: int

    @classmethod
    def of(cls, results: int, outputs: int) -> _Axis:
        count = -(-results // outputs)
        short = min(count * outputs - results, count)
        return cls(results, outputs, count - short, short)

    @property
    def tiles(self) -> int:
        return self.whole + self.short


class Order:
    """The tiles of each ``batch`` images: those with whole rows are in front, those with whole columns in the middle.

    A tile with whole rows has all its rows of results, one with whole columns all its columns. ``total`` are those of a
    batch, by default of all images.
    """

    def __init__(self, code: Code, tiles: Tiles, batch: int = 0) -> None:
        self._code, self._size = code, tiles.filtering.size
        self._batch = batch = batch or tiles.batch
        self._last = tiles.filtering.infinity
        rows, columns = self._axes = [_Axis.of(results, tiles.filtering.outputs) for results in tiles.result]
        self.total = batch * rows.tiles * columns.tiles
        first = batch * rows.whole * columns.short
        self._high = batch * rows.whole * columns.tiles  # up to where rows are whole
        self._wide = first, first + batch * rows.tiles * columns.whole  # from where to where columns are

    @property
    def saves(self) -> bool:
        """Whether there are tiles that do without some product."""
        return any(axis.short for axis in self._axes)

    def tile(self, number: Number) -> tuple[Corner, tuple[Number, Number]]:
        """Where a tile begins, and its rows and columns of results."""
        (rows, columns), (begin, end) = self._axes, self._wide
        batch = number / self.total
        number = number - batch * self.total
        is_low, is_narrow = number >= self._high, (number < begin) | (number >= end)
        first = is_low.choose(self._one_of(is_narrow, end, self._high), self._one_of(is_narrow, 0, begin))
        high = self._one_of(is_low, max(1, rows.short), max(1, rows.whole))
        wide = self._one_of(is_narrow, max(1, columns.short), max(1, columns.whole))
        image = (number - first) / (high * wide)
        inside = number - first - image * (high * wide)
        row = inside / wide
        top, height = self._along(rows, row, is_low)
        left, breadth = self._along(columns, inside - row * wide, is_narrow)
        return Corner(batch * self._batch + image, top, left), (height, breadth)

    def _along(self, axis: _Axis, number: Number, is_short: Number) -> tuple[Number, Number]:
        """Where one of the short tiles of an axis begins, or one of the others, and its results."""
        each = self._one_of(is_short, axis.outputs - 1, axis.outputs)
        begin = number * each + self._one_of(is_short, axis.whole * axis.outputs, 0)
        return begin, (axis.results - begin).smaller(each)

    def _one_of(self, truth: Number, yes: int, no: int) -> Number:
        return truth.choose(self._code.index(yes), no)

    def having(self, point: Number) -> tuple[Number, Number]:
        """From where to where tiles have a product with a factor of a window."""
        begin, end = self._wide
        row = point / self._size
        is_below, is_right = row.equals(self._last), (point - row * self._size).equals(self._last)
        until = is_below.choose(self._code.index(self._high), self._one_of(is_right, end, self.total))
        return self._one_of(is_right, begin, 0), until

    def groups(self, rows: int) -> int:
        """How many products of ``rows`` tiles a batch has at all points."""
        (begin, end), inner = self._wide, self._size - 1
        counts = (inner * inner, self.total), (inner, self._high), (inner, end - begin), (1, self._high - begin)
        return sum(points * -(-count // rows) for points, count in counts)
