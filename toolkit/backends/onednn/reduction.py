"""Sums over leading axes: a product with a row of ones, which oneDNN does with all cores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.onednn.memory import dense
from toolkit.backends.onednn.primitive import DST, SRC, WEIGHTS, PrimitiveKernel, describe, reads, writes
from toolkit.backends.onednn.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node

SMALLEST = 1 << 12  # elements; below, numpy's sum is as fast


def _accepts(node: Node) -> bool:
    axes = node.inputs[1].constant if len(node.inputs) > 1 and node.inputs[1] is not None else None
    if axes is None or node.x.dtype != np.float32 or node.x.size < SMALLEST or node.y.size < 2:
        return False
    rank = len(node.x.shape)
    return sorted(int(axis) % rank for axis in axes.reshape(-1)) == list(range(axes.size)) and axes.size < rank


@kernel("", "ReduceSum", accepts=_accepts)
def lower_leading_sum(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    columns = node.y.size
    rows = node.x.size // columns
    ones, table, result = (dense(node.x.dtype, shape) for shape in ((1, rows), (rows, columns), (1, columns)))
    described = describe("matmul", ones, table, None, result)
    operands = [reads(WEIGHTS, 0, table), writes(DST, 0, result)]
    layouts: list[Layout | None] = [plain(node.x.dtype, node.x.shape), None]
    fixed = {SRC: (ones, np.ones((1, rows), np.float32))}
    return PrimitiveKernel(described, layouts, [plain(node.y.dtype, node.y.shape)], operands, fixed=fixed)
