"""Quantised arithmetic on integers that are held as float32: exact sums, brought onto their grid in the same pass.

Float kernels serve every machine alike. oneDNN's kernels of bytes saturate their 16-bit partial sums on processors
without dot products of bytes, which would change results; ``quantized_bytes`` has them for the other processors.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.onednn.activation import CLIP, ROUND
from toolkit.backends.onednn.convolution import convolves, optional, plain_operand
from toolkit.backends.onednn.convolution_terms import Terms
from toolkit.backends.onednn.memory import Descriptor, dense, descriptor_of, layout_of
from toolkit.backends.onednn.primitive import (
    BIAS,
    DIVIDE,
    DST,
    MULTIPLY,
    SRC,
    SRC_1,
    WEIGHTS,
    Binary,
    Eltwise,
    PostOp,
    PrimitiveDescriptor,
    PrimitiveKernel,
    attributes,
    describe,
    post_operand,
    reads,
    try_describe,
    writes,
)
from toolkit.backends.onednn.registry import FLOAT32, is_float32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN


def _rounding(node: Node) -> list[PostOp]:
    """The limits are whole numbers, so it is the same to round behind them."""
    return [Eltwise(CLIP, node.attributes["low"], node.attributes["high"]), Eltwise(ROUND)]


def _describe(node: Node, at: Descriptor, small: Descriptor, *, required: bool) -> PrimitiveDescriptor | None:
    algorithm = MULTIPLY if node.attributes.get("is_multiplied", 0) else DIVIDE
    way = describe if required else try_describe
    return way("binary", algorithm, at, small, at, attribute=attributes(_rounding(node)))


@kernel(TOOLKIT_DOMAIN, "OnGrid", accepts=lambda node: is_float32(node) and len(node.x.shape) > 0)
def on_grid(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """In the layout in which the tensor lies: one scale treats all memory alike, others where oneDNN has loops."""
    scale, layout = node.inputs[1], inputs[0]
    assert scale is not None and layout is not None
    small = dense(FLOAT32, (1,) * (len(node.x.shape) - len(scale.shape)) + scale.shape)
    described = None
    if scale.size == 1:
        at, small = dense(FLOAT32, (layout.nbytes // FLOAT32.itemsize,)), dense(FLOAT32, (1,))
        described = _describe(node, at, small, required=True)
    elif not layout.is_plain and descriptor_of(layout).shape == node.x.shape:
        at = descriptor_of(layout)
        described = _describe(node, at, small, required=False)
    if described is None or described.is_reference:
        layout = plain(FLOAT32, node.x.shape)
        at = descriptor_of(layout)
        described = _describe(node, at, small, required=True)
    assert described is not None
    operands = [reads(SRC, 0, at), reads(SRC_1, 1, small), writes(DST, 0, at)]
    return PrimitiveKernel(described, [layout, plain(FLOAT32, scale.shape)], [layout], operands, in_place=((0, 0),))


@kernel(TOOLKIT_DOMAIN, "GridConv", accepts=lambda node: is_float32(node) and convolves(node))
def grid_convolution(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Sums, multiplier, limits, rounding and scale in one primitive; oneDNN chooses the layouts."""
    weight, bias, multiplier, scale = (optional(node, at) for at in (1, 2, 3, 4))
    assert weight is not None and multiplier is not None
    terms = Terms.of(node.x.shape, weight.shape, node.y.shape, node.attributes)
    by_channel = dense(FLOAT32, (1, multiplier.shape[0], *(1,) * len(terms.axes)))
    one = dense(FLOAT32, (1,) * len(node.y.shape))
    after = [Binary(MULTIPLY, by_channel), *_rounding(node)]
    if scale is not None:
        after.append(Binary(MULTIPLY, one))
    described = terms.forward(None if bias is None else FLOAT32, False, after)
    source, weights, target = (described.argument(number) for number in (SRC, WEIGHTS, DST))
    operands = [reads(SRC, 0, source), reads(WEIGHTS, 1, weights), writes(DST, 0, target)]
    operands.append(reads(post_operand(0), 3, by_channel))
    if scale is not None:
        operands.append(reads(post_operand(len(after) - 1), 4, one))
    layouts: list[Layout | None] = [terms.layout(source, node.x.shape), layout_of(weights, weight.shape)]
    layouts += [plain_operand(operands, BIAS, 2, bias), plain(FLOAT32, multiplier.shape)]
    layouts += [] if scale is None else [plain(FLOAT32, scale.shape)]
    return PrimitiveKernel(described, layouts, [terms.layout(target, node.y.shape)], operands)
