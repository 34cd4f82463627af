"""Products of bytes on processors with dot products of bytes, and what brings tensors on and off grids of bytes.

Sums are exact there. What follows them (multiplier, bias, limits, another grid, a residual) is done while they are in
registers. Refused: what oneDNN has plain loops alone for, and products on other processors, where sums would saturate.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from toolkit.backends.onednn.activation import CLIP, ROUND
from toolkit.backends.onednn.convolution import optional
from toolkit.backends.onednn.convolution_terms import Terms
from toolkit.backends.onednn.library import load
from toolkit.backends.onednn.memory import (
    ACTIVATION_TAGS,
    MAX_RANK,
    Descriptor,
    any_format,
    dense,
    layout_of,
    retyped,
)
from toolkit.backends.onednn.primitive import (
    ADD,
    BIAS,
    DIVIDE,
    DST,
    LINEAR,
    MULTIPLY,
    SCALES,
    SRC,
    SRC_1,
    SUBTRACT,
    WEIGHTS,
    ZERO_POINTS,
    Binary,
    Eltwise,
    Operand,
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
from toolkit.backends.onednn.registry import FLOAT32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node, Variable
from toolkit.errors import BackendError
from toolkit.operators.expression import TOOLKIT_DOMAIN

INT8, UINT8, INT32 = (np.dtype(name) for name in ("int8", "uint8", "int32"))
LARGEST = 255
Fixed = dict[int, tuple[Descriptor, Any]]


class _Ending:
    """What follows the sums of a node, as post-ops, and the operands of those that read something.

    ``multiplier`` and ``residual`` are how these lie.
    """

    def __init__(self, node: Node, multiplier: Descriptor, residual: Descriptor | None) -> None:
        given = node.attributes
        self.post_ops: list[PostOp] = [Binary(MULTIPLY, multiplier)]
        self.residual_at: int | None = None
        self.fixed: Fixed = {}
        self._one = dense(FLOAT32, (1,) * multiplier.rank)
        if given.get("low") is not None:
            self.post_ops += [Eltwise(CLIP, given["low"], given["high"]), Eltwise(ROUND)]
        scale, step = given.get("scale", 1.0), given.get("step", 1.0)
        if residual is not None:
            by = given["residual_scale"]
            self.residual_at = len(self.post_ops) + 1
            self.post_ops += [Eltwise(LINEAR, scale / by, -given["residual_zero"]), Binary(ADD, residual)]
            self.post_ops.append(Eltwise(LINEAR, by / step))
        else:
            self.post_ops += [] if scale == 1.0 else [Eltwise(LINEAR, scale)]
            self._divide(step)
        if given.get("least") is not None:
            self.post_ops += _counted(given["least"], given["most"])

    def _divide(self, step: float) -> None:
        """By a number: times its reciprocal would round otherwise, which ties tell apart."""
        if step != 1.0:
            self.fixed[post_operand(len(self.post_ops))] = self._one, np.full(1, step, FLOAT32)
            self.post_ops.append(Binary(DIVIDE, self._one))


def _counted(least: float, most: float) -> list[PostOp]:
    """Whole numbers within limits, as bytes counted from the lower one; the type rounds and has limits of its own."""
    limits: list[PostOp] = [] if most - least >= LARGEST else [Eltwise(CLIP, least, most)]
    return limits if not least else [*limits, Eltwise(ROUND), Eltwise(LINEAR, 1.0, -least)]


def _settings(node: Node, ending: _Ending) -> Any:
    return attributes(ending.post_ops, None, [SRC] if node.attributes.get("zero", 0) else [])


def _multiplies(node: Node) -> bool:
    """Whether types and sizes are those of a product of bytes, and the processor has such products."""
    weight, residual = node.inputs[1], optional(node, 4)
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    if weight is None or any(item.size == 0 for item in present) or (node.x.dtype, weight.dtype) != (UINT8, INT8):
        return False
    if residual is not None and not node.attributes.get("residual_scale", 0.0):
        return False
    return load().multiplies_bytes


# convolutions ---------------------------------------------------------------------------------------------------------


def _terms(node: Node) -> Terms:
    weight = node.inputs[1]
    assert weight is not None
    return Terms.of(node.x.shape, weight.shape, node.y.shape, node.attributes)


def _convolution(node: Node) -> tuple[PrimitiveDescriptor, _Ending]:
    terms, bias, residual = _terms(node), optional(node, 2), optional(node, 4)
    added = None if residual is None else any_format(UINT8, terms.told(residual.shape))
    ending = _Ending(node, dense(FLOAT32, (1, _multiplier(node).size, *(1,) * len(terms.axes))), added)
    settings, types = _settings(node, ending), (UINT8, INT8, node.y.dtype)
    return terms.forward(None if bias is None else FLOAT32, False, (), types, attribute=settings), ending


def _multiplier(node: Node) -> Variable:
    multiplier = node.inputs[3]
    assert multiplier is not None
    return multiplier


def _convolves(node: Node) -> bool:
    if not _multiplies(node) or len(node.x.shape) not in ACTIVATION_TAGS:
        return False
    try:
        return not _convolution(node)[0].is_reference
    except BackendError:
        return False


@kernel(TOOLKIT_DOMAIN, "ByteConv", accepts=_convolves)
def byte_convolution(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """One primitive; oneDNN chooses the layouts, which are those with channels last."""
    terms = _terms(node)
    described, ending = _convolution(node)
    source, target = described.argument(SRC), described.argument(DST)
    layouts, operands = _vectors(node, described)
    layouts[0] = terms.layout(source, node.x.shape)
    residual = optional(node, 4)
    if residual is not None and ending.residual_at is not None:
        added = described.argument(post_operand(ending.residual_at))
        operands.append(reads(post_operand(ending.residual_at), 4, added))
        layouts[4] = terms.layout(added, residual.shape)
    return _made(node, described, ending, layouts, [terms.layout(target, node.y.shape)], operands)


def _vectors(node: Node, described: PrimitiveDescriptor) -> tuple[list[Layout | None], list[Operand]]:
    """The layouts of weight, bias and multiplier, with the operands but for the residual."""
    weight, weights = node.inputs[1], described.argument(WEIGHTS)
    assert weight is not None
    operands = [reads(SRC, 0, described.argument(SRC)), reads(WEIGHTS, 1, weights)]
    operands.append(writes(DST, 0, described.argument(DST)))
    layouts: list[Layout | None] = [None] * len(node.inputs)
    layouts[1] = layout_of(weights, weight.shape)
    for index, argument in ((2, BIAS), (3, post_operand(0))):
        item = node.inputs[index]
        if item is not None:
            operands.append(reads(argument, index, described.argument(argument)))
            layouts[index] = plain(FLOAT32, item.shape)
    return layouts, operands


def _made(
    node: Node,
    described: PrimitiveDescriptor,
    ending: _Ending,
    inputs: Sequence[Layout | None],
    outputs: Sequence[Layout | None],
    operands: Sequence[Operand],
) -> Kernel:
    fixed = {**ending.fixed, **_zero(node.attributes.get("zero", 0))}
    return PrimitiveKernel(described, inputs, outputs, operands, fixed=fixed)


def _zero(zero: int) -> Fixed:
    """The zero point of the source as an argument of the primitive."""
    return {ZERO_POINTS | SRC: (dense(INT32, (1,)), np.full(1, zero, INT32))} if zero else {}


# products of matrices -------------------------------------------------------------------------------------------------


def _rows(variable: Variable) -> tuple[int, int]:
    return prod(variable.shape[:-1]), variable.shape[-1]


def _product(node: Node) -> tuple[PrimitiveDescriptor | None, _Ending]:
    weight, bias, residual = node.inputs[1], optional(node, 2), optional(node, 4)
    assert weight is not None
    rows = _rows(node.y)
    multiplier = dense(FLOAT32, (1, _multiplier(node).size))
    ending = _Ending(node, multiplier, None if residual is None else dense(UINT8, rows))
    described = try_describe(
        "matmul",
        dense(UINT8, _rows(node.x)),
        any_format(INT8, weight.shape),
        None if bias is None else dense(FLOAT32, (1, rows[1])),
        dense(node.y.dtype, rows),
        attribute=_settings(node, ending),
    )
    return described, ending


def _multiplies_matrices(node: Node) -> bool:
    if not _multiplies(node):
        return False
    described = _product(node)[0]
    return described is not None and not described.is_reference


@kernel(TOOLKIT_DOMAIN, "ByteMatMul", accepts=_multiplies_matrices)
def byte_product(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """All rows of all batches at once; the weight is packed as oneDNN asks for."""
    described, ending = _product(node)
    assert described is not None
    layouts, operands = _vectors(node, described)
    layouts[0] = plain(UINT8, node.x.shape)
    if ending.residual_at is not None:
        operands.append(reads(post_operand(ending.residual_at), 4, dense(UINT8, _rows(node.y))))
        layouts[4] = plain(UINT8, node.y.shape)
    return _made(node, described, ending, layouts, [plain(node.y.dtype, node.y.shape)], operands)


# on and off grids -----------------------------------------------------------------------------------------------------


def _laid(node: Node, layout: Layout | None) -> tuple[Layout, Layout]:
    """How the first input and the result lie, each densely: row-major unless the library has the same for both."""
    assert layout is not None
    result = retyped(layout, node.y.dtype)
    if layout.nbytes == node.x.nbytes and not result.is_plain:  # padding is no affair of ours
        return layout, result
    return plain(node.x.dtype, node.x.shape), plain(node.y.dtype, node.y.shape)


def _by_number(
    node: Node,
    layout: Layout | None,
    algorithm: int,
    number: float | None,
    post_ops: Sequence[PostOp],
    fixed: Fixed | None = None,
) -> Kernel:
    """``post_ops`` of the first input combined with a number, known or (``None``) that of the second input."""
    layout, result = _laid(node, layout)
    source, target = dense(node.x.dtype, (node.x.size,)), dense(node.y.dtype, (node.x.size,))
    one = dense(FLOAT32, (1,))
    described = describe("binary", algorithm, source, one, target, attribute=attributes(post_ops))
    operands = [reads(SRC, 0, source), writes(DST, 0, target)]
    layouts: list[Layout | None] = [layout, *[None] * (len(node.inputs) - 1)]
    fixed = dict(fixed or {})
    if number is None:
        operands.append(reads(SRC_1, 1, one))
        layouts[1] = plain(FLOAT32, _scale(node).shape)
    else:
        fixed[SRC_1] = one, np.full(1, number, FLOAT32)
    return PrimitiveKernel(described, layouts, [result], operands, fixed=fixed)


def _is_on_or_off(node: Node) -> bool:
    """Whether one of two tensors is of unsigned bytes, with one scale and a known zero point, the other of floats."""
    scale, zero = _scale(node), optional(node, 2)
    if {node.x.dtype, node.y.dtype} != {UINT8, FLOAT32} or node.attributes.get("block_size", 0):
        return False
    is_known = zero is None or (zero.constant is not None and zero.size == 1)
    is_one = scale.size == 1 and scale.dtype == FLOAT32
    return is_one and is_known and node.x.size > 0 and 0 < len(node.x.shape) <= MAX_RANK


def _scale(node: Node) -> Variable:
    scale = node.inputs[1]
    assert scale is not None
    return scale


def _zero_point(node: Node) -> float:
    zero = optional(node, 2)
    return 0.0 if zero is None or zero.constant is None else float(zero.constant.reshape(-1)[0])


@kernel("", "QuantizeLinear", accepts=_is_on_or_off)
def quantize(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """In the layout in which the floats lie; rounded before the zero point is added, which ties tell apart."""
    return _by_number(node, inputs[0], DIVIDE, None, [Eltwise(ROUND), Eltwise(LINEAR, 1.0, _zero_point(node))])


@kernel("", "DequantizeLinear", accepts=_is_on_or_off)
def dequantize(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """A change of type by the library, which takes zero point and scale along, in the layout in which the bytes lie."""
    layout, result = _laid(node, inputs[0])
    size, one, engine = (node.x.size,), dense(FLOAT32, (1,)), load().engine
    source, target = dense(UINT8, size), dense(FLOAT32, size)
    zero = _zero(int(_zero_point(node)))
    settings = attributes((), {SRC: 0}, [SRC] if zero else [])
    described = describe("reorder", source, engine, target, engine, attribute=settings)
    operands = [reads(SRC, 0, source), reads(SCALES | SRC, 1, one), writes(DST, 0, target)]
    layouts: list[Layout | None] = [layout, plain(FLOAT32, _scale(node).shape), *[None] * (len(node.inputs) - 2)]
    return PrimitiveKernel(described, layouts, [result], operands, fixed=zero)


@kernel(TOOLKIT_DOMAIN, "Regrid", accepts=lambda node: node.x.size > 0 and 0 < len(node.x.shape) <= MAX_RANK)
def regrid(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """In the layout in which the bytes lie."""
    given, one = node.attributes, dense(FLOAT32, (1,))
    after = [Eltwise(LINEAR, given["scale"]), Binary(DIVIDE, one), *_counted(given["least"], given["most"])]
    step: Fixed = {post_operand(1): (one, np.full(1, given["step"], FLOAT32))}
    return _by_number(node, inputs[0], SUBTRACT, float(given["zero"]), after, step)
