"""Depthwise convolutions: vectors of neighbouring positions of one channel, in a few rows."""

from __future__ import annotations

import math
from itertools import product

from toolkit.backends.native.convolution.geometry import Geometry
from toolkit.backends.native.convolution.writer import Writer
from toolkit.backends.native.image import FLOAT32, Pair
from toolkit.backends.native.library import compiler
from toolkit.backends.native.number import Number
from toolkit.backends.protocol import Layout, plain
from toolkit.compiler.program import Node

ACCUMULATORS = 8  # vectors: each is waited for, and more of them would be left over in small images
FEWEST_SUMS = 4  # that keep a processor busy beside what is loaded


class Depthwise(Writer):
    """A tile of positions of one channel, for which each number of the weight is loaded once."""

    def __init__(self, node: Node, geometry: Geometry, threads: int) -> None:
        lanes = compiler().lanes(FLOAT32)
        self._rows, self._vectors = _tile(geometry.result, lanes)
        self._count = min(lanes, geometry.result[1])  # positions in a vector
        super().__init__(node, geometry, threads)

    def weight_layout(self, node: Node) -> Layout:
        weight = node.inputs[1]
        assert weight is not None
        return plain(FLOAT32, weight.shape)

    def write(self, item: Number, first: Number) -> None:
        code, geometry = self.code, self.geometry
        rows, columns = geometry.result
        groups, span = -(-rows // self._rows), self._vectors * self._count
        sums = code.scratch(FLOAT32, self._rows * self._vectors * self.lanes)
        begin, end = self.team.share(geometry.image.channels * groups)
        with code.loop(end, start=begin) as unit:
            channel = unit / groups
            row = ((unit - channel * groups) * self._rows).smaller(rows - self._rows)
            with code.loop(columns, span) as place:
                column = place.smaller(columns - span)
                self._tile(first, channel, row, column, sums)
                start = ((item * geometry.outputs + channel) * rows + row) * columns + column
                with code.loop(self._rows) as inside:
                    for vector in range(self._vectors):
                        place = (inside * self._vectors + vector) * self.lanes
                        total = code.load(sums, place, FLOAT32, self.lanes)
                        self.finish(total, channel, start + inside * columns + vector * self._count, self._count)

    def _tile(self, first: Number, channel: Number, row: Number, column: Number, sums: str) -> None:
        """The sums of a tile, left in ``sums``."""
        code, geometry, lanes = self.code, self.geometry, self.lanes
        (high, wide), taps, (down, across) = geometry.image.room, geometry.taps, geometry.strides
        zero = code.constant(0.0, FLOAT32, lanes)
        places = list(product(range(self._rows), range(self._vectors)))
        cells = {place: code.cell(zero) for place in places}
        corner = first + (channel * high + row * down) * wide + column * across
        with code.loop(taps[0]) as tap_row:
            image = corner + tap_row * (geometry.dilations[0] * wide)
            weight = (channel * taps[0] + tap_row) * taps[1]
            for tap in range(taps[1]):
                factor = code.load(self.weight, weight + tap, FLOAT32).spread(lanes)
                for inside, vector in places:
                    at = inside * (down * wide) + vector * (self._count * across) + tap * geometry.dilations[1]
                    values = code.load_some(self.image, image + at, FLOAT32, self._count, lanes, across)
                    cell = cells[inside, vector]
                    cell.set(values.times_plus(factor, cell.get()))
        for index, place in enumerate(places):
            code.store(cells[place].get(), sums, index * lanes)


def _tile(result: Pair, lanes: int) -> Pair:
    """Rows and vectors of a tile, so that all tiles take least time."""
    rows, columns = result

    def cost(tile: Pair) -> int:
        high, vectors = tile
        times = -(-rows // high) * -(-columns // (vectors * min(lanes, columns)))
        return times * (max(math.prod(tile), FEWEST_SUMS) + 1)

    sizes = product(range(1, min(rows, ACCUMULATORS) + 1), range(1, max(1, min(columns // lanes, ACCUMULATORS)) + 1))
    return min((tile for tile in sizes if math.prod(tile) <= ACCUMULATORS), key=cost)
