"""Ungrouped convolutions of few positions: vectors of output channels.

Each number of the input is spread over a vector of channels, the weight is packed in panels of channels.
"""

from __future__ import annotations

import math
from itertools import product

from toolkit.backends.native.assembly.number import Number, joined
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.convolution.geometry import Geometry
from toolkit.backends.native.convolution.writer import Writer
from toolkit.backends.native.images.windows import FLOAT32
from toolkit.backends.native.products.blocking import evenly
from toolkit.backends.native.products.packing import Panels
from toolkit.backends.protocol import Layout
from toolkit.compiler.program import Node

OF_REGISTERS = 5, 8  # the share that holds sums: with more of them, some would be fetched from memory
MOST_POSITIONS = 8  # at once


class ByOutputs(Writer):
    """Vectors of output channels, times a few positions of one row."""

    def __init__(self, node: Node, geometry: Geometry, threads: int) -> None:
        self._sized(geometry)
        super().__init__(node, geometry, threads)

    def _sized(self, geometry: Geometry) -> None:
        lanes = compiler().lanes(FLOAT32)
        self._vectors = min(2, -(-geometry.outputs // lanes))
        share, whole = OF_REGISTERS
        most = min(MOST_POSITIONS, compiler().registers * share // (whole * self._vectors))
        columns = geometry.result[1]
        self._together = evenly(columns, most)
        self._width = self._vectors * lanes

    def weight_layout(self, node: Node) -> Layout:
        return Panels(self._width, is_turned=True).layout(node.inputs[1])

    def write(self, item: Number, first: Number) -> None:
        code, geometry = self.code, self.geometry
        rows, columns = geometry.result
        sums = code.scratch(FLOAT32, self._together * self._width)
        last = columns - self._together
        begin, end = self.team.share(-(-geometry.outputs // self._width) * rows)
        with code.loop(end, start=begin) as unit, code.loop(columns, self._together) as column:
            panel = unit / rows
            channel, row = panel * self._width, unit - panel * rows
            self._tile(first, channel, row, column.smaller(last) if columns % self._together else column, sums)
            start = ((item * geometry.outputs + channel) * rows + row) * columns + column.smaller(last)
            with code.loop((code.index(geometry.outputs) - channel).smaller(self._width)) as output:
                found = [code.load(sums, output + index * self._width, FLOAT32) for index in range(self._together)]
                at = start + output * (rows * columns)
                self.finish(joined(found), channel + output, at, self._together)

    def _tile(self, first: Number, channel: Number, row: Number, column: Number, sums: str) -> None:
        """The sums of some positions and the channels of a panel, left in ``sums``."""
        code, geometry = self.code, self.geometry
        high, wide = geometry.image.room
        taps = geometry.taps
        zero = code.constant(0.0, FLOAT32, self.lanes)
        places = list(product(range(self._together), range(self._vectors)))
        cells = {place: code.cell(zero) for place in places}
        corner = first + row * (geometry.strides[0] * wide) + column * geometry.strides[1]
        panel = channel * (geometry.image.channels * math.prod(taps))
        with code.loop(geometry.image.channels) as depth, code.loop(taps[0]) as tap_row:
            image = corner + depth * (high * wide) + tap_row * (geometry.dilations[0] * wide)
            weight = panel + (depth * taps[0] + tap_row) * (taps[1] * self._width)
            for tap in range(taps[1]):
                vectors = [
                    code.load(self.weight, weight + (tap * self._width + vector * self.lanes), FLOAT32, self.lanes)
                    for vector in range(self._vectors)
                ]
                for index in range(self._together):
                    at = image + (tap * geometry.dilations[1] + index * geometry.strides[1])
                    factor = code.load(self.image, at, FLOAT32).spread(self.lanes)
                    for vector in range(self._vectors):
                        cell = cells[index, vector]
                        cell.set(factor.times_plus(vectors[vector], cell.get()))
        for index, vector in places:
            code.store(cells[index, vector].get(), sums, index * self._width + vector * self.lanes)
