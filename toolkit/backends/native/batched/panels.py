"""Right factors in panels, as ``Tile`` reads them: a matrix of a stack is copied to a thread's own memory.

Rows of the matrix are copied a vector at a time. Where its columns lie densely instead, squares of as many rows as a
vector has lanes are turned in registers.
"""

from __future__ import annotations

from typing import NamedTuple

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number, joined
from toolkit.backends.native.assembly.squares import turned
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.blocking import LINE
from toolkit.backends.native.products.tile import FLOAT32, width


class Matrix(NamedTuple):
    """A matrix in memory, from element ``start`` on: its rows and columns lie ``row`` and ``column`` elements apart."""

    place: str
    start: Number
    row: int
    column: int

    def at(self, row: Number, column: Number | int) -> Number:
        """Where an element lies."""
        across = column * self.column
        return self.start + row * self.row + across


def panels_of(columns: int) -> int:
    """How many panels hold so many columns."""
    return -(-columns // width())


def pack(code: Code, source: Matrix, depth: int, columns: int, target: str, start: Number) -> None:
    """Write ``depth`` rows of ``columns`` columns in panels, one behind the other, from element ``start`` on.

    What a last panel has beyond the columns is not defined.
    """
    lanes = compiler().lanes(FLOAT32)

    def vectors(column: Number, count: int) -> None:
        panel = column / width()
        to = start + panel * (depth * width()) + (column - panel * width())
        code.pieces(depth, lanes, lambda step, steps: _square(code, source, (step, column), (steps, count), target, to))

    if source.column != 1 and depth > 1:
        code.pieces(columns, lanes, vectors)
        return
    with code.loop(depth) as step:
        to = start + step * width()

        def panel(column: Number, count: int) -> None:
            at = to + column * depth
            for vector in range(0, count, lanes):
                found = code.load_some(
                    source.place,
                    source.at(step, column + vector),
                    FLOAT32,
                    min(lanes, count - vector),
                    lanes,
                    source.column,
                )
                code.store(found, target, at + vector)

        code.pieces(columns, width(), panel)


def _square(
    code: Code, source: Matrix, first: tuple[Number, Number], count: tuple[int, int], target: str, start: Number
) -> None:
    """A few columns, a vector at the most, of as many rows at the most."""
    lanes = compiler().lanes(FLOAT32)
    (step, column), (steps, columns) = first, count
    if source.row == 1:
        last = [min(lane, columns - 1) for lane in range(lanes)]
        loaded = [code.load_some(source.place, source.at(step, column + at), FLOAT32, steps, lanes) for at in last]
        found = turned(loaded)[:steps]
    else:
        found = [
            joined(
                [
                    code.load(source.place, source.at(step + at, column + min(lane, columns - 1)), FLOAT32)
                    for lane in range(lanes)
                ]
            )
            for at in range(steps)
        ]
    for ahead, numbers in enumerate(found):
        code.store(numbers, target, start + (step + ahead) * width())


def fetch(code: Code, source: Matrix, row: Number, size: int) -> None:
    """Bring a row of ``size`` numbers, which lie densely, near: into the second cache."""
    with code.loop(size, LINE) as position:
        code.prefetch(source.place, source.at(row, 0) + position, FLOAT32, cache=2)
