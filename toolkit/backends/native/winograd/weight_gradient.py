"""Gradients by weights of windows of 3 x 3 or 5 x 5, or of 3 x 3 two positions apart, by minimal filtering.

The gradient is a convolution too: as many results for each channel and output as a window has positions, of which every
tile of the gradient by the output is a filter, and the window that it came from an image. Seen at the points,
(channels, tiles) by (tiles, outputs) is one product of matrices for each point, and all tiles add to it; only the sum
is brought back. Where tiles are few, some channels after the other go all the way: their sums never leave the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.images.windows import HEAD
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.products.tile import DEPTH, tile_function, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.native.winograd.convolution import BLOCK_NBYTES
from toolkit.backends.native.winograd.functions import square_function, weight_function
from toolkit.backends.native.winograd.images import Corner, Distances, Images, Squares
from toolkit.backends.native.winograd.order import Order
from toolkit.backends.native.winograd.strided import Strided
from toolkit.backends.native.winograd.tiles import Tiles, begins, is_dense_window, is_narrow, is_strided_window
from toolkit.backends.native.winograd.transforms import Filtering
from toolkit.backends.native.winograd.windows import Windows
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

Size = tuple[Number, Number]

FLOAT32 = np.dtype(np.float32)
WORTH_WHILE = 1.1  # of the multiplications, where windows lie two positions apart: the library's take that much longer
MOST_ROWS, OTHER_ROWS = 6, 4  # channels of one product in registers: multiples of vectors are so many of both
MOST_SLOTS = 126  # tiles of a block: so many channels and a panel of them stay in the first cache
TOGETHER = 32  # channels that go all the way
NEAR_NBYTES, NEAR_TILES = 3 << 19, 128  # up to which they do: what they need of one panel is in the cache, or nearly
MOST_SUMS_NBYTES = 1 << 20  # up to which each thread has its own sums, for tiles of its own
MOST_REPEATED_NBYTES, SEEN_FOR_A_SUM = 5 << 19, 4  # or where numbers of windows are so many times those of sums


def is_weight_gradient(node: Node) -> bool:
    """Whether the node is the gradient by a weight that minimal filtering computes sooner."""
    tiles = _tiles(node)
    if tiles is None or node.y.dtype != FLOAT32:
        return False
    return tiles.is_worth_while or (isinstance(tiles.filtering, Strided) and tiles.costs_less_than(WORTH_WHILE))


def _tiles(node: Node) -> Tiles | None:
    grad = node.inputs[1]
    if grad is None or grad.dtype != node.x.dtype:
        return None
    if is_dense_window(node, node.y.shape):
        return Tiles.of(node.x.shape, grad.shape, node.y.shape[-1], begins(node), is_narrow(node))
    if is_strided_window(node, node.y.shape):
        return Tiles.strided(node.x.shape, grad.shape, begins(node), is_narrow(node))
    return None


@kernel(TOOLKIT_DOMAIN, "ConvWeightGradient", accepts=is_weight_gradient)
def lower_weight_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradients by the weight and by the bias, from the input and the gradient by the output."""
    has_bias = len(node.outputs) > 1 and node.outputs[1] is not None
    given = [item for item in node.inputs if item is not None]
    images, grads = (Images.of(item.shape, lies, item.dtype) for item, lies in zip(given, inputs, strict=True))
    tiles = _tiles(node)
    assert tiles is not None, "it has been accepted"
    writer = _Writer(tiles, images, grads, resources.threads, has_bias)
    lying: list[Layout | None] = [item.layout(node.x.shape[0]) for item in (images, grads)]
    made: list[Layout | None] = [None if item is None else plain(FLOAT32, item.shape) for item in node.outputs]
    return CompiledKernel(writer.code, lying, made, workspace=writer.workspace)


class _Place(NamedTuple):
    """A product: of which factors of a window and of a tile, for which sum."""

    window: Number
    filter: Number
    sum: Number


class _Writer:
    """Writes the code.

    Sums are (panels, factors of a filter, channels, outputs of a panel). Where they are small, each thread has sums of
    its own, for tiles of its own, and they are added up in the end; else threads have panels, and see all windows for
    themselves. The space of a thread holds a square, the windows of a block, (points, parts of the channels, slots for
    tiles, channels), its tiles, (panels, factors, slots, outputs of a panel), and sums, of one panel and the channels
    that go all the way together where that is how they go. Of bfloat16, two tiles share a slot.
    """

    def __init__(self, tiles: Tiles, images: Images, grads: Images, threads: int, has_bias: bool) -> None:
        assert isinstance(tiles.filtering, Filtering | Strided), "it is that of a convolution"
        self._tiles, self._filtering, self._pair = tiles, tiles.filtering.swapped, 2 if tiles.is_narrow else 1
        self._panels = -(-tiles.outputs // width())
        self.code = code = Code(5 if has_bias else 4)
        self._image, self._grad, self._weight, *rest = code.places
        self._space = rest[-1]
        self._of_grads = Squares(grads, self._filtering.taps)
        self._lanes = compiler().lanes(FLOAT32)
        self._sums_each, self._seen = self._filtering.sums**2, self._filtering.filters**2  # of a channel, of a tile

        self._panel = self._sums_each * tiles.channels * width()  # numbers of the sums of a panel
        shares_outputs = self._panels > 1 and not self._may_repeat_sums()
        owned = -(-self._panels // threads) if shares_outputs else self._panels
        most = -(-tiles.total // (self._pair if shares_outputs else self._pair * threads))
        goes_all_the_way = shares_outputs and self._are_near(most)
        self._slots = (most if goes_all_the_way else self._slots_of_a_block(owned, most)) | 1
        self._windows = Windows(code, tiles, images, self._slots, pairs_tiles=tiles.is_narrow)
        square, windows = max(self._windows.squares.numbers, self._of_grads.numbers), self._windows.words
        filters = owned * self._seen * self._slots * width()
        sums = self._sums_each * TOGETHER * width() if goes_all_the_way else owned * self._panel
        self._each = square + windows + filters + sums
        self.workspace = (HEAD + threads * self._each) * FLOAT32.itemsize

        team = Team(code, threads, self._space)
        self._square = team.number * self._each + HEAD
        self._factors, self._filters = self._square + square, self._square + (square + windows)
        self._sums = self._filters + filters
        self._owned = team.share(self._panels) if shares_outputs else (code.index(0), code.index(self._panels))
        if goes_all_the_way:
            self._all_the_way(team)
        elif shares_outputs:
            self._gather(code.index(0), code.index(tiles.total))
            self._bring_back(self._owned[0], self._sums)
        else:
            meet = team.barrier()
            self._gather(*team.share(tiles.total))
            meet()
            self._owned = team.share(self._panels)
            first = self._sums - self._square + HEAD
            self._add_up(first, team.count)
            self._bring_back(code.index(0), first)
        if has_bias:
            self._sum_up(rest[0], team)

    def _may_repeat_sums(self) -> bool:
        """Whether each thread has sums of its own: small ones, or where else each would see far more windows."""
        sums, seen = self._panels * self._panel, self._tiles.total * self._tiles.points * self._tiles.channels
        nbytes = sums * FLOAT32.itemsize
        return nbytes <= MOST_SUMS_NBYTES or (nbytes <= MOST_REPEATED_NBYTES and seen >= SEEN_FOR_A_SUM * sums)

    def _slots_of_a_block(self, owned: int, most: int) -> int:
        """How many slots fit into the cache, or where sums do not either, as many as let them be passed over seldom."""
        columns = owned * width()
        tile = (self._tiles.points * self._tiles.channels + self._seen * columns) * FLOAT32.itemsize
        sums = owned * self._panel * FLOAT32.itemsize
        return min(most, MOST_SLOTS, max(BLOCK_NBYTES, sums) // tile)

    def _are_near(self, slots: int) -> bool:
        """Whether all tiles of some channels and of a panel stay near, together with their sums."""
        factors = self._tiles.points * TOGETHER + self._seen * width()
        numbers = factors * slots + self._sums_each * TOGETHER * width()
        is_whole = self._tiles.channels % TOGETHER == 0 and slots <= NEAR_TILES
        return is_whole and numbers * FLOAT32.itemsize <= NEAR_NBYTES

    def _gather(self, begin: Number, end: Number) -> None:
        """The sums of the tiles from ``begin`` on."""
        most = self._pair * self._slots
        self._block(begin, (end - begin).smaller(most), replaces=True)
        with self.code.loop(end, most, start=begin + most) as first:
            self._block(first, (end - first).smaller(most), replaces=False)

    def _block(self, first: Number, count: Number, *, replaces: bool) -> None:
        """Add what ``count`` tiles from ``first`` on give to the sums."""
        code, (begin, end) = self.code, self._owned
        used, none = self._used(count), code.index(0)
        self._see(self._tile, first, count, (none, used), self._see_window, self._see_grad)

        def multiply(at: _Place, *, is_first: bool) -> None:
            for part in range(self._windows.parts):
                windows = self._windows.at(self._factors, at.window, part)
                with code.loop(end, start=begin) as panel:
                    local = (panel - begin) * self._sums_each + at.sum
                    sums = self._sums + (local * self._tiles.channels + part * DEPTH) * width()
                    right = self._filter((panel - begin) * self._seen + at.filter, none)
                    self._multiply(windows, right, sums, self._windows.depth(part), used, replaces and is_first)

        self._products(multiply)

    def _products(self, multiply: Callable[..., None]) -> None:
        """What ``multiply`` writes for each product, told whether it is the first for its sum."""
        code, scheme = self.code, self._filtering
        for phases in product(scheme.phases, repeat=2):
            with code.loop(phases[0].products) as row, code.loop(phases[1].products) as column:
                found = [phase.product(index) for phase, index in zip(phases, (row, column), strict=True)]
                sides = scheme.size, scheme.filters, scheme.sums
                at = _Place(*(down * side + across for down, across, side in zip(*found, sides, strict=True)))
                begun = [at for phase, at in zip(phases, (row, column), strict=True) if not phase.sum_step]
                if begun:
                    is_later = sum(begun[1:], begun[0]) > 0
                    with code.where(is_later):
                        multiply(at, is_first=False)
                    with code.where(~is_later):
                        multiply(at, is_first=True)
                else:
                    multiply(at, is_first=True)

    def _all_the_way(self, team: Team) -> None:
        """Filters of the gradient from all tiles, some channels of one panel after the other.

        Threads see windows together, each some of the tiles, in the space of the first.
        """
        code, (begin, end), order = self.code, self._owned, Order(self.code, self._tiles)
        total, meet = code.index(self._tiles.total), team.barrier()
        self._factors = self._factors - self._square + HEAD
        none, slots = code.index(0), -(-self._tiles.total // self._pair)
        self._see(order.tile, none, total, team.share(slots), self._see_window)
        self._see(order.tile, none, total, (none, code.index(slots)), self._see_grad)
        meet()
        for part in range(self._windows.parts):
            with code.loop(self._windows.depth(part), TOGETHER) as start, code.loop(end, start=begin) as panel:
                self._products(partial(self._multiply_all, order, (part, start), panel - begin))
                self._bring_back_channels(panel, self._sums, start + part * DEPTH, TOGETHER)

    def _multiply_all(
        self, order: Order, channels: tuple[int, Number], local: Number, at: _Place, *, is_first: bool
    ) -> None:
        """One product of all tiles that have it, for some channels, from one of a part on, and one panel."""
        (part, start), (first, last) = channels, order.having(at.window)
        slot, depth = first / self._pair, self._used(last) - first / self._pair
        windows = self._windows.at(self._factors, at.window, part) + (slot * self._windows.stride + start)
        right = self._filter(local * self._seen + at.filter, slot)
        sums = self._sums + at.sum * (TOGETHER * width())
        self._multiply(windows, right, sums, TOGETHER, depth, replaces=is_first)

    def _tile(self, number: Number) -> tuple[Corner, None]:
        return self._tiles.corner(number), None

    def _see(
        self,
        tile: Callable[[Number], tuple[Corner, Size | None]],
        first: Number,
        count: Number,
        slots: tuple[Number, Number],
        *seeing: Callable[[Corner, Size | None, Number, int | None], None],
    ) -> None:
        """See ``count`` tiles from ``first`` on, those of the slots from one to another.

        ``tile`` tells where one begins, and its results, if there are fewer than usual.
        """
        code, (begin, end), pair = self.code, slots, self._pair
        with code.loop(end, start=begin) as slot:
            found = tile(first + slot * pair)
            for see in seeing:
                see(*found, slot, 0 if pair > 1 else None)
            if pair > 1:
                with code.where(slot * pair + 1 < count):
                    found = tile(first + slot * pair + 1)
                    for see in seeing:
                        see(*found, slot, 1)

    def _see_window(self, corner: Corner, _: Size | None, slot: Number, half: int | None) -> None:
        apart = self._tiles.filtering.step // self._tiles.filtering.outputs
        corner = Corner(corner.image, corner.row * apart, corner.column * apart)
        self._windows.see(self._image, corner, (self._space, self._square), self._factors, slot, half)

    def _see_grad(self, corner: Corner, size: Size | None, slot: Number, half: int | None) -> None:
        """See a tile of the gradient by the output, which is a filter here."""

        def see_filter(place: str, channel_factor: int, distances: Distances) -> None:
            self._see_filter(place, channel_factor, distances, slot, half)

        self._of_grads.read(self.code, self._grad, corner, (self._space, self._square), see_filter, size)

    def _used(self, count: Number) -> Number:
        """The slots that so many tiles take."""
        return (count + (self._pair - 1)) / self._pair

    def _filter(self, local: Number, slot: Number) -> str:
        """The tiles of a block at a point, from a slot on, as a panel of outputs."""
        return self.code.address(self._space, self._filters + (local * self._slots + slot) * width(), FLOAT32)

    def _see_filter(
        self, place: str, channel_factor: int, distances: Distances, slot: Number, half: int | None
    ) -> None:
        dtype = self._of_grads.images.dtype
        code, outputs, (begin, end) = self.code, self._tiles.outputs, self._owned
        numbers = [code.index(item) for item in (*distances, self._slots * width())]
        with code.loop(end, start=begin) as panel:
            output = panel * width()
            at = self._filters + ((panel - begin) * (self._seen * self._slots) + slot) * width()
            places = code.address(place, output * channel_factor, dtype), code.address(self._space, at, FLOAT32)
            present = (code.index(outputs) - output).smaller(width()) / self._lanes
            code.invoke(square_function(self._filtering, dtype, half), places, [present, *numbers])

    def _multiply(
        self, windows: Number, right: str, sums: Number, channels: int, depth: Number, replaces: bool
    ) -> None:
        """Products of channels with one panel at one point, over so many slots of a block."""
        code, done = self.code, 0
        others = next(count for count in range(3) if (channels - OTHER_ROWS * count) % MOST_ROWS == 0)
        for rows, tiles in ((MOST_ROWS, (channels - OTHER_ROWS * others) // MOST_ROWS), (OTHER_ROWS, others)):
            function = tile_function(rows, 1, self._windows.stride, replaces=replaces, in_pairs=self._tiles.is_narrow)
            with code.loop(done + tiles * rows, rows, start=done) as channel:
                left = code.address(self._space, windows + channel, FLOAT32)
                target = code.address(self._space, sums + channel * width(), FLOAT32)
                code.invoke(function, [left, right, target], [depth])
            done += tiles * rows

    def _add_up(self, first: Number, threads: Number) -> None:
        """Add the sums of all threads to those of the ``first``, for the panels that this one brings back."""
        code, (begin, end) = self.code, self._owned
        with code.loop(end * self._panel, self._lanes, start=begin * self._panel) as at:
            total = code.cell(code.load(self._space, first + at, FLOAT32, self._lanes))
            with code.loop(threads, start=1) as thread:
                total.set(total.get() + code.load(self._space, first + thread * self._each + at, FLOAT32, self._lanes))
            code.store(total.get(), self._space, first + at)

    def _bring_back(self, origin: Number, sums: Number) -> None:
        """The sums of panels as filters of the gradient; those of panel ``origin`` lie first."""
        begin, end = self._owned
        with self.code.loop(end, start=begin) as panel:
            start = sums + (panel - origin) * self._panel
            self._bring_back_channels(panel, start, self.code.index(0), self._tiles.channels)

    def _bring_back_channels(self, panel: Number, sums: Number, first: Number, count: int) -> None:
        """The sums of ``count`` channels from ``first`` on as filters, as far as there are any."""
        code, outputs = self.code, self._of_grads.images.channels
        channels, taps = self._windows.squares.images.channels, self._filtering.outputs**2
        present = (channels - first).smaller(count)
        with code.loop(width(), self._lanes) as inside:
            output = panel * width() + inside
            with code.where(output < outputs):
                source = code.address(self._space, sums + inside, FLOAT32)
                target = code.address(self._weight, (output * channels + first) * taps, FLOAT32)
                distances = code.index(count * width()), code.index(channels * taps)
                code.invoke(weight_function(self._filtering), [source, target], [present, outputs - output, *distances])

    def _sum_up(self, target: str, team: Team) -> None:
        """The gradient by the bias: a sum over all positions, row by row."""
        code, lanes, (rows, columns), images = self.code, self._lanes, self._tiles.result, self._of_grads.images
        begin, end = team.share(self._tiles.outputs // lanes)
        whole = images.channels // lanes
        zero = code.constant(0.0, FLOAT32, lanes)
        with code.loop(end, start=begin) as vector:
            total, first = code.cell(zero), vector * (lanes * images.channel_factor)
            with code.loop(self._tiles.batch) as image, code.loop(rows) as row:
                part = code.cell(zero)
                with code.loop(columns) as column:
                    at = images.at(image, row, column) + first
                    part.set(part.get() + code.load(self._grad, at, images.dtype, lanes).converted(FLOAT32))
                total.set(total.get() + part.get())
            with code.where(vector < whole):
                code.store(total.get(), target, vector * lanes)
            if images.channels % lanes:
                with code.where(vector.equals(whole)):
                    code.store_some(total.get(), target, vector * lanes, images.channels % lanes)
