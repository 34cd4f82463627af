"""Ungrouped convolutions: vectors of neighbouring positions of a row, times a few output channels.

Each number of the weight, which is packed in panels of so many channels, is spread over a vector of positions.
"""

from __future__ import annotations

import math
from itertools import product

from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.convolution.geometry import Geometry
from toolkit.backends.native.convolution.writer import Writer
from toolkit.backends.native.images.windows import FLOAT32, Pair
from toolkit.backends.native.products.packing import Panels
from toolkit.backends.protocol import Layout
from toolkit.compiler.program import Node

MOST_ACROSS = 2  # columns of the image between positions: a vector of others is put together number by number
FEWEST_SUMS = 8  # that keep a processor busy, each waiting for its last product
OF_A_LOAD = 0.1  # of the time of a product, beside which it happens
ROWS_OF_A_THREAD = 4  # from which each copies what it reads of an image with margins, a band of rows after the other
BAND_NBYTES = 1 << 17  # of the copy: a part of the second cache


class ByPositions(Writer):
    """Vectors of positions of one row, times a few output channels."""

    def __init__(self, node: Node, geometry: Geometry, threads: int) -> None:
        self._together, self._vectors = _tile(geometry.outputs, geometry.result[1])
        self._span = self._vectors * compiler().lanes(FLOAT32)
        (rows, columns), (high, wide) = geometry.result, geometry.image.room
        self._pieces, self._panels = -(-columns // self._span), -(-geometry.outputs // self._together)
        self._reach = (geometry.taps[0] - 1) * geometry.dilations[0] + 1  # rows of the image that one row is made of
        self._band, self._high = 0, high
        if geometry.image.has_margin and rows >= ROWS_OF_A_THREAD * threads:
            down, most = geometry.strides[0], BAND_NBYTES // (geometry.image.channels * wide * FLOAT32.itemsize)
            self._band = max(min(-(-rows // threads), (most - self._reach) // down + 1), ROWS_OF_A_THREAD)
            self._high = (self._band - 1) * down + self._reach
            self.own_numbers = geometry.image.channels * self._high * wide
        super().__init__(node, geometry, threads)

    @staticmethod
    def is_served(geometry: Geometry) -> bool:
        """Whether a row of the result fills a vector, of an image that is read in vectors."""
        return geometry.result[1] >= compiler().lanes(FLOAT32) and geometry.strides[1] <= MOST_ACROSS

    def weight_layout(self, node: Node) -> Layout:
        return Panels(self._together, is_turned=True).layout(node.inputs[1])

    def write(self, item: Number, first: Number) -> None:
        code, (rows, _) = self.code, self.geometry.result
        units = self._pieces * self._panels  # of a row
        if self._band:
            begin, end = self.team.share(rows)
            with code.loop(end, self._band, start=begin) as top:
                count = (end - top).smaller(self._band)
                self._copy_band(first, top, count)
                self._units(item, self.own, top, (code.index(0), count * units))
        else:
            self._units(item, first, code.index(0), self.team.share(rows * units))

    def _copy_band(self, first: Number, top: Number, count: Number) -> None:
        """Copy what ``count`` rows of the result from ``top`` on are made of, between zeros."""
        code, image, (down, _) = self.code, self.geometry.image, self.geometry.strides
        (rows, columns), (_, wide), (above, left) = image.size, image.room, image.begins
        whole = wide // self.lanes * self.lanes
        zero = code.constant(0.0, FLOAT32, self.lanes)
        with code.loop(image.channels) as channel, code.loop((count - 1) * down + self._reach) as inside:
            source, target = top * down + inside - above, self.own + (channel * self._high + inside) * wide
            with code.loop(whole, self.lanes) as at:
                code.store(zero, self.image, target + at)
            with code.loop(wide, start=whole) as at:
                code.store(zero.lane(0), self.image, target + at)
            with code.where((source >= 0) & (source < rows)):
                here = code.address(self.given, first + (channel * rows + source) * columns, FLOAT32)
                there = code.address(self.image, target + left, FLOAT32)
                code.copy(here, there, columns * FLOAT32.itemsize)

    def _units(self, item: Number, first: Number, top: Number, share: tuple[Number, Number]) -> None:
        """Panels of channels for pieces of rows, of those from ``top`` on, for which the image begins at ``first``."""
        code, geometry, lanes, panels = self.code, self.geometry, self.lanes, self._panels
        rows, columns = geometry.result
        sums = code.scratch(FLOAT32, self._together * self._span)
        begin, end = share
        with code.loop(end, start=begin) as unit:
            place = unit / panels
            channel, row = (unit - place * panels) * self._together, place / self._pieces
            column = ((place - row * self._pieces) * self._span).smaller(columns - self._span)
            self._tile(first, channel, row, column, sums)
            start = ((item * geometry.outputs + channel) * rows + (top + row)) * columns + column
            with code.loop((code.index(geometry.outputs) - channel).smaller(self._together)) as output:
                for vector in range(self._vectors):
                    total = code.load(sums, output * self._span + vector * lanes, FLOAT32, lanes)
                    at = start + output * (rows * columns) + vector * lanes
                    self.finish(total, channel + output, at, lanes)

    def _tile(self, first: Number, channel: Number, row: Number, column: Number, sums: str) -> None:
        """The sums of neighbouring positions and the channels of a panel, left in ``sums``."""
        code, geometry, lanes = self.code, self.geometry, self.lanes
        wide, taps, (down, across) = geometry.image.room[1], geometry.taps, geometry.strides
        zero = code.constant(0.0, FLOAT32, lanes)
        places = list(product(range(self._together), range(self._vectors)))
        cells = {place: code.cell(zero) for place in places}
        corner = first + row * (down * wide) + column * across
        panel = channel * (geometry.image.channels * math.prod(taps))
        with code.loop(geometry.image.channels) as depth, code.loop(taps[0]) as tap_row:
            image = corner + depth * (self._high * wide) + tap_row * (geometry.dilations[0] * wide)
            weight = panel + (depth * taps[0] + tap_row) * (taps[1] * self._together)
            for tap in range(taps[1]):
                starts = [tap * geometry.dilations[1] + vector * (lanes * across) for vector in range(self._vectors)]
                seen = [code.load_some(self.image, image + at, FLOAT32, lanes, lanes, across) for at in starts]
                for output in range(self._together):
                    factor = code.load(self.weight, weight + (tap * self._together + output), FLOAT32).spread(lanes)
                    for vector, values in enumerate(seen):
                        cell = cells[output, vector]
                        cell.set(values.times_plus(factor, cell.get()))
        for output, vector in places:
            code.store(cells[output, vector].get(), sums, output * self._span + vector * lanes)


def _tile(outputs: int, columns: int) -> Pair:
    """Output channels and vectors of positions that take least time.

    Their sums are in registers together, beside the vectors of positions and a number of the weight.
    """
    lanes, registers = compiler().lanes(FLOAT32), compiler().registers

    def cost(tile: Pair) -> float:
        together, vectors = tile
        times = -(-outputs // together) * -(-columns // (vectors * lanes))
        return times * (max(together * vectors, FEWEST_SUMS) + OF_A_LOAD * (together + vectors))

    sizes = product(range(1, registers), range(1, min(registers, columns // lanes) + 1))
    return min(((together, vectors) for together, vectors in sizes if (together + 1) * vectors < registers), key=cost)
