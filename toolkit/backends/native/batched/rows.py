"""Rows of a matrix times a right factor in panels: tile by tile, each handed over while its sums are in registers.

Rows whose steps lie apart (those of an exchanged factor) are copied first, a tile's rows beside each other. Long sums
are made of several that ``Tile`` allows, which meet on the stack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.batched.panels import Matrix, panels_of
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.tile import DEPTH, FLOAT32, VECTORS, Panel, Rows, Tile, most_rows, width

TILES = 8  # of a block: its rows stay in the first cache while all panels pass by


class Piece(NamedTuple):
    """``lanes`` sums, a vector or less: those of a row of the result from a column on."""

    row: Number
    column: Number
    lanes: int
    sums: Number


def beside() -> int:
    """Numbers that a step of copied rows takes: a power of two not below the rows of a tile."""
    return 1 << (most_rows() - 1).bit_length()


Finish = Callable[[Piece], None]


@dataclass(frozen=True, slots=True)
class Division:
    """``rows`` in as few tiles as hold them, as alike as can be, and these in blocks."""

    rows: int
    together: int = TILES

    @property
    def tiles(self) -> int:
        return -(-self.rows // most_rows())

    @property
    def height(self) -> int:
        """Rows of a tile; the first ``higher`` ones have one more."""
        return self.rows // self.tiles

    @property
    def higher(self) -> int:
        return self.rows % self.tiles

    @property
    def blocks(self) -> int:
        return -(-self.tiles // self.together)

    @property
    def most_rows(self) -> int:
        """Of a block."""
        return min(self.together, self.tiles) * min(self.height + 1, most_rows())

    def row(self, tile: Number) -> Number:
        """The first row of a tile."""
        return tile * self.height + tile.smaller(self.higher)

    def block(self, number: Number) -> tuple[Number, Number]:
        """The tiles of a block."""
        return number * self.together, ((number + 1) * self.together).smaller(self.tiles)

    def heights(self, code: Code, tiles: tuple[Number, Number], body: Callable[[Number, int], None]) -> None:
        """``body(tile, rows)`` for the tiles from one to another."""
        begin, end = tiles
        if self.higher:
            with code.loop(end.smaller(self.higher), start=begin) as tile:
                body(tile, self.height + 1)
        with code.loop(end, start=begin.larger(self.higher)) as tile:
            body(tile, self.height)


@dataclass(frozen=True, slots=True)
class RowsByPanels:
    """A product of ``left`` rows by ``depth`` steps of panels of ``columns`` columns, which begin at ``panels``.

    Rows whose steps lie apart are copied to ``copied``; without that they are read where they lie.
    """

    code: Code
    division: Division
    depth: int
    columns: int
    panels: tuple[str, Number]
    copied: tuple[str, Number] | None

    def write(self, left: Matrix, tiles: tuple[Number, Number], finish: Finish) -> None:
        """All columns of the rows of some tiles; ``finish`` is told of each vector of sums."""
        copied = self.copied if needs_copy(left, self.depth) else None
        if copied is not None:
            place, base = copied
            self.division.heights(
                self.code,
                tiles,
                lambda tile, rows: self._copy(left, tile, rows, place, self._copied_at(base, tile - tiles[0])),
            )

        def panel(number: Number, columns: int) -> None:
            place, start = self.panels
            right = Panel(place, start + number * (self.depth * width()))

            def multiply(tile: Number, rows: int) -> None:
                row = self.division.row(tile)
                if copied is not None:
                    given = Rows(copied[0], self._copied_at(copied[1], tile - tiles[0]), 1, beside())
                else:
                    given = Rows(left.place, left.at(row, 0), left.row, left.column)
                self._tile(given, right, rows, columns, row, number * width(), finish)

            self.division.heights(self.code, tiles, multiply)

        whole = self.columns // width()
        if whole:
            with self.code.loop(whole) as number:
                panel(number, width())
        if self.columns % width():
            panel(self.code.index(whole), self.columns % width())

    def _copied_at(self, base: Number, tile: Number) -> Number:
        return base + tile * (self.depth * beside())

    def _copy(self, left: Matrix, tile: Number, rows: int, place: str, to: Number) -> None:
        code = self.code
        first = left.at(self.division.row(tile), 0)
        with code.loop(self.depth) as step:
            found = code.load_some(left.place, first + step * left.column, FLOAT32, rows, rows, left.row)
            code.store(found, place, to + step * beside())

    def _tile(
        self, left: Rows, right: Panel, rows: int, columns: int, row: Number, column: Number, finish: Finish
    ) -> None:
        lanes = compiler().lanes(FLOAT32)
        vectors = min(VECTORS, -(-columns // lanes))
        for at, vector, sums in self._sums(left, right, rows, vectors):
            count = min(lanes, columns - vector * lanes)
            finish(Piece(row + at, column + vector * lanes, count, sums))

    def _sums(self, left: Rows, right: Panel, rows: int, vectors: int) -> list[tuple[int, int, Number]]:
        code, lanes = self.code, compiler().lanes(FLOAT32)
        if self.depth <= DEPTH:
            tile = Tile(code, rows, vectors)
            tile.add_products(left, right, self.depth, self.depth)
            return list(tile.sums())
        totals = code.scratch(FLOAT32, rows * vectors * lanes)
        with code.loop(self.depth, DEPTH) as start:
            tile = Tile(code, rows, vectors)
            count = (code.index(self.depth) - start).smaller(DEPTH)
            moved = left._replace(start=left.start + start * left.apart)
            tile.add_products(moved, right._replace(start=right.start + start * width()), count, self.depth)
            is_first = start.equals(0)
            for at, vector, sums in tile.sums():
                place = (at * vectors + vector) * lanes
                before = is_first.choose(code.constant(0.0, FLOAT32, lanes), code.load(totals, place, FLOAT32, lanes))
                code.store(before + sums, totals, place)
        return [
            (at, vector, code.load(totals, (at * vectors + vector) * lanes, FLOAT32, lanes))
            for at in range(rows)
            for vector in range(vectors)
        ]


def needs_copy(left: Matrix, depth: int) -> bool:
    """Whether the steps of a row lie apart."""
    return depth > 1 and left.column != 1


def workspace_of(division: Division, depth: int, columns: int, is_copied: bool) -> tuple[int, int]:
    """How many numbers the panels take, and the copied rows."""
    copied = min(division.together, division.tiles) * depth * beside() if is_copied else 0
    return panels_of(columns) * depth * width(), copied
