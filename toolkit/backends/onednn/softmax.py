"""Softmax and log-softmax along one axis, and their gradient, on row-major tensors."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.onednn.memory import dense
from toolkit.backends.onednn.primitive import (
    DIFF_DST,
    DIFF_SRC,
    DST,
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    SRC,
    PrimitiveKernel,
    describe,
    reads,
    writes,
)
from toolkit.backends.onednn.registry import is_float32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

ACCURATE, LOGARITHM = 0x30000, 0x30001


def _axis(node: Node) -> int:
    default = -1 if node.domain or node.version >= 13 else 1
    return int(node.attributes.get("axis", default)) % max(1, len(node.y.shape))


def _is_one_axis(node: Node) -> bool:
    if not is_float32(node) or not node.y.shape:
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
    operands = [reads(DIFF_DST, 0, given), reads(DST, 1, given), writes(DIFF_SRC, 0, given)]
    return PrimitiveKernel(described, [layout, layout], [layout], operands, in_place=[(0, 0)])
