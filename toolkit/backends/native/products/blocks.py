"""Products of large matrices inside of a kernel: what is multiplied by lies in panels, sums stay in registers.

A panel holds two vectors of columns of up to ``DEPTH`` rows, few enough for the nearest cache, where all rows of the
other factor meet it, a ``Tile`` of them at a time. Every product is added to what the target holds. What lies the other
way round is turned while it is packed. ``product`` has the products whose matrix is packed before a program runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Protocol

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number, joined
from toolkit.backends.native.assembly.squares import turned
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.blocking import LINE
from toolkit.backends.native.products.tile import DEPTH, FLOAT32, UNROLLED, Panel, Rows, Tile, most_rows, width


@dataclass(frozen=True, slots=True)
class Span:
    """A block of the rows of a packed matrix: ``count`` from ``first`` on, which is a multiple of ``step``."""

    first: Number
    count: Number
    step: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """Numbers in memory, rows and columns so many elements apart."""

    place: str
    start: Number
    row_step: int
    column_step: int = 1

    def at(self, row: Number | int, column: Number | int) -> Number:
        """Where an element lies."""
        return self.start + row * self.row_step + column * self.column_step

    def part(self, row: Number | int, column: Number | int) -> Matrix:
        """The matrix from an element on."""
        return Matrix(self.place, self.at(row, column), self.row_step, self.column_step)

    def further(self, elements: Number) -> Matrix:
        """The matrix so many elements behind this one."""
        return Matrix(self.place, self.start + elements, self.row_step, self.column_step)

    def turned(self) -> Matrix:
        return Matrix(self.place, self.start, self.column_step, self.row_step)

    def tile(self, row: Number, height: int) -> Matrix:
        """The rows from ``row`` on."""
        return self.part(row, 0)


@dataclass(frozen=True, slots=True)
class Tiles:
    """Rows packed by ``Blocks.pack_tiles``, up to ``DEPTH`` columns of them."""

    place: str
    start: Number

    def tile(self, row: Number, height: int) -> Matrix:
        return Matrix(self.place, self.start + row * DEPTH, 1, height)


class Factor(Protocol):
    """Rows that are multiplied: a matrix as it lies, or tiles of one."""

    def tile(self, row: Number, height: int) -> Matrix: ...


@dataclass(frozen=True, slots=True)
class Panels:
    """A packed matrix of known sizes, panel after panel."""

    place: str
    start: Number
    depth: int
    columns: int


class Blocks:
    """Writes products into a kernel. ``width`` are the columns of a panel."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._lanes = compiler().lanes(FLOAT32)
        self.width = width()

    def size(self, depth: int, columns: int) -> int:
        """How many numbers a packed matrix has."""
        return depth * self._panels(columns) * self.width

    def _panels(self, columns: int) -> int:
        return -(-columns // self.width)

    # packing ----------------------------------------------------------------------------------------------------------

    def pack(self, source: Matrix, target: Panels, share: Callable[[int], tuple[Number, Number]]) -> None:
        """Pack a whole matrix; ``share`` says which of so many panels this thread does."""
        begin, end = share(self._panels(target.columns))
        for span in self.spans(target.depth):
            self.each_panel(target.columns, begin, end, partial(self._pack_panel, source, target, span))

    def _pack_panel(self, source: Matrix, target: Panels, span: Span, number: Number, count: int) -> None:
        """Columns of a block; what a panel has beyond them is zero, where a vector reaches there."""
        part, panel = source.part(span.first, number * self.width), self._panel(target, span, number)
        done: Number | int = 0
        if source.row_step == 1:
            done = span.count - (span.count & (self._lanes - 1))
            with self._code.loop(done, self._lanes) as row:
                for column in range(0, count, self._lanes):
                    self._pack_square(part.part(row, column), min(self._lanes, count - column), panel.part(row, column))
        with self._code.loop(span.count, start=done) as row:
            for column in range(0, count, self._lanes):
                value = self._columns(part, part.at(row, column), min(self._lanes, count - column))
                self._code.store(value.widened(self._lanes, 0.0), panel.place, panel.at(row, column))

    def _pack_square(self, source: Matrix, count: int, target: Matrix) -> None:
        """As many rows of a block as a vector has lanes, of columns that lie densely, of which ``count`` are there."""
        code, lanes = self._code, self._lanes
        zero = code.constant(0.0, FLOAT32, lanes)
        found = [code.load(source.place, source.at(0, lane), FLOAT32, lanes) for lane in range(count)]
        for row, value in enumerate(turned([*found, *[zero] * (lanes - count)])):
            code.store(value, target.place, target.at(row, 0))

    def _panel(self, packed: Panels, span: Span, number: Number) -> Matrix:
        """Where a panel of a block lies."""
        return Matrix(packed.place, packed.start + (number * packed.depth + span.first) * self.width, self.width)

    def _columns(self, source: Matrix, at: Number, count: int) -> Number:
        if source.column_step == 1:
            return self._code.load(source.place, at, FLOAT32, count)
        return joined([self._code.load(source.place, at + lane * source.column_step, FLOAT32) for lane in range(count)])

    def pack_tiles(self, source: Matrix, rows: int, span: Span, target: Tiles) -> None:
        """The transpose of a block of ``source``, which has ``rows`` columns, by the tiles of ``rows`` rows."""
        code, part = self._code, source.part(span.first, 0)
        with code.loop(span.count) as column:
            for height, first, count in _tiles(rows):
                with code.loop(count) as index:
                    row = index * height + first
                    value = code.load(part.place, part.at(column, row), FLOAT32, height)
                    tile = target.tile(row, height)
                    code.store(value, tile.place, tile.at(0, column))

    # products ---------------------------------------------------------------------------------------------------------

    def spans(self, depth: int) -> Iterator[Span]:
        """The blocks of a packed matrix of ``depth`` rows, written as one loop."""
        with self._code.loop(-(-depth // DEPTH)) as block:
            first = block * DEPTH
            yield Span(first, (depth - first).smaller(DEPTH), math.gcd(depth, UNROLLED))

    def add(self, factor: Matrix, rows: int, panels: Panels, target: Matrix) -> None:
        """Add ``rows`` rows times a packed matrix to a target."""
        self.add_each(1, lambda index: (factor, target), rows, panels)

    def add_each(
        self, count: Number | int, pair: Callable[[Number], tuple[Matrix, Matrix]], rows: int, panels: Panels
    ) -> None:
        """The same for ``count`` factors and their targets, as ``pair`` has them: each panel is read once for all."""
        for span in self.spans(panels.depth):

            def add(number: Number, columns: int, span: Span = span) -> None:
                panel = self._panel(panels, span, number)
                with self._code.loop(count) as index:
                    factor, target = pair(index)
                    part, sums = factor.part(0, span.first), target.part(0, number * self.width)
                    self.add_panel(part, rows, span, panel, columns, sums)

            self.each_panel(panels.columns, self._code.index(0), self._code.index(self._panels(panels.columns)), add)

    def add_panel(self, factor: Factor, rows: int, span: Span, panel: Matrix, count: int, target: Matrix) -> None:
        """The same for one panel of a block, of which ``count`` columns are there."""
        for height, first, tiles in _tiles(rows):
            with self._code.loop(tiles) as index:
                row = index * height + first
                self._tile(factor.tile(row, height), height, span, panel, count, target.part(row, 0))

    def each_panel(self, columns: int, begin: Number, end: Number, body: Callable[[Number, int], None]) -> None:
        """``body(panel, columns of it)`` for the panels from ``begin`` up to ``end``."""
        whole, rest = divmod(columns, self.width)
        if whole:
            with self._code.loop(end.smaller(whole), start=begin) as panel:
                body(panel, self.width)
        if rest:
            with self._code.where((begin <= whole) & (end > whole)):
                body(self._code.index(whole), rest)

    def _tile(self, factor: Matrix, height: int, span: Span, panel: Matrix, count: int, target: Matrix) -> None:
        """Some rows of the result in registers; meanwhile the lines come in that they are added to."""
        code, lanes = self._code, self._lanes
        vectors = -(-count // lanes)
        for row, column in product(range(height), range(0, count, LINE)):
            code.prefetch(target.place, target.at(row, column), FLOAT32)
        tile, rows = Tile(code, height, vectors), Rows(factor.place, factor.start, factor.row_step, factor.column_step)
        tile.add_products(rows, Panel(panel.place, panel.start), span.count, span.step)
        for row, vector, found in tile.sums():
            here = min(lanes, count - vector * lanes)
            at = target.at(row, vector * lanes)
            code.store_some(code.load_some(target.place, at, FLOAT32, here, lanes) + found, target.place, at, here)


def _tiles(rows: int) -> Iterator[tuple[int, int, int]]:
    """Tiles of about the same height: height, first row, and how many follow each other."""
    count = -(-rows // most_rows())
    low, more = divmod(rows, count)
    if more:
        yield low + 1, 0, more
    yield low, more * (low + 1), count - more
