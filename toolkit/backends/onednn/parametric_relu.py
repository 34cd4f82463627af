"""PRelu: a slope for negative numbers that is a tensor. oneDNN's primitive, in whatever layout the tensor lies.

Cases: one slope, which fits any layout, and one for each channel. Refused: slopes of other shapes, for which oneDNN has
plain loops only.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.onednn.memory import Descriptor, dense, descriptor_of
from toolkit.backends.onednn.primitive import (
    DST,
    FORWARD_INFERENCE,
    SRC,
    WEIGHTS,
    PrimitiveDescriptor,
    PrimitiveKernel,
    describe,
    reads,
    try_describe,
    writes,
)
from toolkit.backends.onednn.registry import FLOAT32, is_float32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node, Variable


def _slope(node: Node) -> Variable:
    slope = node.inputs[1]
    assert slope is not None
    return slope


def _accepts(node: Node) -> bool:
    if not is_float32(node) or "axis" in node.attributes or node.version < 7:
        return False
    slope = _slope(node)
    return slope.size == 1 or (len(node.x.shape) > 1 and _aligned(node) == _per_channel(node))


def _aligned(node: Node) -> tuple[int, ...]:
    slope = _slope(node)
    return (1,) * (len(node.x.shape) - len(slope.shape)) + slope.shape


def _per_channel(node: Node) -> tuple[int, ...]:
    shape = node.x.shape
    return (1, shape[1], *(1,) * (len(shape) - 2))


@kernel("", "PRelu", accepts=_accepts)
def parametric_relu(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The input's layout where oneDNN has compiled loops for it, else row-major order; in place where it may be."""
    layout, slope = inputs[0], _slope(node)
    assert layout is not None
    rows = plain(node.x.dtype, node.x.shape)
    if slope.size == 1:
        layout = layout if layout.nbytes == rows.nbytes else rows
        at, given = dense(FLOAT32, (1, 1, node.x.size)), dense(FLOAT32, (1, 1, 1))
        return _kernel(describe("prelu_forward", FORWARD_INFERENCE, at, given, at), at, given, layout, slope)
    given = dense(FLOAT32, _per_channel(node))
    at = descriptor_of(layout)
    described = try_describe("prelu_forward", FORWARD_INFERENCE, at, given, at)
    if described is None or described.is_reference:
        layout, at = rows, descriptor_of(rows)
        described = describe("prelu_forward", FORWARD_INFERENCE, at, given, at)
    return _kernel(described, at, given, layout, slope)


def _kernel(
    described: PrimitiveDescriptor, at: Descriptor, given: Descriptor, layout: Layout, slope: Variable
) -> PrimitiveKernel:
    operands = [reads(SRC, 0, at), reads(WEIGHTS, 1, given), writes(DST, 0, at)]
    return PrimitiveKernel(described, [layout, plain(slope.dtype, slope.shape)], [layout], operands, in_place=((0, 0),))
