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
from toolkit.backends.native.products.ending import Activation
from toolkit.backends.native.products.tile import VECTORS, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.native.strassen.panels import StrassenPanels
from toolkit.backends.native.strassen.positions import Positions, longest
from toolkit.backends.native.strassen.products import (
    PARTS,
    PRODUCTS,
    RESULTS,
    Coming,
    Ending,
    Tile,
    left_factors,
    strassen_function,
)
from toolkit.backends.native.strassen.sizes import is_input_gradient, is_pointwise
from toolkit.backends.native.winograd.images import Images
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT32 = np.dtype(np.float32)
GROUP_NBYTES = 1 << 18  # of left factors that panels meet one after the other, beside what is fetched meanwhile
WHOLE_NBYTES = 1 << 23  # of left factors, all of which meet a panel that has been packed, so that it is used up at once


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


class _Writer:
    """Writes the code.

    Threads have tiles of their own, or where those are few, panels. If ``filters`` say that the weight is to be packed,
    each thread packs for itself, a panel when it wants it first: what another core has just written is slow to come.
    The space holds for each thread its packed panels, one if there is one group, sums, and the left factors of a group,
    (tiles, factors, blocks of channels, rows, lanes). Where threads have panels to pack, all make the left factors of
    all tiles together.
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
        self._filters, self._given, self._sides = filters, self._weight, (images.channels, results.channels)
        shares_panels = self._shares_panels(threads)
        panels = longest(self._panels, threads) if shares_panels else self._panels
        tiles = positions.total if shares_panels else longest(positions.total, threads)
        factors_nbytes = self._factors * FLOAT32.itemsize
        is_whole = shares_panels and filters is not None and tiles * factors_nbytes <= WHOLE_NBYTES
        group = tiles if is_whole else max(1, min(tiles, GROUP_NBYTES // factors_nbytes))
        self._is_kept = filters is None or group < tiles
        packed = 0 if filters is None else self._panel * (panels if self._is_kept else 1)
        sums = (RESULTS + 2) * positions.highest * width()
        left = group * self._factors
        per_thread = packed + sums + (0 if is_whole else left)
        common = HEAD + (left if is_whole else 0)
        self.workspace = (common + threads * per_thread) * FLOAT32.itemsize

        team = Team(code, threads, self._space)
        start, every = team.number * per_thread + common, code.index(0)
        self._sums = code.address(self._space, start + packed, FLOAT32)
        self._left = every + HEAD if is_whole else start + (packed + sums)
        self._shares_seeing = team if is_whole else None
        self._own_panels = team.share(self._panels) if shares_panels else (every, code.index(self._panels))
        if filters is not None:
            first = self._own_panels[0] * self._panel if self._is_kept else every
            self._weight = code.address(self._space, start - first, FLOAT32)
        self._groups(*((every, code.index(positions.total)) if shares_panels else team.share(positions.total)), group)
        if self._is_large:
            code.settle()

    def _shares_panels(self, threads: int) -> bool:
        """Whether threads have panels: where the longest share is shorter, or there is less to pack and to see."""
        panels, tiles = self._panels, self._positions.total
        by_panels, by_tiles = longest(panels, threads) * tiles, longest(tiles, threads) * panels
        if by_panels != by_tiles or self._filters is None:
            return by_panels < by_tiles
        return self._positions.batch * self._positions.each < self._results.channels

    def _groups(self, begin: Number, end: Number, group: int) -> None:
        """All tiles from begin to end, so many together."""
        code, team, (first_panel, last_panel) = self.code, self._shares_seeing, self._own_panels
        with code.loop(end, group, start=begin) as first:
            last = (first + group).smaller(end)
            begin_seeing, end_seeing = (first, last) if team is None else team.share(end)
            with code.loop(end_seeing, start=begin_seeing) as tile:
                self._see(tile, self._left + (tile - first) * self._factors)
            if team is not None:
                team.barrier()()
            with code.loop(last_panel, start=first_panel) as panel:
                is_first = first.equals(begin)
                if self._filters is not None:
                    with code.where(is_first):
                        self._pack(self._filters, panel)
                with code.loop(last, start=first) as tile:
                    left = self._left + (tile - first) * self._factors
                    coming = [self._coming_images((tile + group).smaller(end - 1), panel)]
                    if self._filters is not None:
                        wanted = is_first & (panel + 1 < last_panel)
                        coming.append(
                            self._coming_weight(self._filters, panel + 1, wanted, (tile - first, last - first))
                        )
                    self._multiply(tile, panel, left, coming)

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

    def _packed(self, panel: Number) -> str:
        """Where the right factors of a panel are."""
        return self.code.address(self._weight, panel * self._panel if self._is_kept else 0, FLOAT32)

    def _pack(self, filters: StrassenPanels, panel: Number) -> None:
        """Panels are packed to their places behind the first one; a single one lies where that would."""
        code, target = self.code, self._weight
        if not self._is_kept:
            target = code.address(target, panel * -self._panel, FLOAT32)
        filters.pack(code, (self._given, target), (panel, panel + 1), self._sides)

    def _coming_weight(
        self, filters: StrassenPanels, panel: Number, wanted: Number, piece: tuple[Number, Number]
    ) -> tuple[str, Coming[Number | int]]:
        """A piece, of so many, of the weight that a panel is packed from, if ``wanted``."""
        number, pieces = piece
        start, lines = filters.lines(panel, self._sides, self._positions.height)
        units = lines.segments // 4
        begin, end = number * units / pieces, (number + 1) * units / pieces
        coming: Coming[Number | int] = Coming(wanted.choose((end - begin) * 4, 0), *lines[1:])
        return self.code.address(self._given, start + begin * lines.apart, FLOAT32), coming

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

    def _multiply(
        self, tile: Number, panel: Number, left: Number, ahead: Sequence[tuple[str, Coming[Number | int]]]
    ) -> None:
        """One panel and its neighbour in the other half of the outputs, for both halves of a tile."""
        code, positions = self.code, self._positions
        image, first, rows = self._place(tile)
        given = code.address(self._space, left, FLOAT32), self._packed(panel)
        coming = [self._coming_results(image, first, panel), *ahead]
        numbers = [self._blocks, *(number for _, lines in coming for number in lines)]
        places = [*given, self._sums, *(place for place, _ in coming)]
        heights = {positions.height + 1, positions.height} if positions.higher else {positions.height}
        for height in sorted(heights):
            with code.where(rows.equals(height)):
                tile_of = Tile(height, self._lanes, 1, self._lanes)
                function = strassen_function(tile_of, coming=len(coming), ending=self._ending)
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
        end = (panel + 1 >= self._own_panels[1]).choose(self.code.index(segments), 0)
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
