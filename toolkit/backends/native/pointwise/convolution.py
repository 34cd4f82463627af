"""Convolutions with windows of one position: positions by channels times a weight, by Strassen's products.

A group of tiles goes all the way while it is near: their left factors are made, and meet the panels of the weight one
by one. The gradient by the input is the same with the weight turned, from outputs to channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.assembly.code import BEYOND_CACHES, Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.images.windows import HEAD
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.pointwise.filters import StrassenPanels
from toolkit.backends.native.pointwise.positions import Positions
from toolkit.backends.native.pointwise.sizes import is_input_gradient, is_pointwise
from toolkit.backends.native.pointwise.strassen import (
    PARTS,
    PRODUCTS,
    RESULTS,
    Coming,
    Ending,
    Tile,
    left_factors,
    strassen_function,
)
from toolkit.backends.native.products.ending import Activation
from toolkit.backends.native.products.tile import VECTORS, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.native.winograd.images import Images
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT32 = np.dtype(np.float32)
GROUP_NBYTES = 1 << 18  # of left factors that panels meet one after the other, beside what is fetched meanwhile


@kernel(TOOLKIT_DOMAIN, "FusedConv", accepts=is_pointwise)
def lower_convolution(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(convolution + bias + residual)``; the residual is overwritten where nobody reads it later."""
    return _kernel(node, inputs, resources, is_turned=False)


@kernel(TOOLKIT_DOMAIN, "ConvInputGradient", accepts=is_input_gradient)
def lower_input_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradient by the input, from that by the output and the weight."""
    return _kernel(node, inputs, resources, is_turned=True)


def _kernel(node: Node, given: Sequence[Layout | None], resources: Resources, *, is_turned: bool) -> Kernel:
    """The result lies as the image does. A weight that changes with each step is packed by the kernel itself."""
    weight, filters = node.inputs[1], StrassenPanels(is_turned)
    assert weight is not None
    images = Images.of(node.x.shape, given[0])
    size, channels = (node.y.shape[2], node.y.shape[3]), node.y.shape[1]
    results = images.beside(size, channels)
    strides = (1, 1) if is_turned else tuple(node.attributes["strides"])
    positions = Positions(node.x.shape[0], size, (int(strides[0]), int(strides[1])))
    is_packed = weight.constant is not None or not resources.training
    writer = _Writer(node, positions, images, results, resources.threads, None if is_packed else filters)
    result = results.layout(positions.batch)
    packed = filters.layout(weight) if is_packed else plain(FLOAT32, weight.shape)
    inputs: list[Layout | None] = [images.layout(positions.batch), packed]
    whole = []
    for at, item in enumerate(node.inputs[2:], 2):
        is_whole = item is not None and len(item.shape) > 1
        whole += [(0, at)] if is_whole else []
        inputs.append(None if item is None else result if is_whole else plain(FLOAT32, item.shape))
    return CompiledKernel(writer.code, inputs, [result], in_place=whole, workspace=writer.workspace)


def _longest(items: int, threads: int) -> int:
    """How many of equal items the thread has that has most."""
    return -(-items // threads)


class _Writer:
    """Writes the code.

    Threads have tiles of their own, or where those are few, panels; then each makes all left factors for itself. The
    space holds the packed weight, if ``filters`` say that it is to be packed, and for each thread the left factors of a
    group, (tiles, factors, blocks of channels, rows, lanes), and sums.
    """

    def __init__(
        self,
        node: Node,
        positions: Positions,
        images: Images,
        results: Images,
        threads: int,
        filters: StrassenPanels | None,
    ) -> None:
        self._positions, self._images, self._results = positions, images, results
        addends = [item for item in node.inputs[2:] if item is not None]
        self.code = code = Code(4 + len(addends))
        self._image, self._weight, *others, self._target, self._space = code.places
        self._addends = [(place, item.shape == node.y.shape) for place, item in zip(others, addends, strict=True)]
        self._activation = Activation.of(node)
        self._lanes = compiler().lanes(FLOAT32)
        self._blocks = images.channels // (2 * self._lanes)
        self._panels = results.channels // (2 * width())
        self._is_large = node.y.size * FLOAT32.itemsize >= BEYOND_CACHES
        self._store = code.store_past if self._is_large else code.store

        is_bare = not addends and not self._activation.name and not positions.each % 2
        self._ending = (Ending.PAST if self._is_large else Ending.PLACES) if is_bare else Ending.SUMS

        self._panel = PRODUCTS * self._blocks * self._lanes * width()  # numbers of the right factors of a panel
        self._factors = PRODUCTS * self._blocks * positions.highest * self._lanes  # and of the left ones of a tile
        shares_panels = (
            _longest(self._panels, threads) * positions.total < _longest(positions.total, threads) * self._panels
        )
        group = max(1, min(_longest(positions.total, threads), GROUP_NBYTES // (self._factors * FLOAT32.itemsize)))
        packed = 0 if filters is None else self._panels * self._panel
        per_thread = group * self._factors + (RESULTS + 2) * positions.highest * width()
        self.workspace = (HEAD + packed + threads * per_thread) * FLOAT32.itemsize

        team = Team(code, threads, self._space)
        owned = team.share(self._panels)
        if filters is not None:
            given, self._weight = self._weight, code.address(self._space, HEAD, FLOAT32)
            filters.pack(code, (given, self._weight), owned, (images.channels, results.channels))
            if not shares_panels:
                team.barrier()()
        self._left = team.number * per_thread + (HEAD + packed)
        self._sums = code.address(self._space, self._left + group * self._factors, FLOAT32)
        begin, end = (code.index(0), code.index(positions.total)) if shares_panels else team.share(positions.total)
        self._groups(begin, end, group, owned if shares_panels else (code.index(0), code.index(self._panels)))
        if self._is_large:
            code.settle()

    def _groups(self, begin: Number, end: Number, group: int, panels: tuple[Number, Number]) -> None:
        """All tiles from begin to end, so many together."""
        code, self._end = self.code, panels[1]
        with code.loop(end, group, start=begin) as first:
            last = (first + group).smaller(end)
            with code.loop(last, start=first) as tile:
                self._see(tile, self._left + (tile - first) * self._factors)
            with code.loop(panels[1], start=panels[0]) as panel, code.loop(last, start=first) as tile:
                coming = (tile + group).smaller(end - 1)
                self._multiply(tile, panel, self._left + (tile - first) * self._factors, coming)

    def _place(self, tile: Number) -> tuple[Number, Number, Number]:
        """Image, first position, and rows of a tile."""
        positions = self._positions
        image = tile / positions.tiles
        inside = tile - image * positions.tiles
        return (
            image,
            positions.first(inside),
            positions.height + (inside < positions.higher).choose(self.code.index(1), 0),
        )

    def _see(self, tile: Number, target: Number) -> None:
        """Make the left factors of a tile."""
        code, positions, images, lanes = self.code, self._positions, self._images, self._lanes
        image, first, rows = self._place(tile)
        start = image * (images.numbers * images.size[0] * images.size[1])
        apart = images.channel_factor * lanes

        def see(row: Number, block: Number) -> None:
            upper = first + row
            lower = (upper + positions.half).smaller(positions.each - 1)
            at = [start + positions.read_at(images, position) + block * apart for position in (upper, lower)]
            (a, b), (c, d) = (
                [code.load(self._image, where + side * self._blocks * apart, FLOAT32, lanes) for side in range(2)]
                for where in at
            )
            for number, factor in enumerate(left_factors((a, b), (c, d))):
                place = target + ((block + number * self._blocks) * rows + row) * lanes
                code.store(factor, self._space, place)

        if images.block == images.channels:
            with code.loop(rows) as row, code.loop(self._blocks) as block:
                see(row, block)
        else:
            with code.loop(self._blocks) as block, code.loop(rows) as row:
                see(row, block)

    def _multiply(self, tile: Number, panel: Number, left: Number, coming: Number) -> None:
        """One panel and its neighbour in the other half of the outputs, for both halves of a tile."""
        code, positions = self.code, self._positions
        image, first, rows = self._place(tile)
        given = code.address(self._space, left, FLOAT32), code.address(self._weight, panel * self._panel, FLOAT32)
        target, ahead = self._coming_results(image, first, panel), self._coming_images(coming, panel)
        numbers = [self._blocks, *target[1], *ahead[1]]
        places = [*given, self._sums, target[0], ahead[0]]
        heights = {positions.height + 1, positions.height} if positions.higher else {positions.height}
        for height in sorted(heights):
            with code.where(rows.equals(height)):
                tile_of = Tile(height, self._lanes, 1, self._lanes)
                function = strassen_function(tile_of, coming=2, ending=self._ending)
                code.invoke(
                    function, places, [item if isinstance(item, Number) else code.index(item) for item in numbers]
                )
                if self._ending is Ending.SUMS:
                    self._bring_back(image, first, panel, height)

    def _coming_results(self, image: Number, first: Number, panel: Number) -> tuple[str, Coming[Number | int]]:
        """The lines of what is added to results, else of these, unless they are written past the caches."""
        positions, results, factor = self._positions, self._results, self._results.channel_factor
        start = image * (results.numbers * positions.each) + first * results.block + panel * (width() * factor)
        pair, apart = factor * results.channels // 2, factor * self._lanes
        place = next((place for place, is_whole in self._addends if is_whole), "" if self._is_large else self._target)
        count = RESULTS * VECTORS if place else 0
        lines: Coming[Number | int] = Coming(count, positions.half * results.block, pair, apart, results.block)
        return self.code.address(place or self._target, start, FLOAT32), lines

    def _coming_images(self, tile: Number, panel: Number) -> tuple[str, Coming[Number | int]]:
        """What will be seen of a tile, fetched beside the last panel: others would push it out of the cache again."""
        positions, images = self._positions, self._images
        image, first, _ = self._place(tile)
        start = image * (images.numbers * images.size[0] * images.size[1]) + positions.read_at(images, first)
        half = positions.half * images.block * positions.strides[0] * positions.strides[1]
        apart = images.channel_factor * self._lanes
        segments = 4 * self._blocks
        end = (panel + 1 >= self._end).choose(self.code.index(segments), 0)
        lines: Coming[Number | int] = Coming(end, half, apart, 2 * apart, images.block * positions.strides[1])
        return self.code.address(self._image, start, FLOAT32), lines

    def _bring_back(self, image: Number, first: Number, panel: Number, rows: int) -> None:
        """The results of sums, and what is fused behind them."""
        code, positions, results, lanes = self.code, self._positions, self._results, self._lanes
        start = image * (results.numbers * positions.each)
        for part, (down, across) in enumerate(PARTS):
            begin = first + down * positions.half
            present = (code.index(positions.each) - begin).smaller(rows) if down else code.index(rows)
            for vector in range(0, width(), lanes):
                output = panel * width() + (across * results.channels // 2 + vector)
                place = start + output * results.channel_factor + begin * results.block
                added = [
                    None if is_whole else code.load(item, output, FLOAT32, lanes) for item, is_whole in self._addends
                ]
                with code.loop(present) as row:
                    total = code.load(self._sums, (row + part * rows) * width() + vector, FLOAT32, lanes)
                    at = place + row * results.block
                    for (item, _), number in zip(self._addends, added, strict=True):
                        total = total + (code.load(item, at, FLOAT32, lanes) if number is None else number)
                    self._store(self._activation(total), self._target, at)
