"""Convolutions of few tiles by a weight that changes with each step, which sees panels of filters while they are near.

Filters seen at all points take four times the memory of the weight. To write and to read them takes longer than seeing
them, and where tiles are few, as long as a good part of the products. Threads see the windows of all tiles together.
Then each sees some channels of the filters of a panel, multiplies all tiles by them at all points, and has the results
of the panel once it is through with the channels.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.images.windows import HEAD
from toolkit.backends.native.products.blocking import LINE
from toolkit.backends.native.products.tile import DEPTH, tile_function, width
from toolkit.backends.native.winograd.filter_functions import whole_filter_function
from toolkit.backends.native.winograd.filters import apart_in_units
from toolkit.backends.native.winograd.images import Corner, Images
from toolkit.backends.native.winograd.order import Order
from toolkit.backends.native.winograd.results import Results, places_of_results
from toolkit.backends.native.winograd.tiles import Tiles
from toolkit.backends.native.winograd.windows import Windows
from toolkit.compiler.program import Node

FLOAT32 = np.dtype(np.float32)
ROWS = (4, 5, 6)  # tiles whose sums are in registers together, beside two vectors of outputs
TOGETHER = 128  # channels of a panel that are seen together: at 36 points, they take half of many a second cache
MOST_NBYTES = 10 << 20  # of the windows of all tiles, which are read again for each panel
MOST_SUMS_NBYTES = 3 << 18  # of a panel, so that they stay in many a second cache while channels are gone through
MOST_IDLE = 1.15  # times the work of a thread, if panels could be shared out evenly, that one may have


def are_few(tiles: Tiles, weight: tuple[int, ...], threads: int, *, is_turned: bool) -> bool:
    """Whether windows of all tiles take less memory than filters and stay near, and filters fill what they are seen in.

    Not of bfloat16, whose filters take a quarter of the memory, and as long to see.

    ``is_turned``: for the gradient by the input, from outputs of the weight to its channels.
    """
    channels, outputs = weight[:2] if is_turned else weight[1::-1]
    panels = outputs // width()
    if tiles.is_narrow or outputs % width() or channels % compiler().lanes(FLOAT32):
        return False
    windows, filters = (tiles.points * tiles.total * channels, tiles.filters * channels * outputs)
    are_near = windows * FLOAT32.itemsize <= MOST_NBYTES
    are_near = are_near and tiles.sums * tiles.total * width() * FLOAT32.itemsize <= MOST_SUMS_NBYTES
    return windows <= filters and are_near and -(-panels // threads) * threads <= MOST_IDLE * panels


class FewTiles:
    """Writes the code.

    The space holds the windows of all tiles, and for each thread a square of an image, filters, (factors, channels that
    are seen together, outputs of a panel), and sums, (points, slots for tiles, outputs of a panel).
    """

    def __init__(
        self, node: Node, tiles: Tiles, images: Images, results: Images, threads: int, *, is_turned: bool
    ) -> None:
        weight = node.inputs[1]
        assert weight is not None
        self._tiles = tiles
        near, far = tiles.filtering.taps**2, weight.shape[1] * tiles.filtering.taps**2
        self._output_apart, self._channel_apart = (near, far) if is_turned else (far, near)
        self._see_filters = whole_filter_function(tiles.filtering, is_turned, FLOAT32, FLOAT32, stays_near=True)
        self.code = code = Code(2 + places_of_results(node))
        self._image, self._weight, *others, self._space = code.places

        self._order = Order(code, tiles) if tiles.filtering.step >= tiles.filtering.outputs else None
        self._rows = min(ROWS, key=lambda rows: (self._turns(rows) * (rows + 0.3), -rows))
        self._slots = (tiles.total + self._rows - 1) | 1  # odd, so that points do not share a place in the cache
        self._windows = Windows(code, tiles, images, self._slots)
        square, windows = self._windows.squares.numbers, self._windows.words
        filters = tiles.filters * apart_in_units(min(TOGETHER, tiles.channels)) * width()
        per_thread = square + filters + tiles.sums * self._slots * width()
        self.workspace = (HEAD + windows + threads * per_thread) * FLOAT32.itemsize

        team = Team(code, threads, self._space)
        self._factors = code.index(HEAD)
        self._square = team.number * per_thread + (HEAD + windows)
        self._filters, self._sums = self._square + square, self._square + (square + filters)
        self._results = Results(code, node, tiles, results, [*others, self._space], self._slots)
        self._see_windows(team)
        begin, self._end = team.share(tiles.outputs // width())
        with code.loop(self._end, start=begin) as panel:
            self._panel(panel)

    def _see_windows(self, team: Team) -> None:
        """Those of all tiles, by all threads."""
        meet = team.barrier()
        begin, end = team.share(self._tiles.total)
        with self.code.loop(end, start=begin) as tile:
            spare = self._space, self._square
            self._windows.see(self._image, self._tile(tile)[0], spare, self._factors, tile)
        meet()

    def _tile(self, number: Number) -> tuple[Corner, Corner, tuple[Number, Number] | None]:
        """Where the window and the results of a tile begin, and how many of these there are, if that depends."""
        if self._order is None:
            return self._tiles.window(number), self._tiles.corner(number), None
        corner, size = self._order.tile(number)
        apart = self._tiles.filtering.step // self._tiles.filtering.outputs
        return Corner(corner.image, corner.row * apart, corner.column * apart), corner, size

    def _turns(self, rows: int) -> int:
        """Products of ``rows`` tiles at all points."""
        if self._order is not None:
            return self._order.groups(rows)
        return sum(phase.products for phase in self._tiles.filtering.phases) ** 2 * -(-self._tiles.total // rows)

    def _panel(self, panel: Number) -> None:
        """The results of a panel."""
        code, tiles = self.code, self._tiles
        pieces = [
            (part, first, min(TOGETHER, self._windows.depth(part) - first))
            for part in range(self._windows.parts)
            for first in range(0, self._windows.depth(part), TOGETHER)
        ]
        following = (panel + 1).smaller(self._end - 1)
        for index, (part, first, count) in enumerate(pieces):
            is_last = index + 1 == len(pieces)
            coming = following if is_last else panel, 0 if is_last else part * DEPTH + first + count
            self._add_products(panel, (part, first, count), self._place(*coming))
        with code.loop(tiles.total) as tile:
            _, corner, size = self._tile(tile)
            self._results.bring_back(corner, tile, self._sums, (panel, panel + 1), size)

    def _place(self, panel: Number, channel: int) -> Number:
        """Where a panel begins in the weight, from a channel on."""
        return panel * (width() * self._output_apart) + channel * self._channel_apart

    def _add_products(self, panel: Number, piece: tuple[int, int, int], coming: Number) -> None:
        """Those of some channels of a part: the first, and how many. What is ``coming`` of the weight is fetched."""
        code, tiles, (part, first, count) = self.code, self._tiles, piece
        stride, apart = self._windows.stride, apart_in_units(count)
        weight = code.address(self._weight, self._place(panel, part * DEPTH + first), FLOAT32)
        distances = width(), count, self._output_apart, self._channel_apart, apart
        numbers = [code.index(number) for number in (0, count // compiler().lanes(FLOAT32), *distances)]
        code.invoke(self._see_filters, [weight, code.address(self._space, self._filters, FLOAT32)], numbers)
        scheme, turn = tiles.filtering, code.cell(code.index(0))
        for phases in product(scheme.phases, repeat=2):
            replaces = part == first == 0 and all(phase.is_first for phase in phases)
            function = tile_function(self._rows, stride, replaces=replaces)
            with code.loop(phases[0].products) as row, code.loop(phases[1].products) as column:
                places = zip(phases[0].product(row), phases[1].product(column), strict=True)
                sides = scheme.size, scheme.filters, scheme.sums
                point, factor, total = (
                    down * side + across for (down, across), side in zip(places, sides, strict=True)
                )
                right = code.address(self._space, self._filters + factor * (apart * width()), FLOAT32)
                factors = self._windows.at(self._factors, point, part) + first
                sums = self._sums + total * (self._slots * width())
                begin, end = self._order.having(point) if self._order else (code.index(0), code.index(tiles.total))
                with code.loop(end, self._rows, start=begin) as slot:
                    self._fetch(coming, turn.get())
                    turn.set(turn.get() + 1)
                    left = code.address(self._space, factors + slot * stride, FLOAT32)
                    target = code.address(self._space, sums + slot * width(), FLOAT32)
                    code.invoke(function, [left, right, target], [code.index(count)])

    def _fetch(self, start: Number, turn: Number) -> None:
        """A share of as many filters of the weight as are seen together, beside the products of a group."""
        code, (near, far) = self.code, sorted((self._output_apart, self._channel_apart))
        rows, across = (width(), TOGETHER) if near == self._channel_apart else (TOGETHER, width())
        lines = -(-across * near // LINE)
        share = -(-rows * lines // self._turns(self._rows))
        for index in range(share):
            number = turn * share + index
            row = number / lines
            code.prefetch(self._weight, start + row * far + (number - row * lines) * LINE, FLOAT32, cache=2)
