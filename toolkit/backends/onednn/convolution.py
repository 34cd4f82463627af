"""Convolutions in one to three dimensions, their two gradients, and transposed convolutions.

oneDNN chooses the layouts, see ``convolution_terms``: activations then stay blocked or channels-last from step to step,
weights are packed once. Refused: ``auto_pad`` of Conv, which the compiler writes out before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.backends.onednn.activation import behind_sums, completed, knows
from toolkit.backends.onednn.convolution_terms import Geometry, Terms
from toolkit.backends.onednn.memory import any_format, dense, layout_of
from toolkit.backends.onednn.primitive import (
    ADD,
    BIAS,
    DIFF_BIAS,
    DIFF_DST,
    DIFF_SRC,
    DIFF_WEIGHTS,
    DST,
    FORWARD_INFERENCE,
    FORWARD_TRAINING,
    SRC,
    WEIGHTS,
    Binary,
    Operand,
    PostOp,
    PrimitiveDescriptor,
    PrimitiveKernel,
    Sum,
    describe,
    post_operand,
    reads,
    writes,
)
from toolkit.backends.onednn.registry import FLOAT32, is_float, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.transposed_convolution import canonical_transposed_convolution
from toolkit.operators.standard.windows import span

TRANSPOSED_DIRECT = 0xA


def convolves(node: Node) -> bool:
    """Whether oneDNN has the convolution of a node, its gradient included."""
    if node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", b"NOTSET") or not is_float(node):
        return False
    return 3 <= len(node.x.shape) <= 5 and knows(node.attributes)


@kernel("", "Conv", accepts=convolves)
@kernel(TOOLKIT_DOMAIN, "FusedConv", accepts=convolves)
def convolution(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(convolution + bias + residual)``; an inference residual is overwritten by the result."""
    weight, bias, residual = optional(node, 1), optional(node, 2), optional(node, 3)
    assert weight is not None
    after = behind_sums(node)
    terms = Terms.of(node.x.shape, weight.shape, node.y.shape, node.attributes)

    def describe_with(adding: list[PostOp]) -> PrimitiveDescriptor:
        types = node.x.dtype, weight.dtype, node.y.dtype
        kind = None if bias is None else bias.dtype
        return terms.forward(kind, resources.training, [*adding, *after], types, inputs[0])

    accumulates = None
    if residual is None:
        described = describe_with([])
    else:
        is_alike = residual.shape == node.y.shape and residual.dtype == node.y.dtype
        keeps = resources.training or not is_alike
        described = describe_with([Binary(ADD, _residual_descriptor(residual, node.y, terms))] if keeps else [Sum()])
        if keeps and described.is_reference and is_alike:
            keeps, described = False, describe_with([Sum()])
        accumulates = None if keeps else (0, 3)
    source, weights, target = (described.argument(number) for number in (SRC, WEIGHTS, DST))
    operands = [reads(SRC, 0, source), reads(WEIGHTS, 1, weights), writes(DST, 0, target)]
    layouts: list[Layout | None] = [terms.layout(source, node.x.shape), layout_of(weights, weight.shape)]
    result = terms.layout(target, node.y.shape)
    if len(node.inputs) > 2:
        layouts.append(plain_operand(operands, BIAS, 2, bias))
    if len(node.inputs) > 3:
        layouts.append(result if residual is not None else None)
    if residual is not None and accumulates is None:
        added = described.argument(post_operand(0))
        operands.append(reads(post_operand(0), 3, added))
        layouts[3] = terms.layout(added, residual.shape)
    return completed(PrimitiveKernel(described, layouts, [result], operands, accumulates=accumulates), node)


def optional(node: Node, index: int) -> Variable | None:
    """An input that may be absent."""
    return node.inputs[index] if len(node.inputs) > index else None


def _residual_descriptor(residual: Variable, result: Variable, terms: Terms) -> Any:
    """Any layout for a residual of the result's shape; one that broadcasts is small and stays row-major."""
    if residual.shape == result.shape:
        return any_format(residual.dtype, terms.told(residual.shape))
    return dense(residual.dtype, terms.told((1,) * (len(result.shape) - len(residual.shape)) + residual.shape))


def plain_operand(operands: list[Operand], argument: int, index: int, variable: Variable | None) -> Layout | None:
    """Add a vector (a bias) to the operands; returns its layout."""
    if variable is None:
        return None
    descriptor = dense(variable.dtype, variable.shape)
    operands.append(reads(argument, index, descriptor))
    return layout_of(descriptor)


@kernel(TOOLKIT_DOMAIN, "ConvInputGradient", accepts=convolves)
def input_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradient of a convolution by its input, from that of its output and the weight."""
    weight = optional(node, 1)
    assert weight is not None
    terms = Terms.of(node.y.shape, weight.shape, node.x.shape, node.attributes)
    described = terms.backward_data((node.y.dtype, weight.dtype, node.x.dtype))
    target, weights, grad = (described.argument(number) for number in (DIFF_SRC, WEIGHTS, DIFF_DST))
    operands = [reads(DIFF_DST, 0, grad), reads(WEIGHTS, 1, weights), writes(DIFF_SRC, 0, target)]
    layouts = [terms.layout(grad, node.x.shape), layout_of(weights, weight.shape)]
    return PrimitiveKernel(described, layouts, [terms.layout(target, node.y.shape)], operands)


@kernel(TOOLKIT_DOMAIN, "ConvWeightGradient", accepts=convolves)
def weight_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradients of a convolution by its weight and its bias, from its input and the gradient of its output."""
    grad_variable = optional(node, 1)
    assert grad_variable is not None
    terms = Terms.of(node.x.shape, node.y.shape, grad_variable.shape, node.attributes)
    has_bias = len(node.outputs) > 1 and node.outputs[1] is not None
    moved = node.outputs[1] if has_bias else None
    kind = FLOAT32 if moved is None else moved.dtype
    types = node.x.dtype, node.y.dtype, grad_variable.dtype
    described = terms.backward_weights(kind if has_bias else None, types)
    source, target, grad = (described.argument(number) for number in (SRC, DIFF_WEIGHTS, DIFF_DST))
    operands = [reads(SRC, 0, source), reads(DIFF_DST, 1, grad), writes(DIFF_WEIGHTS, 0, target)]
    layouts: list[Layout | None] = [layout_of(target, node.y.shape)]
    bias = dense(kind, (node.y.shape[0],))
    if has_bias:
        operands.append(writes(DIFF_BIAS, 1, bias))
    layouts += [layout_of(bias) if has_bias else None] * (len(node.outputs) - 1)
    given: list[Layout | None] = [terms.layout(source, node.x.shape), terms.layout(grad, grad_variable.shape)]
    return PrimitiveKernel(described, given, layouts, operands)


def _accepts_transposed(node: Node) -> bool:
    if not is_float(node) or not 3 <= len(node.x.shape) <= 5:
        return False
    geometry = _transposed(node)
    return min(*geometry.begins, *geometry.ends) >= 0


def _transposed(node: Node) -> Geometry:
    """The window of a transposed convolution, whose padding at the end is what gives the output its size.

    So it comes to the same whether pads, ``output_shape`` or ``auto_pad`` say the size; what ``output_padding`` adds is
    not cut off. What it adds behind the last window is fewer positions than a stride has, and those oneDNN fills as
    the direct convolution passes over them: it counts windows by whole strides.
    """
    weight, rank = optional(node, 1), len(node.x.shape) - 2
    assert weight is not None
    explicit = canonical_transposed_convolution(node.attributes, node.x.shape, weight.shape)
    covered = span(weight.shape[2:], explicit["dilations"])
    begins = explicit["pads"][:rank]
    ends = [
        (node.x.shape[2 + axis] - 1) * explicit["strides"][axis] + covered[axis] - begins[axis] - node.y.shape[2 + axis]
        for axis in range(rank)
    ]
    ends = [0 if 0 > end > -step else end for end, step in zip(ends, explicit["strides"], strict=True)]
    return Geometry.of({**explicit, "pads": [*begins, *ends]}, rank)


@kernel("", "ConvTranspose", accepts=_accepts_transposed)
def transposed_convolution(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """oneDNN's deconvolution; its weight has output channels before input channels, ours the other way round."""
    weight, bias = optional(node, 1), optional(node, 2)
    assert weight is not None
    geometry = _transposed(node)
    stored = geometry.grouped(weight.shape)
    axes = list(range(len(stored)))
    first = len(stored) - len(weight.shape)
    axes[first], axes[first + 1] = axes[first + 1], axes[first]
    described = describe(
        "deconvolution_forward",
        FORWARD_TRAINING if resources.training else FORWARD_INFERENCE,
        TRANSPOSED_DIRECT,
        any_format(node.x.dtype, node.x.shape),
        any_format(weight.dtype, [stored[axis] for axis in axes]),
        dense(bias.dtype, bias.shape) if bias is not None else None,
        any_format(node.y.dtype, node.y.shape),
        *geometry.vectors(),
    )
    source, weights, target = (described.argument(number) for number in (SRC, WEIGHTS, DST))
    operands = [reads(SRC, 0, source), reads(WEIGHTS, 1, weights), writes(DST, 0, target)]
    layouts: list[Layout | None] = [layout_of(source), layout_of(weights.permuted(axes), weight.shape)]
    if len(node.inputs) > 2:
        layouts.append(plain_operand(operands, BIAS, 2, bias))
    return PrimitiveKernel(described, layouts, [layout_of(target)], operands)
