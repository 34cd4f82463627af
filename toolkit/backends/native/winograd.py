"""Convolutions with windows of 3 x 3, one position apart, by Winograd's minimal filtering, with channels last.

An image is cut into tiles of neighbouring results. The window of each tile and each filter are seen at a few points,
see ``winograd_transforms``, where the convolution is one product of matrices for each point: (tiles, channels) by
(channels, outputs). A block of tiles goes all the way while it is near: seen, multiplied, and brought back to results.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from toolkit.backends import onednn
from toolkit.backends.native.code import Code
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.library import compiler
from toolkit.backends.native.number import Number
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.native.spelling import ACTIVATIONS
from toolkit.backends.native.team import Team
from toolkit.backends.native.winograd_filters import FilterPanels, panel_width
from toolkit.backends.native.winograd_tiles import TAPS, Tiles
from toolkit.backends.native.winograd_transforms import in_both_axes
from toolkit.backends.onednn.memory import channels_last
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.backends.work import products
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT32 = np.dtype(np.float32)
NUMBERS_OF_A_LINE = 16  # of the cache, 64 bytes
ROWS = (4, 5, 6)  # tiles whose sums are in registers together, beside two vectors of outputs
STEPS = 4  # of a sum that are written out
BLOCK_NBYTES = 1 << 19  # of what one block of tiles is seen as: the size of many a second cache
PASSES = 4  # or as many times the filters may be read, where they are larger than that
FEW_TILES = 24  # for a thread; with fewer, threads share outputs
FEWEST_PRODUCTS = 1 << 22  # of a convolution; smaller ones are computed where they lie, in rows


def is_winograd(node: Node) -> bool:
    """Whether the node is a convolution with a known weight that minimal filtering computes sooner."""
    x, w = node.inputs[:2]
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    if x is None or w is None or not is_of_numbers(node) or any(item.dtype != FLOAT32 for item in present):
        return False
    if len(x.shape) != 4 or w.shape[2:] != (TAPS, TAPS) or not is_static(w) or not onednn.available():
        return False
    if {*node.attributes["strides"], *node.attributes["dilations"], int(node.attributes["group"])} != {1}:
        return False
    lanes = compiler().lanes(FLOAT32)
    if x.shape[1] % lanes or w.shape[0] % lanes or products(node) <= FEWEST_PRODUCTS:
        return False
    addends = [item.shape for item in node.inputs[2:] if item is not None]
    fits = all(shape in ((w.shape[0],), node.y.shape) for shape in addends)
    return fits and node.attributes.get("activation", "") in ACTIVATIONS and Tiles.of(node).is_worth_while


@kernel(TOOLKIT_DOMAIN, "FusedConv", accepts=is_winograd)
def lower_winograd(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(convolution + bias + residual)``; the residual is overwritten where nobody reads it later."""
    tiles = Tiles.of(node)
    writer = _Writer(node, tiles, resources.threads)
    layouts = [None if item is None else _lying(item.shape) for item in node.inputs]
    layouts[1] = FilterPanels(panel_width(), tiles.filtering).layout(node.inputs[1])
    whole = [at for at, item in enumerate(node.inputs) if at > 1 and item is not None and len(item.shape) > 1]
    return CompiledKernel(
        writer.code,
        layouts,
        [_lying(node.y.shape)],
        in_place=[(0, at) for at in whole],
        workspace=writer.workspace,
        tables=[np.zeros(tiles.channels, FLOAT32)],
    )


def _lying(shape: tuple[int, ...]) -> Layout:
    return plain(FLOAT32, shape) if len(shape) == 1 else channels_last(FLOAT32, shape)


class _Writer:
    """Writes the code.

    A group are the tiles of one product in registers. Threads have groups of their own, or where those are few panels
    of outputs; then each sees all windows for itself, for what another core wrote is far away. The space of a thread
    holds the factors of a block, (points, tiles, channels), and its products, (points, tiles, outputs).
    """

    def __init__(self, node: Node, tiles: Tiles, threads: int) -> None:
        self._tiles, self._filtering = tiles, tiles.filtering
        self._lanes, self._width = compiler().lanes(FLOAT32), panel_width()
        self._panels = -(-tiles.outputs // self._width)
        addends = [item for item in node.inputs[2:] if item is not None]
        self.code = code = Code(5 + len(addends))
        self._image, self._filters, *others, self._target, self._space, self._zeros = code.places
        self._addends = [(place, item.shape == node.y.shape) for place, item in zip(others, addends, strict=True)]
        self._activation = ACTIVATIONS[node.attributes.get("activation", "")]
        self._parameters = tuple(float(node.attributes.get(f"activation_{name}", 0.0)) for name in ("alpha", "beta"))

        self._rows = min(ROWS, key=lambda rows: (-(-tiles.count // rows) * (rows + 0.3), -rows))
        groups = -(-tiles.count // self._rows)
        shares_outputs = tiles.count < FEW_TILES * threads and self._panels > 1
        owned = -(-self._panels // threads) if shares_outputs else self._panels
        self._line = tiles.channels + NUMBERS_OF_A_LINE  # of factors: no power of two, whose lines share a place
        self._columns = owned * self._width
        together = self._groups_of_a_block(owned, groups if shares_outputs else -(-groups // threads))
        self._lines_ahead = -(-STEPS // together)
        self._slots = together * self._rows
        factors = tiles.points * self._slots * self._line
        per_thread = factors + tiles.points * self._slots * self._columns
        self.workspace = threads * per_thread * FLOAT32.itemsize

        team = Team(code, threads)
        self._factors = team.number * per_thread
        self._products = self._factors + factors
        everything = code.index(0), code.index(groups)
        self._owned = team.share(self._panels) if shares_outputs else (code.index(0), code.index(self._panels))
        begin, end = everything if shares_outputs else team.share(groups)
        with code.loop(end, together, start=begin) as group:
            first = group * self._rows
            many = (end - group).smaller(together) * self._rows
            self._block(first, many.smaller(code.index(tiles.count) - first))

    def _groups_of_a_block(self, owned: int, most: int) -> int:
        """How many fit into the cache, or where the filters do not either, as many as let them be read seldom."""
        group = self._tiles.points * self._rows * (self._line + self._columns) * FLOAT32.itemsize
        filters = self._tiles.points * self._tiles.channels * owned * self._width * FLOAT32.itemsize
        return max(1, min(most, max(BLOCK_NBYTES, filters // PASSES) // group))

    def _block(self, first: Number, count: Number) -> None:
        """``count`` tiles from ``first`` on."""
        code = self.code
        with code.loop(count) as slot:
            self._see(first + slot, slot)
        groups = (count + (self._rows - 1)) / self._rows
        begin, end = self._owned
        with code.loop(self._tiles.points) as point, code.loop(end, start=begin) as panel:
            this = point * self._panels + panel
            following = (panel + 1 < end).choose(this + 1, this + 1 - end + begin + self._panels)
            with code.loop(groups) as group:
                slot = point * self._slots + group * self._rows
                self._multiply(this, slot, (panel - begin) * self._width, following, group)
        with code.loop(count) as slot:
            self._bring_back(first + slot, slot)

    def _corner(self, tile: Number) -> tuple[Number, Number, Number]:
        """The image of a tile, and the row and the column of its first result there."""
        rows, columns = self._tiles.grid
        image = tile / (rows * columns)
        inside = tile - image * (rows * columns)
        row = inside / columns
        return image, row * self._filtering.outputs, (inside - row * columns) * self._filtering.outputs

    def _see(self, tile: Number, slot: Number) -> None:
        """The window of a tile at all points, channel by channel; outside of the image are zeros."""
        code, steps = self.code, range(self._filtering.size)
        image, *corner = self._corner(tile)
        high, wide = self._tiles.size
        y, x = ([at + (step - begin) for step in steps] for at, begin in zip(corner, self._tiles.begins, strict=True))
        in_y, in_x = ([(at >= 0) & (at < size) for at in line] for line, size in ((y, high), (x, wide)))

        def place(row: int, column: int) -> str:
            at = ((image * high + y[row]) * wide + x[column]) * self._tiles.channels
            return code.either(in_y[row] & in_x[column], code.address(self._image, at, FLOAT32), self._zeros)

        places = [[place(row, column) for column in steps] for row in steps]
        with code.loop(self._tiles.channels, self._lanes) as channel:
            window = [[code.load(item, channel, FLOAT32, self._lanes) for item in line] for line in places]
            seen = in_both_axes(self._filtering.window, window)
            start = self._factors + slot * self._line + channel
            for point, value in enumerate(value for line in seen for value in line):
                code.store(value, self._space, start + point * self._slots * self._line)

    def _multiply(self, panel: Number, slot: Number, column: Number, following: Number, group: Number) -> None:
        """The products of a group with one panel; each group fetches a part of the panel that follows."""
        code, lanes, depth, width = self.code, self._lanes, self._tiles.channels, self._width
        zero = code.constant(0.0, FLOAT32, lanes)
        places = list(product(range(self._rows), range(0, width, lanes)))
        cells = {place: code.cell(zero) for place in places}
        starts = [self._factors + (slot + row) * self._line for row in range(self._rows)]
        ahead = self._lines_ahead * NUMBERS_OF_A_LINE
        coming = following * (depth * width) + group * (depth // STEPS * ahead)
        with code.loop(depth, STEPS) as position:
            for line in range(0, ahead, NUMBERS_OF_A_LINE):
                code.prefetch(self._filters, coming + position * (ahead // STEPS) + line, FLOAT32)
            for step in range(STEPS):
                at = panel * (depth * width) + (position + step) * width
                filters = {
                    start: code.load(self._filters, at + start, FLOAT32, lanes) for start in range(0, width, lanes)
                }
                for row in range(self._rows):
                    factor = code.load(self._space, starts[row] + position + step, FLOAT32).spread(lanes)
                    for start, vector in filters.items():
                        cells[row, start].set(factor.times_plus(vector, cells[row, start].get()))
        target = self._products + slot * self._columns + column
        for row, start in places:
            code.store(cells[row, start].get(), self._space, target + (row * self._columns + start))

    def _bring_back(self, tile: Number, slot: Number) -> None:
        """The results of a tile from its products, as far as there are any, and what is fused behind them."""
        code, steps = self.code, range(self._filtering.size)
        image, top, left = self._corner(tile)
        rows, columns = self._tiles.result
        begin, end = self._owned
        first, last = begin * self._width, (end * self._width).smaller(self._tiles.outputs)
        apart = self._slots * self._columns
        with code.loop(last, self._lanes, start=first) as output:
            start = self._products + slot * self._columns + (output - first)
            seen = [
                [
                    code.load(self._space, start + (row * len(steps) + column) * apart, FLOAT32, self._lanes)
                    for column in steps
                ]
                for row in steps
            ]
            for row, line in enumerate(in_both_axes(self._filtering.result, seen)):
                for column, total in enumerate(line):
                    with code.where((top + row < rows) & (left + column < columns)):
                        place = (image * rows + (top + row)) * columns + (left + column)
                        self._finish(total, output, place * self._tiles.outputs + output)

    def _finish(self, total: Number, output: Number, at: Number) -> None:
        for place, is_whole in self._addends:
            total = total + self.code.load(place, at if is_whole else output, FLOAT32, self._lanes)
        self.code.store(self._activation(total, *self._parameters), self._target, at)
