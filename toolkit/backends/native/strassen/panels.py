"""Weights as Strassen's products multiply by them; they take 7/4 of the memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.squares import turned
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.products.packing import Packed
from toolkit.backends.native.products.tile import VECTORS, width
from toolkit.backends.native.strassen.products import PARTS, PRODUCTS, Coming, right_factors
from toolkit.backends.protocol import Kernel, Layout, Resources

FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, slots=True)
class StrassenPanels(Packed):
    """A weight (outputs, channels, 1, 1) as a matrix (channels, outputs) in parts of two by two.

    For each panel of columns of the left parts the right factors of ``products``, one after the other, row by row.

    ``is_turned``: the matrix (outputs, channels) of the gradient by the input, or any matrix that lies in rows.
    ``deep``: so many rows are a matrix of their own, and these lie one after the other; 0 for all of them.
    """

    is_turned: bool = False
    deep: int = 0

    def shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        depth, columns = self.sides(given)
        return columns // (2 * width()), PRODUCTS, depth // 2, width()

    def sides(self, given: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return (given[0], given[1]) if self.is_turned else (given[1], given[0])

    def packing(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        depth, columns = self.sides(source.shape)
        code = Code(2)
        owned = Team(code, resources.threads).share(columns // (2 * width()))
        self.pack(code, code.places, owned, (depth, columns))
        return CompiledKernel(code, [source], [target])

    def pack(self, code: Code, places: Sequence[str], owned: tuple[Number, Number], sides: tuple[int, int]) -> None:
        """Write some panels, from one number up to another; the places are those of the weight and the target."""
        depth, columns = sides
        weight, target = places
        apart = columns if self.is_turned else depth
        deep = self.deep or depth
        with code.loop(depth, deep) as first:
            blocks = (depth - first).smaller(deep) / (2 * compiler().lanes(FLOAT32))
            begin, end = (number * blocks for number in owned)
            given = code.address(weight, first * (columns if self.is_turned else 1), FLOAT32)
            made = code.address(target, first * (columns * PRODUCTS // len(PARTS)), FLOAT32)
            numbers = [begin, end, blocks, code.index(columns), code.index(apart)]
            code.invoke(_packing_function(self.is_turned), [given, made], numbers)

    def lines(self, panel: Number, sides: tuple[int, int], rows: int) -> tuple[Number, Coming[int]]:
        """Where what a panel is packed from begins in the weight, and all lines of it, for tiles of so many rows."""
        (depth, columns), lanes = sides, compiler().lanes(FLOAT32)
        segments = 4 * -(-depth // rows)
        if self.is_turned:
            return panel * width(), Coming(segments, columns // 2, lanes, rows * columns, columns)
        apart = VECTORS * lanes * rows
        return panel * (width() * depth), Coming(segments, columns // 2 * depth, lanes * rows, apart, lanes)

    def pack_panel(
        self, code: Code, places: Sequence[str], at: tuple[Number, Number], blocks: Number, sides: tuple[int, int]
    ) -> None:
        """Write one panel of the matrix of so many ``blocks`` that begins at a row; ``at`` says row and panel."""
        depth, columns = sides
        weight, target = places
        row, panel = at
        apart = columns if self.is_turned else depth
        first = row * columns + panel * width() if self.is_turned else panel * (width() * depth) + row
        numbers = [code.index(0), blocks, blocks, code.index(columns), code.index(apart)]
        given = code.address(weight, first, FLOAT32)
        code.invoke(_packing_function(self.is_turned), [given, target], numbers)


@cache
def _packing_function(is_turned: bool) -> str:
    """Right factors of a weight. Places: weight, target; numbers: begin, end, blocks, columns, apart.

    The blocks of panels from begin to end are made: as many rows of a panel as a vector has lanes, of which a part of
    the matrix has ``blocks``. Rows of the weight lie ``apart`` numbers from each other.
    """
    code = Code(2, numbers=5)
    weight, target = code.places
    begin, end, blocks, columns, apart = code.numbers
    lanes = compiler().lanes(FLOAT32)
    part = blocks * lanes

    def rows(row: Number, column: Number) -> list[Number]:
        """A square of the matrix, a vector for each row."""
        if is_turned:
            return [code.load(weight, (row + lane) * apart + column, FLOAT32, lanes) for lane in range(lanes)]
        found = [code.load(weight, (column + lane) * apart + row, FLOAT32, lanes) for lane in range(lanes)]
        return turned(found)

    with code.loop(end, start=begin) as unit:
        panel = unit / blocks
        first = (unit - panel * blocks) * lanes
        to = (panel * (PRODUCTS * part) + first) * width()
        for vector in range(VECTORS):
            column = panel * width() + vector * lanes
            upper, lower = (
                [rows(first + down * part, column + across * (columns / 2)) for across in range(2)] for down in range(2)
            )
            for row in range(lanes):
                factors = right_factors((upper[0][row], upper[1][row]), (lower[0][row], lower[1][row]))
                for number, factor in enumerate(factors):
                    code.store(factor, target, to + (part * number + row) * width() + vector * lanes)
    return compiler().name(code.text())
