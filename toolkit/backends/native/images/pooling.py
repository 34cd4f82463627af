"""Small poolings in row-major order, along one or two spatial axes: a vector of neighbouring windows at a time.

Averages are sums times a table, which has for each window one over what it is divided by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.images.windows import FLOAT32, HEAD, Image, pair
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.standard.pooling import Box

MOST_READS = 1 << 24  # numbers of windows; the library's own loops for what lies in rows take twenty times as long
MOST_TAPS = 32  # of a window along its last axis, which are written out


def is_pooling(node: Node) -> bool:
    """Whether the node is a small pooling of float32, without indices."""
    x = node.inputs[0]
    if x is None or x.dtype != FLOAT32 or len(x.shape) not in (3, 4) or not is_of_numbers(node):
        return False
    if any(item is not None for item in node.outputs[1:]):
        return False
    box = Box(node.attributes, x.shape)
    return box.kernel[-1] <= MOST_TAPS and node.y.size * math.prod(box.kernel) <= MOST_READS


@kernel("", "MaxPool", "AveragePool", accepts=is_pooling)
def lower_pooling(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Maxima or averages of windows."""
    box, is_maximum = Box(node.attributes, node.x.shape), node.op_type == "MaxPool"
    writer = _Windows(box, node.x.shape, is_maximum)
    tables = []
    if not is_maximum:
        counts = box.counts(int(node.attributes.get("count_include_pad", 0)))
        tables = [np.ascontiguousarray(np.broadcast_to(1 / counts, node.y.shape[2:]), np.float32)]
    return CompiledKernel(
        writer.code,
        [plain(FLOAT32, node.x.shape)],
        [plain(FLOAT32, node.y.shape), *[None] * (len(node.outputs) - 1)],
        workspace=writer.image.workspace,
        tables=tables,
    )


class _Windows:
    """Writes the code of a pooling of a tensor of ``shape``."""

    def __init__(self, box: Box, shape: Sequence[int], is_maximum: bool) -> None:
        rank = len(box.kernel)
        self.image = Image(shape[1], pair(shape[2:], 1), pair(box.room[:rank], 0), pair(box.room[rank:], 0))
        self._taps, self._strides = pair(box.kernel, 1), pair(box.strides, 1)
        self._dilations, self._result = pair(box.dilations, 1), pair(box.output, 1)
        self._is_maximum, self._lanes = is_maximum, compiler().lanes(FLOAT32)
        self.code = code = Code(2 + self.image.has_margin + (not is_maximum))
        source, self._target, *others = code.places
        self._source = others[0] if self.image.has_margin else source
        self._table = others[-1] if others else ""
        with code.loop(shape[0]) as item:
            first = item * self.image.numbers
            if self.image.has_margin:
                self.image.copy(code, source, first, self._source, -math.inf if is_maximum else 0.0, Team(code, 1))
                first = code.index(HEAD)
            self._planes(item * self.image.channels, first)

    def _planes(self, plane: Number, first: Number) -> None:
        rows, columns = self._result
        whole = columns // self._lanes * self._lanes
        with self.code.loop(self.image.channels) as channel, self.code.loop(rows) as row:
            target = ((plane + channel) * rows + row) * columns
            with self.code.loop(whole, self._lanes) as column:
                self._piece(channel, row, column, first, target, self._lanes)
            if whole < columns:
                self._piece(channel, row, self.code.index(whole), first, target, columns - whole)

    def _piece(self, channel: Number, row: Number, column: Number, first: Number, target: Number, count: int) -> None:
        """``count`` neighbouring windows in one vector."""
        code, (high, wide), stride = self.code, self.image.room, self._strides[1]
        found = code.cell(code.constant(-math.inf if self._is_maximum else 0.0, FLOAT32, self._lanes))
        corner = first + (channel * high + row * self._strides[0]) * wide + column * stride
        with code.loop(self._taps[0]) as tap_row:
            start = corner + tap_row * (self._dilations[0] * wide)
            for tap in range(self._taps[1]):
                at = start + tap * self._dilations[1]
                values = code.load_some(self._source, at, FLOAT32, count, self._lanes, stride)
                found.set(found.get().larger(values) if self._is_maximum else found.get() + values)
        result = found.get()
        if not self._is_maximum:
            place = row * self._result[1] + column
            result = result * code.load_some(self._table, place, FLOAT32, count, self._lanes)
        code.store_some(result, self._target, target + column, count)
