"""Rows of features copied to where vectors read them whole, and products of such a row with tables of weights.

Rows and tables are filled up with zeros to whole vectors, and tables to whole blocks of rows: nothing is left over for
single numbers. Sums are therefore not in the order of the features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler

MOST_AT_ONCE = 6  # sums that grow side by side: more than the latency of an addition asks for gains nothing


def whole(count: int, dtype: np.dtype) -> int:
    """How many numbers of a type there are in the vectors that ``count`` of them need."""
    lanes = compiler().lanes(dtype)
    return -(-count // lanes) * lanes


class Row:
    """A row of ``count`` numbers of ``dtype`` at ``place``, which has room for ``whole(count)`` of them."""

    def __init__(self, code: Code, place: str, count: int, dtype: np.dtype, filler: float = 0.0) -> None:
        """What lies behind the row is ``filler`` for good."""
        self.code, self.place, self.count, self.dtype = code, place, count, dtype
        self.lanes, self.width = compiler().lanes(dtype), whole(count, dtype)
        with code.loop(self.width, start=count) as at:
            code.store(code.constant(filler, dtype), place, at)

    def copy(self, source: str, start: Number, dtype: np.dtype, through: np.dtype | None = None) -> None:
        """Fill it with numbers of another type from ``start`` on, which are rounded to ``through`` on the way."""
        inner = self.count // self.lanes * self.lanes
        with self.code.loop(inner, self.lanes) as at:
            self._convert(source, start, at, dtype, through, self.lanes)
        with self.code.loop(self.count, start=inner) as at:
            self._convert(source, start, at, dtype, through, 1)

    def _convert(
        self, source: str, start: Number, at: Number, dtype: np.dtype, through: np.dtype | None, lanes: int
    ) -> None:
        value = self.code.load(source, start + at, dtype, lanes).converted(through or self.dtype)
        self.code.store(value.converted(self.dtype), self.place, at)

    def reduced(self, start: float, combine: Callable[[Number, Number], Number]) -> Number:
        """All lanes of one vector, which begins with ``start`` and takes up one vector of the row after the other."""
        total = self.code.cell(self.code.constant(start, self.dtype, self.lanes))
        with self.code.loop(self.width, self.lanes) as at:
            total.set(combine(total.get(), self.code.load(self.place, at, self.dtype, self.lanes)))
        return total.get()


class Weights:
    """A table (rows, features) to multiply a row with; ``table`` is what the kernel is given of it."""

    def __init__(self, values: np.ndarray) -> None:
        rows, features = values.shape
        self.rows, self.dtype = rows, values.dtype
        self._at_once = -(-rows // -(-rows // MOST_AT_ONCE))
        self.sums = -(-rows // self._at_once) * self._at_once  # as many as rows, and a few that nobody asks for
        self.table = np.zeros((self.sums, whole(features, values.dtype)), values.dtype)
        self.table[:rows, :features] = values

    def padded(self, values: np.ndarray) -> np.ndarray:
        """A vector with an element for each row, as long as there are sums."""
        found = np.zeros(self.sums, values.dtype)
        found[: self.rows] = values
        return found

    def multiply(self, row: Row, place: str, put: Callable[[Number, Number], None]) -> None:
        """``put`` gets the place of every sum and the sum; ``place`` is where the table lies."""
        code, lanes, width = row.code, row.lanes, self.table.shape[1]
        assert (row.width, row.dtype) == (width, self.dtype), "a row fits the table that it is multiplied with"
        zero = code.constant(0.0, self.dtype, lanes)
        with code.loop(self.sums, self._at_once) as first:
            start = first * width
            cells = [code.cell(zero) for _ in range(self._at_once)]
            with code.loop(width, lanes) as at:
                x = code.load(row.place, at, self.dtype, lanes)
                for index, cell in enumerate(cells):
                    weight = code.load(place, start + at + index * width, self.dtype, lanes)
                    cell.set(x.times_plus(weight, cell.get()))
            for index, cell in enumerate(cells):
                put(first + index, cell.get().sum_of_lanes())
