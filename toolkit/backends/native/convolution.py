"""Small convolutions in row-major order, along one or two spatial axes, and what is fused behind them.

Ungrouped ones hold a few neighbouring positions of some output channels in registers: each number of the input is
spread over a vector of channels, the weight is packed in panels of channels. Depthwise ones hold a vector of
neighbouring positions of one channel. An input with padding is copied into one with its zeros first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from toolkit.backends.native.code import Code
from toolkit.backends.native.image import FLOAT32, HEAD, Image, Pair, pair
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.library import compiler
from toolkit.backends.native.number import Number, joined
from toolkit.backends.native.products.blocking import evenly
from toolkit.backends.native.products.ending import Activation, is_usual_ending
from toolkit.backends.native.products.packing import Panels
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.native.team import Team
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

ACCUMULATORS = 10  # vectors: with more of them, some of sixteen registers would be fetched from memory
MOST_POSITIONS = 8  # of an ungrouped convolution at once
WORTH_A_THREAD = 1 << 18  # multiplications from which others help
MOST_PRODUCTS = 1 << 22  # multiplications, from which the library's layouts win
MOST_TAPS = 32  # of a kernel along its last axis, which are written out


class Geometry(NamedTuple):
    """A convolution seen along two spatial axes, the first of size 1 where there is one; pairs are (rows, columns)."""

    batch: int
    image: Image
    outputs: int
    taps: Pair
    result: Pair
    strides: Pair
    dilations: Pair
    is_depthwise: bool

    @classmethod
    def of(cls, node: Node) -> Geometry:
        x, w, y = node.x.shape, node.inputs[1], node.y.shape
        assert w is not None
        rank, pads = len(x) - 2, list(node.attributes["pads"])
        image = Image(x[1], pair(x[2:], 1), pair(pads[:rank], 0), pair(pads[rank:], 0))
        strides, dilations = (pair(node.attributes[name], 1) for name in ("strides", "dilations"))
        taps, result = pair(w.shape[2:], 1), pair(y[2:], 1)
        is_depthwise = int(node.attributes["group"]) > 1
        return cls(x[0], image, w.shape[0], taps, result, strides, dilations, is_depthwise)._flattened()

    def _flattened(self) -> Geometry:
        """Without taps and steps the image is one row."""
        if self.is_depthwise or self.image.has_margin or (*self.taps, *self.strides) != (1, 1, 1, 1):
            return self
        size = (1, math.prod(self.result))
        return self._replace(image=Image(self.image.channels, size), result=size, dilations=(1, 1))

    @property
    def products(self) -> int:
        channels = 1 if self.is_depthwise else self.image.channels
        return self.batch * self.outputs * math.prod(self.result) * channels * math.prod(self.taps)


def is_convolution(node: Node) -> bool:
    """Whether the node is a small convolution with a known weight, ungrouped or with one channel a group."""
    x, w = node.inputs[:2]
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    if x is None or w is None or not is_of_numbers(node) or any(item.dtype != FLOAT32 for item in present):
        return False
    if len(x.shape) not in (3, 4) or not is_static(w) or w.shape[-1] > MOST_TAPS:
        return False
    group = int(node.attributes["group"])
    if group > 1 and (group != w.shape[0] or group != x.shape[1]):
        return False
    return is_usual_ending(node, axis=1) and Geometry.of(node).products <= MOST_PRODUCTS


@kernel(TOOLKIT_DOMAIN, "FusedConv", accepts=is_convolution)
def lower_convolution(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(convolution + bias + residual)``."""
    geometry = Geometry.of(node)
    writer = (_Depthwise if geometry.is_depthwise else _Ungrouped)(node, geometry, resources.threads)
    layouts: list[Layout | None] = [None if item is None else plain(item.dtype, item.shape) for item in node.inputs]
    layouts[1] = writer.weight_layout(node)
    return CompiledKernel(writer.code, layouts, [plain(FLOAT32, node.y.shape)], workspace=geometry.image.workspace)


class _Writer:
    """What both kinds have in common: the places, the input with its margin, and what comes behind the sums."""

    def __init__(self, node: Node, geometry: Geometry, threads: int) -> None:
        addends = [item for item in node.inputs[2:] if item is not None]
        self.geometry, self.lanes = geometry, compiler().lanes(FLOAT32)
        image = geometry.image
        self.code = Code(3 + len(addends) + image.has_margin)
        places = iter(self.code.places)
        given, self.weight = next(places), next(places)
        self._addends = [(next(places), item.shape == node.y.shape) for item in addends]
        self._target = next(places)
        self.image = next(places, given)
        self._activation = Activation.of(node)
        counter = self.image if image.has_margin else ""
        self.team = Team(self.code, threads if geometry.products >= WORTH_A_THREAD else 1, counter)
        meet = self.team.barrier() if image.has_margin else None
        with self.code.loop(geometry.batch) as item:
            first = item * image.numbers
            if meet is not None:
                image.copy(self.code, given, first, self.image, 0.0, self.team)
                first = self.code.index(HEAD)
                meet()
            self.write(item, first)
            if meet is not None and geometry.batch > 1:
                meet()

    def write(self, item: Number, first: Number) -> None:
        """The code for one item of the batch, whose image begins at ``first``."""
        raise NotImplementedError

    def weight_layout(self, node: Node) -> Layout:
        """How the weight is to lie."""
        raise NotImplementedError

    def finish(self, total: Number, channel: Number, at: Number, count: int) -> None:
        """What comes behind the sums, for ``count`` neighbouring positions of one channel, in one vector."""
        for place, is_whole in self._addends:
            if is_whole:
                total = total + self.code.load_some(place, at, FLOAT32, count, total.lanes)
            else:
                total = total + self.code.load(place, channel, FLOAT32).spread(total.lanes)
        self.code.store_some(self._activation(total), self._target, at, count)


class _Ungrouped(_Writer):
    """Vectors of output channels, times a few positions of one row."""

    def __init__(self, node: Node, geometry: Geometry, threads: int) -> None:
        self._sized(geometry)
        super().__init__(node, geometry, threads)

    def _sized(self, geometry: Geometry) -> None:
        lanes = compiler().lanes(FLOAT32)
        self._vectors = min(2, -(-geometry.outputs // lanes))
        most = min(MOST_POSITIONS, ACCUMULATORS // self._vectors)
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


class _Depthwise(_Writer):
    """A vector of neighbouring positions of one channel."""

    def weight_layout(self, node: Node) -> Layout:
        weight = node.inputs[1]
        assert weight is not None
        return plain(FLOAT32, weight.shape)

    def write(self, item: Number, first: Number) -> None:
        code, geometry = self.code, self.geometry
        rows, columns = geometry.result
        whole = columns // self.lanes * self.lanes
        begin, end = self.team.share(geometry.image.channels * rows)
        with code.loop(end, start=begin) as unit:
            channel = unit / rows
            row = unit - channel * rows
            with code.loop(whole, self.lanes) as column:
                self._piece(item, first, channel, row, column, self.lanes)
            if whole < columns:
                self._piece(item, first, channel, row, code.index(whole), columns - whole)

    def _piece(self, item: Number, first: Number, channel: Number, row: Number, column: Number, count: int) -> None:
        code, geometry = self.code, self.geometry
        high, wide = geometry.image.room
        taps, stride = geometry.taps, geometry.strides[1]
        total = code.cell(code.constant(0.0, FLOAT32, self.lanes))
        corner = first + (channel * high + row * geometry.strides[0]) * wide + column * stride
        with code.loop(taps[0]) as tap_row:
            image = corner + tap_row * (geometry.dilations[0] * wide)
            weight = (channel * taps[0] + tap_row) * taps[1]
            for tap in range(taps[1]):
                at = image + tap * geometry.dilations[1]
                values = code.load_some(self.image, at, FLOAT32, count, self.lanes, stride)
                factor = code.load(self.weight, weight + tap, FLOAT32).spread(self.lanes)
                total.set(values.times_plus(factor, total.get()))
        rows, columns = geometry.result
        at = ((item * geometry.outputs + channel) * rows + row) * columns + column
        self.finish(total.get(), channel, at, count)
