"""Strassen's product in Winograd's form: matrices of two by two parts are multiplied by seven products of parts.

With the left factor in parts a, b over c, d, and the right one in e, f over g, h, the products are those of
``left_factors`` and ``right_factors``, which are sums of parts. Sums of products are the parts of the result:

    a e + b g                         and its neighbour  (u + s1 t1) + s4 h
    (u + s3 t3) + d (-t4)             and its neighbour  (u + s3 t3) + s1 t1          with  u = a e + s2 t2

Their order is one in which sums stay in registers from product to product. A result is rounded relatively to the
largest numbers that it was mixed with: those of its own row and of another one, and of two columns.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from functools import cache
from itertools import product
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.tile import UNROLLED, VECTORS, width

Whole = TypeVar("Whole")
FLOAT32 = np.dtype(np.float32)
PRODUCTS = 7
PARTS = ((0, 0), (1, 0), (1, 1), (0, 1))  # of the result, in the order in which they are done: how far down and across
RESULTS = len(PARTS)
ROWS = {64: 14}  # of a tile, where vectors of so many bytes come with 32 registers
FEW_ROWS = 6


def most_rows() -> int:
    """Rows of the highest tile: their sums are in registers, beside a row of a panel and a factor."""
    return ROWS.get(compiler().vector_nbytes, FEW_ROWS)


def left_factors(upper: tuple[Number, Number], lower: tuple[Number, Number]) -> list[Number]:
    """The left factors of the products, in their order, from the parts of the left matrix."""
    (a, b), (c, d) = upper, lower
    s1 = c + d
    s2 = s1 - a
    return [a, b, s2, a - c, d, s1, b - s2]


def right_factors(upper: tuple[Number, Number], lower: tuple[Number, Number]) -> list[Number]:
    """The right factors of the products, in their order, from the parts of the right matrix."""
    (e, f), (g, h) = upper, lower
    t1 = f - e
    t2 = h - t1
    return [e, g, t2, h - f, g - t2, t1, h]


class Coming(NamedTuple, Generic[Whole]):
    """Lines of the caches to be fetched, in ``segments`` of so many rows as a tile has, ``row`` numbers apart.

    Every second segment lies ``half`` numbers behind the one before, every fourth one ``pair`` numbers, and the others
    follow ``apart`` numbers from each other.
    """

    segments: Whole
    half: Whole
    pair: Whole
    apart: Whole
    row: Whole


class Ending(Enum):
    """Where results go: beside each other, to be finished, or to their places, there perhaps past the caches."""

    SUMS = auto()
    PLACES = auto()
    PAST = auto()


class Tile(NamedTuple):
    """How left factors lie: in blocks of ``steps`` steps of the depth, one after the other.

    In a block ``rows`` rows lie ``row`` numbers apart, and their steps ``step``.
    """

    rows: int
    row: int
    step: int
    steps: int

    @property
    def block(self) -> int:
        """Numbers of a block."""
        return max(self.rows * self.row, self.steps * self.step)


@cache
def strassen_function(tile: Tile, coming: int, ending: Ending = Ending.SUMS) -> str:
    """The name of a function for ``Code.invoke``: two tiles of rows, far apart, by two panels of columns.

    - Places: the left factors, one after the other, as ``tile`` says; the right ones, each a panel of ``width()``
      columns, step by step; the sums, room for ``RESULTS`` + 2 tiles, row by row; and ``coming`` places of lines that
      will be wanted next.
    - Numbers: the blocks of a factor, and the fields of a ``Coming`` for each of these places.

    Unless the ``ending`` is ``SUMS``, results are written where the first ``Coming`` lies, whose segments are those of
    the lower rows beside the upper ones, of the columns far apart, and of the vectors of a panel.
    """
    code = Code(3 + coming, numbers=1 + coming * len(Coming._fields))
    _Writer(code, tile, ending).write()
    return compiler().name(code.text())


class _Writer:
    """Writes the function."""

    def __init__(self, code: Code, tile: Tile, ending: Ending) -> None:
        self._ending = ending
        self._code, self._tile, self._rows, self._lanes = code, tile, tile.rows, compiler().lanes(FLOAT32)
        self._left, self._right, self._sums, *coming = code.places
        blocks, *numbers = code.numbers
        size = len(Coming._fields)
        fields = [Coming(*numbers[start : start + size]) for start in range(0, len(numbers), size)]
        self._blocks, self._coming = blocks, list(zip(coming, fields, strict=True))
        self._next = [code.cell(code.index(0)) for _ in fields]
        self._grid = list(product(range(tile.rows), range(VECTORS)))
        zero = code.constant(0.0, FLOAT32, self._lanes)
        self._zero = zero
        self._cells = {place: code.cell(zero) for place in self._grid}
        self._at_left, self._at_right = code.cell(code.index(0)), code.cell(code.index(0))

    def write(self) -> None:
        """All products by one loop, which is compiled in a fraction of the time that seven would take."""
        first, second = RESULTS, RESULTS + 1
        behind: list[Callable[[], None]] = [
            lambda: self._keep(first),
            lambda: self._finish_and_become(0, lambda place: self._kept(first, place)),
            lambda: self._keep(first),
            lambda: self._keep(second),
            lambda: self._finish_and_become(1, lambda place: self._zero),
            lambda: self._finish_and_become(
                2, lambda place: self._cells[place].get() + self._kept(first, place), second
            ),
            lambda: self._finish(3),
        ]
        with self._code.loop(PRODUCTS) as number:
            self._multiply()
            for index, write in enumerate(behind):
                with self._code.where(number.equals(index)):
                    write()

    def _finish_and_become(
        self, part: int, value: Callable[[tuple[int, int]], Number], plus: int | None = None
    ) -> None:
        """Write a part of the result, and let registers hold what the next products are added to."""
        self._finish(part, plus)
        for place in self._grid:
            self._cells[place].set(value(place))

    def _multiply(self) -> None:
        """Add the product that comes next to what the registers hold."""
        code, tile = self._code, self._tile
        with code.loop(self._blocks):
            self._fetch()
            with code.loop(tile.steps, UNROLLED) as position:
                for ahead in range(UNROLLED):
                    self._step(position, ahead)
            self._at_left.set(self._at_left.get() + tile.block)
            self._at_right.set(self._at_right.get() + tile.steps * width())

    def _fetch(self) -> None:
        """One segment of each kind, as long as there are any."""
        code = self._code
        for (place, coming), cell in zip(self._coming, self._next, strict=True):
            segment = cell.get()
            with code.where(segment < coming.segments):
                start = (segment & 1) * coming.half + ((segment >> 1) & 1) * coming.pair + (segment >> 2) * coming.apart
                for row in range(self._rows):
                    code.prefetch(place, start + coming.row * row, FLOAT32, cache=2)
            cell.set(segment + 1)

    def _step(self, position: Number, ahead: int) -> None:
        code, lanes = self._code, self._lanes
        panel = self._at_right.get() + position * width()
        loaded = [
            code.load(self._right, panel + (ahead * width() + vector * lanes), FLOAT32, lanes)
            for vector in range(VECTORS)
        ]
        first = self._at_left.get() + position * self._tile.step
        for row in range(self._rows):
            at = first + (row * self._tile.row + ahead * self._tile.step)
            factor = code.load(self._left, at, FLOAT32).spread(lanes)
            for vector, numbers in enumerate(loaded):
                cell = self._cells[row, vector]
                cell.set(factor.times_plus(numbers, cell.get()))

    def _at(self, tile: int, place: tuple[int, int]) -> int:
        row, vector = place
        return (tile * self._rows + row) * width() + vector * self._lanes

    def _kept(self, tile: int, place: tuple[int, int]) -> Number:
        return self._code.load(self._sums, self._at(tile, place), FLOAT32, self._lanes)

    def _keep(self, tile: int) -> None:
        """Write what the registers hold as a tile of the sums."""
        for place in self._grid:
            self._code.store(self._cells[place].get(), self._sums, self._at(tile, place))

    def _finish(self, part: int, plus: int | None = None) -> None:
        """Write what the registers hold, with a kept tile added to it, as a part of the result."""
        code, (target, lines) = self._code, self._coming[0]
        down, across = PARTS[part]
        start = lines.half * down + lines.pair * across
        for place in self._grid:
            row, vector = place
            found = self._cells[place].get()
            found = found if plus is None else found + self._kept(plus, place)
            if self._ending is Ending.SUMS:
                code.store(found, self._sums, self._at(part, place))
            else:
                store = code.store_past if self._ending is Ending.PAST else code.store
                store(found, target, start + lines.row * row + lines.apart * vector)
