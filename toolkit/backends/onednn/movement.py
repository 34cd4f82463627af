"""Transposition: a reorder from the input seen with its axes permuted."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.onednn.library import load
from toolkit.backends.onednn.memory import dense, row_major_strides, strided
from toolkit.backends.onednn.primitive import DST, SRC, PrimitiveKernel, describe, reads, writes
from toolkit.backends.onednn.registry import is_uniform, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node

SMALLEST = 1 << 12  # elements; below, numpy's copy is as fast as a primitive


@kernel("", "Transpose", accepts=lambda node: is_uniform(node) and node.y.size >= SMALLEST)
def lower_transpose(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    permutation = node.attributes.get("perm") or list(range(len(node.x.shape)))[::-1]
    steps = row_major_strides(node.x.shape)
    given = strided(node.x.dtype, node.y.shape, [steps[axis] for axis in permutation])
    result = dense(node.y.dtype, node.y.shape)
    engine = load().engine
    described = describe("reorder", given, engine, result, engine)
    layouts = [plain(node.x.dtype, node.x.shape)], [plain(node.y.dtype, node.y.shape)]
    return PrimitiveKernel(described, *layouts, [reads(SRC, 0, given), writes(DST, 0, result)])
