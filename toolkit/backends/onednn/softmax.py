"""Softmax and log-softmax along one axis, and their gradient, on row-major tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from toolkit.backends.onednn.memory import dense
from toolkit.backends.onednn.primitive import (
    DIFF_DST,
    DIFF_SRC,
    DST,
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    MULTIPLY,
    SRC,
    SRC_1,
    SUBTRACT,
    WEIGHTS,
    Binary,
    Primitive,
    PrimitiveKernel,
    attributes,
    chain,
    describe,
    keeping,
    post_operand,
    reads,
    writes,
)
from toolkit.backends.onednn.registry import FLOAT32, is_float32, is_uniform, kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.memory import align
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

ACCURATE, LOGARITHM = 0x30000, 0x30001
BLOCK = 1 << 17  # elements that three sweeps find in the cache


def _axis(node: Node) -> int:
    default = -1 if node.domain or node.version >= 13 else 1
    return int(node.attributes.get("axis", default)) % max(1, len(node.y.shape))


def _is_one_axis(node: Node) -> bool:
    if not (is_float32 if node.domain else is_uniform)(node) or not node.y.shape:
        return False
    return bool(node.domain) or node.version >= 13 or _axis(node) == len(node.y.shape) - 1


@kernel("", "Softmax", "LogSoftmax", accepts=_is_one_axis)
def lower_softmax(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    layout, given = plain(node.y.dtype, node.y.shape), dense(node.y.dtype, node.y.shape)
    algorithm = ACCURATE if node.op_type == "Softmax" else LOGARITHM
    described = describe("softmax_forward", FORWARD_INFERENCE, algorithm, given, given, _axis(node))
    operands = [reads(SRC, 0, given), writes(DST, 0, given)]
    return PrimitiveKernel(described, [layout], [layout], operands, in_place=[(0, 0)])


@kernel(TOOLKIT_DOMAIN, "SoftmaxGradient", accepts=_is_one_axis)
def lower_softmax_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    layout, given = plain(node.y.dtype, node.y.shape), dense(node.y.dtype, node.y.shape)
    algorithm = LOGARITHM if node.attributes.get("log", 0) else ACCURATE
    forward = describe("softmax_forward", FORWARD_TRAINING, algorithm, given, given, _axis(node))
    described = describe("softmax_backward", algorithm, given, given, given, _axis(node), forward)
    if described.is_reference and algorithm == ACCURATE and _axis(node) == len(node.y.shape) - 1:
        return _GradientInParts(layout)
    operands = [reads(DIFF_DST, 0, given), reads(DST, 1, given), writes(DIFF_SRC, 0, given)]
    return PrimitiveKernel(described, [layout, layout], [layout], operands, in_place=[(0, 0)])


class _GradientInParts(Kernel):
    """y (g - sum(g y)) along the last axis, in three sweeps over cache-sized blocks of rows.

    The library's own gradient is compiled for AVX-512 only.
    """

    name = "product, sum, difference"
    in_place = ((0, 0),)

    def __init__(self, layout: Layout) -> None:
        self.inputs, self.outputs = [layout, layout], [layout]
        self._columns = layout.shape[-1]
        self._rows = layout.nbytes // layout.dtype.itemsize // self._columns
        self._block = min(self._rows, max(1, BLOCK // self._columns))
        self._sums = align(4 * self._block)
        self.workspace = self._sums + align(4 * self._block * self._columns)

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        g, y, dx = inputs[0], inputs[1], outputs[0]
        assert g is not None and y is not None and dx is not None and workspace is not None
        ones = np.ones(self._columns, np.float32)
        steps: list[Step] = []
        for first in range(0, self._rows, self._block):
            rows, skipped = min(self._block, self._rows - first), 4 * first * self._columns
            steps += self._sweeps(rows, g.address + skipped, y.address + skipped, dx.address + skipped, workspace, ones)
        return keeping(chain(steps), ones)

    def _sweeps(self, rows: int, g: int, y: int, dx: int, workspace: Buffer, ones: np.ndarray) -> list[Step]:
        table, column = dense(FLOAT32, (rows, self._columns)), dense(FLOAT32, (rows, 1))
        sums, products = workspace.address, workspace.address + self._sums
        vector = dense(FLOAT32, (self._columns, 1))
        multiply, add, subtract = _parts(rows, self._columns)
        return [
            multiply.bind({SRC: (table, g), SRC_1: (table, y), DST: (table, products)}),
            add.bind({SRC: (table, products), WEIGHTS: (vector, ones.ctypes.data), DST: (column, sums)}),
            subtract.bind({SRC: (table, g), SRC_1: (column, sums), post_operand(0): (table, y), DST: (table, dx)}),
        ]


@lru_cache(maxsize=64)
def _parts(rows: int, columns: int) -> tuple[Primitive, Primitive, Primitive]:
    """g y; its sums; (g - sums) y."""
    table, column, vector = dense(FLOAT32, (rows, columns)), dense(FLOAT32, (rows, 1)), dense(FLOAT32, (columns, 1))
    after = attributes([Binary(MULTIPLY, table)])
    return (
        Primitive(describe("binary", MULTIPLY, table, table, table)),
        Primitive(describe("matmul", table, vector, None, column)),
        Primitive(describe("binary", SUBTRACT, table, column, table, attribute=after)),
    )
