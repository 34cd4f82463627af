"""Depthwise convolutions: vectors of neighbouring positions of one channel, in a few rows."""

from __future__ import annotations

import math
from itertools import product

from toolkit.backends.native.assembly.code import Cell
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.convolution.geometry import Geometry
from toolkit.backends.native.convolution.writer import Writer
from toolkit.backends.native.images.windows import FLOAT32, HEAD, Pair
from toolkit.backends.protocol import Layout, plain
from toolkit.compiler.program import Node

ACCUMULATORS = 8  # vectors: each is waited for, and more of them would be left over in small images
FEWEST_SUMS = 4  # that keep a processor busy beside what is loaded
MOST_WRITTEN_OUT = 32  # taps; of more, those of one column are


class Depthwise(Writer):
    """A tile of positions of one channel, for which each number of the weight is loaded once."""

    def __init__(self, node: Node, geometry: Geometry, threads: int) -> None:
        lanes = compiler().lanes(FLOAT32)
        self._rows, self._vectors = _tile(geometry.result, lanes)
        self._count = min(lanes, geometry.result[1])  # positions in a vector
        if geometry.image.has_margin:
            self.own_numbers = -(-math.prod(geometry.image.room) // HEAD) * HEAD
        super().__init__(node, geometry, threads)

    def weight_layout(self, node: Node) -> Layout:
        weight = node.inputs[1]
        assert weight is not None
        return plain(FLOAT32, weight.shape)

    def write(self, item: Number, first: Number) -> None:
        code, (rows, columns), image = self.code, self.geometry.result, self.geometry.image
        groups, span = -(-rows // self._rows), self._vectors * self._count
        sums = code.scratch(FLOAT32, self._rows * self._vectors * self.lanes)
        begin, end = self.team.share(image.channels * groups)
        with code.loop(end, start=begin) as unit:
            channel = unit / groups
            group = unit - channel * groups
            row = (group * self._rows).smaller(rows - self._rows)
            plane = first + channel * math.prod(image.size)
            if image.has_margin:
                with code.where(group.equals(0) | unit.equals(begin)):
                    image.copy_plane(code, self.given, plane, self.image, self.own, 0.0)
                plane = self.own
            with code.loop(columns, span) as place:
                column = place.smaller(columns - span)
                self._tile(plane, channel, row, column, sums)
                start = ((item * self.geometry.outputs + channel) * rows + row) * columns + column
                with code.loop(self._rows) as inside:
                    for vector in range(self._vectors):
                        at = (inside * self._vectors + vector) * self.lanes
                        total = code.load(sums, at, FLOAT32, self.lanes)
                        self.finish(total, channel, start + inside * columns + vector * self._count, self._count)

    def _tile(self, plane: Number, channel: Number, row: Number, column: Number, sums: str) -> None:
        """The sums of a tile, left in ``sums``."""
        code, taps = self.code, self.geometry.taps
        zero = code.constant(0.0, FLOAT32, self.lanes)
        places = list(product(range(self._rows), range(self._vectors)))
        cells = {place: code.cell(zero) for place in places}
        down, across = self.geometry.strides
        corner = plane + row * (down * self.geometry.image.room[1]) + column * across
        weight = channel * math.prod(taps)
        if math.prod(taps) <= MOST_WRITTEN_OUT:
            for tap in range(taps[1]):
                self._add(cells, corner, weight, code.index(tap))
        else:
            with code.loop(taps[1]) as column_tap:
                self._add(cells, corner, weight, column_tap)
        for index, place in enumerate(places):
            code.store(cells[place].get(), sums, index * self.lanes)

    def _add(self, cells: dict[Pair, Cell], corner: Number, weight: Number, tap: Number) -> None:
        """Add the products of one column of taps: rows of the image that several rows of the tile see are read once."""
        code, geometry, taps = self.code, self.geometry, self.geometry.taps
        (down, across), (apart, dilation) = geometry.strides, geometry.dilations
        places = [weight + row * taps[1] + tap for row in range(taps[0])]
        factors = [code.load(self.weight, place, FLOAT32).spread(self.lanes) for place in places]
        uses: dict[int, list[Pair]] = {}
        for inside, row in product(range(self._rows), range(taps[0])):
            uses.setdefault(inside * down + row * apart, []).append((inside, row))
        for seen, vector in product(sorted(uses), range(self._vectors)):
            at = corner + tap * dilation + (seen * geometry.image.room[1] + vector * (self._count * across))
            values = code.load_some(self.image, at, FLOAT32, self._count, self.lanes, across)
            for inside, row in uses[seen]:
                cell = cells[inside, vector]
                cell.set(values.times_plus(factors[row], cell.get()))


def _tile(result: Pair, lanes: int) -> Pair:
    """Rows and vectors of a tile, so that all tiles take least time."""
    rows, columns = result

    def cost(tile: Pair) -> int:
        high, vectors = tile
        times = -(-rows // high) * -(-columns // (vectors * min(lanes, columns)))
        return times * (max(math.prod(tile), FEWEST_SUMS) + 1)

    sizes = product(range(1, min(rows, ACCUMULATORS) + 1), range(1, max(1, min(columns // lanes, ACCUMULATORS)) + 1))
    return min((tile for tile in sizes if math.prod(tile) <= ACCUMULATORS), key=cost)
