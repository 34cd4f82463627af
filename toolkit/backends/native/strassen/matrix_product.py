"""Large products of rows with one matrix by Strassen's seven products instead of eight, and what is fused behind them.

A matrix that is known beforehand is packed once, one that changes with each step of training panel by panel.

Rows are taken two by two, one of the first half of an item and one of the second, so that what a result is rounded
with are numbers of the same item. The depth is done in blocks: the left factors of a group of tiles, made once for each
block, lie in the second cache beside a panel of the right ones, which all of them meet while the next panel is fetched.
Sums grow where the result will be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.blocking import LINE, evenly
from toolkit.backends.native.products.ending import Activation, overwritten
from toolkit.backends.native.products.tile import VECTORS, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.native.strassen.panels import StrassenPanels
from toolkit.backends.native.strassen.positions import Positions, longest
from toolkit.backends.native.strassen.products import (
    PARTS,
    PRODUCTS,
    RESULTS,
    Coming,
    Tile,
    left_factors,
    strassen_function,
)
from toolkit.backends.native.strassen.sizes import is_matrix_product
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT32 = np.dtype(np.float32)
MOST_DEPTH = 384  # of a block: many tiles then share a panel while it is near
MOST_CHANGING_DEPTH = 256  # where a panel is packed for those tiles alone
GROUP_NBYTES = 1 << 19  # of left factors in the second cache


@kernel("", "MatMul", accepts=is_matrix_product)
@kernel(TOOLKIT_DOMAIN, "FusedMatMul", accepts=is_matrix_product)
def lower_matrix_product(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(a @ b + bias + residual)``; the residual is overwritten where nobody reads it later."""
    matrix = node.inputs[1]
    assert matrix is not None
    changes = matrix.constant is None and resources.training
    writer = _Writer(node, resources.threads, packs=changes)
    layouts = plain_layouts(node.inputs)
    if not changes:
        layouts[1] = writer.panels.layout(matrix)
    results = [plain(FLOAT32, node.y.shape)]
    return CompiledKernel(writer.code, layouts, results, in_place=overwritten(node), workspace=writer.workspace)


class _Writer:
    """Writes the code.

    Threads have tiles of their own, or where those are few, panels; then each makes all left factors for itself. The
    space of a thread holds the left factors of a group, (tiles, factors, blocks of the depth, rows, lanes), sums, and
    if it ``packs``, a panel.
    """

    def __init__(self, node: Node, threads: int, *, packs: bool) -> None:
        *batch, each, self._depth = node.x.shape
        self._positions = positions = Positions(math.prod(batch), (each, 1), (1, 1))
        self._columns, self._lanes = node.y.shape[-1], compiler().lanes(FLOAT32)
        addends = [item for item in node.inputs[2:] if item is not None]
        self.code = code = Code(4 + len(addends))
        self._rows, self._matrix, *others, self._target, self._space = code.places
        self._residuals = [place for place, item in zip(others, addends, strict=True) if item.shape == node.y.shape]
        self._biases = [place for place in others if place not in self._residuals]
        self._activation, self._packs = Activation.of(node), packs

        unit = 2 * self._lanes
        self._deep = -(-evenly(self._depth, MOST_CHANGING_DEPTH if packs else MOST_DEPTH) // unit) * unit
        self.panels = StrassenPanels(is_turned=not node.attributes.get("transB"), deep=self._deep)
        panels = self._columns // (2 * width())
        self._factors = PRODUCTS * self._deep // 2 * positions.highest  # numbers of the left factors of a tile
        tiles = longest(positions.total, threads)
        shares_panels = longest(panels, threads) * positions.total < tiles * panels
        most = max(1, GROUP_NBYTES // (self._factors * FLOAT32.itemsize))
        self._group = evenly(positions.total if shares_panels else tiles, most)
        sums = (RESULTS + 2) * positions.highest * width()
        panel = PRODUCTS * self._deep // 2 * width() if packs else 0
        per_thread = self._group * self._factors + sums + panel
        self.workspace = threads * per_thread * FLOAT32.itemsize

        team = Team(code, threads)
        self._left = team.number * per_thread
        self._sums = code.address(self._space, self._left + self._group * self._factors, FLOAT32)
        self._panel = code.address(self._space, self._left + self._group * self._factors + sums, FLOAT32)
        every = code.index(0), code.index(positions.total)
        tiles_of, self._own = team.share(positions.total), (code.index(0), code.index(panels))
        if shares_panels:
            tiles_of, self._own = every, team.share(panels)
        self._groups(*tiles_of)

    def _groups(self, begin: Number, end: Number) -> None:
        """All tiles from begin to end, so many together."""
        code, self._end = self.code, end
        with code.loop(end, self._group, start=begin) as first, code.loop(self._depth, self._deep) as start:
            last = (first + self._group).smaller(end)
            with code.loop(last, start=first) as tile:
                self._see(tile, start, self._left + (tile - first) * self._factors)
            with code.loop(self._own[1], start=self._own[0]) as panel:
                if self._packs:
                    places, sides = (self._matrix, self._panel), (self._depth, self._columns)
                    self.panels.pack_panel(code, places, (start, panel), self._blocks(start), sides)
                with code.loop(last, start=first) as tile:
                    self._multiply(tile, tile - first, last - first, panel, start)

    def _blocks(self, start: Number) -> Number:
        """Vectors of one half of a block of the depth."""
        return (self._depth - start).smaller(self._deep) / (2 * self._lanes)

    def _row(self, tile: Number) -> tuple[Number, Number, Number]:
        """The first row of a tile, that of its item, and how many it has in each half."""
        positions = self._positions
        item = tile / positions.tiles
        inside = tile - item * positions.tiles
        rows = positions.height + (inside < positions.higher).choose(self.code.index(1), 0)
        return positions.first(inside) + item * positions.each, item * positions.each, rows

    def _see(self, tile: Number, start: Number, target: Number) -> None:
        """Make the left factors of a tile in a block of the depth."""
        code, positions, lanes = self.code, self._positions, self._lanes
        first, item, rows = self._row(tile)
        blocks = self._blocks(start)
        with code.loop(rows) as row, code.loop(blocks) as block:
            upper = first + row
            lower = (upper + positions.half).smaller(item + (positions.each - 1))
            at = [number * self._depth + start + block * lanes for number in (upper, lower)]
            (a, b), (c, d) = (
                [code.load(self._rows, where + blocks * (side * lanes), FLOAT32, lanes) for side in range(2)]
                for where in at
            )
            for number, factor in enumerate(left_factors((a, b), (c, d))):
                code.store(factor, self._space, target + ((block + blocks * number) * rows + row) * lanes)

    def _multiply(self, tile: Number, number: Number, count: Number, panel: Number, start: Number) -> None:
        """One panel and its neighbour in the other half of the columns, for both halves of a tile.

        It is the tile ``number`` of ``count`` in its group.
        """
        code, positions = self.code, self._positions
        first, item, rows = self._row(tile)
        blocks = self._blocks(start)
        size = blocks * (PRODUCTS * self._lanes * width())
        matrix = start * (self._columns * PRODUCTS // len(PARTS)) + panel * size
        left = self._left + number * self._factors
        right = self._panel if self._packs else code.address(self._matrix, matrix, FLOAT32)
        given = code.address(self._space, left, FLOAT32), right
        if self._packs:
            coming_panel = self._coming_panel_to_pack(panel, start, number, count, rows)
        else:
            coming_panel = self._coming_panel(matrix + size, size, number, count, rows)
        coming = [self._coming_results(first, panel, start), coming_panel, self._coming_rows(tile, panel, start)]
        places = [*given, self._sums, *(place for place, _ in coming)]
        lines = [value for _, fields in coming for value in fields]
        numbers = [blocks, *(value if isinstance(value, Number) else code.index(value) for value in lines)]
        for height in sorted({positions.height + bool(positions.higher), positions.height}):
            with code.where(rows.equals(height)):
                tile_of = Tile(height, self._lanes, 1, self._lanes)
                code.invoke(strassen_function(tile_of, coming=len(coming)), places, numbers)
        self._bring_back(first, item, rows, panel, start)

    def _coming_results(self, first: Number, panel: Number, start: Number) -> tuple[str, Coming[Number | int]]:
        """The lines of what is added to sums, else of these."""
        code, positions, columns = self.code, self._positions, self._columns
        place = self._target
        for residual in self._residuals[:1]:
            place = code.either(start.equals(0), residual, place)
        lines: Coming[Number | int] = Coming(
            RESULTS * VECTORS, positions.half * columns, columns // 2, self._lanes, columns
        )
        return code.address(place, first * columns + panel * width(), FLOAT32), lines

    def _coming_panel(
        self, at: Number, size: Number, number: Number, count: Number, rows: Number
    ) -> tuple[str, Coming[Number | int]]:
        """The share of a tile in the panel that comes next."""
        segments = (size + (count * rows * LINE - 1)) / (count * rows * LINE)
        segment = rows * LINE
        lines: Coming[Number | int] = Coming(segments, segment, segment * 2, segment * 4, LINE)
        return self.code.address(self._matrix, at + number * segments * segment, FLOAT32), lines

    def _coming_panel_to_pack(
        self, panel: Number, start: Number, number: Number, count: Number, rows: Number
    ) -> tuple[str, Coming[Number | int]]:
        """The share of a tile in what the panel that comes next will be made of."""
        code = self.code
        is_last = panel + 1 >= self._own[1]
        ahead = is_last.choose(self._own[0], panel + 1)
        is_end = start + self._deep >= self._depth
        then = is_last.choose(is_end.choose(code.index(0), start + self._deep), start)
        if self.panels.is_turned:
            each = (self._deep + count - 1) / count
            pieces = (each + rows - 1) / rows
            at = (then + number * each) * self._columns + ahead * width()
            lines: Coming[Number | int] = Coming(
                pieces * 4, self._columns // 2, LINE, rows * self._columns, self._columns
            )
        else:
            each = (width() + count - 1) / count
            at = (ahead * width() + number * each) * self._depth + then
            lines = Coming(each * 2, self._columns // 2 * self._depth, self._depth, 2 * self._depth, LINE)
        return code.address(self._matrix, at, FLOAT32), lines

    def _coming_rows(self, tile: Number, panel: Number, start: Number) -> tuple[str, Coming[Number | int]]:
        """What will be seen next instead of a tile, fetched beside the last panel."""
        code = self.code
        is_last = start + self._deep >= self._depth
        ahead = is_last.choose((tile + self._group).smaller(self._end - 1), tile)
        first, _, _ = self._row(ahead)
        then = is_last.choose(code.index(0), start + self._deep)
        segments = (panel + 1 >= self._own[1]).choose(self._blocks(then) * 4, 0)
        lines: Coming[Number | int] = Coming(
            segments, self._positions.half * self._depth, self._lanes, 2 * self._lanes, self._depth
        )
        return code.address(self._rows, first * self._depth + then, FLOAT32), lines

    def _bring_back(self, first: Number, item: Number, rows: Number, panel: Number, start: Number) -> None:
        """Add sums to what the result has of blocks before, and behind the last block what is fused."""
        code = self.code
        is_first, is_last = start.equals(0), start + self._deep >= self._depth
        if self._deep >= self._depth:
            self._bring(first, item, rows, panel, (*self._residuals, *self._biases), is_finished=True)
            return
        with code.where(is_first):
            self._bring(first, item, rows, panel, self._residuals)
        with code.where(~(is_first | is_last)):
            self._bring(first, item, rows, panel, [self._target])
        with code.where(is_last):
            self._bring(first, item, rows, panel, [self._target, *self._biases], is_finished=True)

    def _bring(
        self,
        first: Number,
        item: Number,
        rows: Number,
        panel: Number,
        addends: Sequence[str],
        *,
        is_finished: bool = False,
    ) -> None:
        """Write sums with what is added to them, and once they are finished, the activation of that."""
        code, positions, lanes, columns = self.code, self._positions, self._lanes, self._columns
        end = item + positions.each
        for part, (down, across) in enumerate(PARTS):
            begin = first + down * positions.half
            present = (end - begin).smaller(rows) if down else rows
            for vector in range(0, width(), lanes):
                column = panel * width() + (across * columns // 2 + vector)
                added = [
                    code.load(place, column, FLOAT32, lanes) if place in self._biases else None for place in addends
                ]
                with code.loop(present) as row:
                    total = code.load(self._sums, (row + rows * part) * width() + vector, FLOAT32, lanes)
                    at = (begin + row) * columns + column
                    for place, number in zip(addends, added, strict=True):
                        total = total + (code.load(place, at, FLOAT32, lanes) if number is None else number)
                    code.store(self._activation(total) if is_finished else total, self._target, at)
