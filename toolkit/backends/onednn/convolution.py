"""Convolutions in one to three dimensions, their two gradients, and transposed convolutions.

oneDNN chooses every layout (format ``any``): activations then stay blocked or channels-last from step to step, weights
are packed once. Refused: ``auto_pad`` of Conv, which the compiler writes out before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.backends.onednn.activation import eltwise, knows
from toolkit.backends.onednn.memory import ACTIVATION_TAGS, Descriptor, any_format, dense, layout_of, tagged, vector
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
    attributes,
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

DIRECT, TRANSPOSED_DIRECT = 1, 0xA
AVX2 = "jit:avx2"  # the name of its implementations
Arrange = Callable[[np.dtype, Sequence[int]], Descriptor]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the window of a convolution stands, one number per spatial axis."""

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    group: int

    @classmethod
    def of(cls, values: dict[str, Any], rank: int) -> Geometry:
        """From the attributes of a node with ``rank`` spatial axes."""
        pads = tuple(values.get("pads") or (0,) * 2 * rank)
        return cls(
            tuple(values.get("strides") or (1,) * rank),
            tuple(values.get("dilations") or (1,) * rank),
            pads[:rank],
            pads[rank:],
            int(values.get("group", 1)),
        )

    def vectors(self) -> tuple[Any, ...]:
        """Strides, dilations and pads as oneDNN takes them, which calls an undilated window 0."""
        return (
            vector(self.strides),
            vector([step - 1 for step in self.dilations]),
            vector(self.begins),
            vector(self.ends),
        )

    def grouped(self, weight_shape: Sequence[int]) -> tuple[int, ...]:
        """The sizes of a weight as oneDNN sees them: groups have an axis of their own."""
        if self.group == 1:
            return tuple(weight_shape)
        return (self.group, weight_shape[0] // self.group, *weight_shape[1:])


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
    function = eltwise(node.attributes)
    after: list[PostOp] = [] if function is None else [function]

    def describe_with(adding: list[PostOp]) -> PrimitiveDescriptor:
        shapes, types = (node.x.shape, weight.shape, node.y.shape), (node.x.dtype, weight.dtype, node.y.dtype)
        kind = None if bias is None else bias.dtype
        return describe_forward(*shapes, node.attributes, kind, resources.training, [*adding, *after], types)

    accumulates = None
    if residual is None:
        described = describe_with([])
    else:
        is_alike = residual.shape == node.y.shape and residual.dtype == node.y.dtype
        keeps = resources.training or not is_alike
        described = describe_with([Binary(ADD, _residual_descriptor(residual, node.y))] if keeps else [Sum()])
        if keeps and described.is_reference and is_alike:
            keeps, described = False, describe_with([Sum()])
        accumulates = None if keeps else (0, 3)
    source, weights, target = (described.argument(number) for number in (SRC, WEIGHTS, DST))
    operands = [reads(SRC, 0, source), reads(WEIGHTS, 1, weights), writes(DST, 0, target)]
    layouts: list[Layout | None] = [layout_of(source), layout_of(weights, weight.shape)]
    if len(node.inputs) > 2:
        layouts.append(plain_operand(operands, BIAS, 2, bias))
    if len(node.inputs) > 3:
        layouts.append(layout_of(target) if residual is not None else None)
    if residual is not None and accumulates is None:
        added = described.argument(post_operand(0))
        operands.append(reads(post_operand(0), 3, added))
        layouts[3] = layout_of(added, residual.shape)
    return PrimitiveKernel(described, layouts, [layout_of(target)], operands, accumulates=accumulates)


def optional(node: Node, index: int) -> Variable | None:
    """An input that may be absent."""
    return node.inputs[index] if len(node.inputs) > index else None


def _residual_descriptor(residual: Variable, result: Variable) -> Any:
    """Any layout for a residual of the result's shape; one that broadcasts is small and stays row-major."""
    if residual.shape == result.shape:
        return any_format(residual.dtype, residual.shape)
    return dense(residual.dtype, (1,) * (len(result.shape) - len(residual.shape)) + residual.shape)


def plain_operand(operands: list[Operand], argument: int, index: int, variable: Variable | None) -> Layout | None:
    """Add a vector (a bias) to the operands; returns its layout."""
    if variable is None:
        return None
    descriptor = dense(variable.dtype, variable.shape)
    operands.append(reads(argument, index, descriptor))
    return layout_of(descriptor)


def describe_forward(
    x: Sequence[int],
    weight: Sequence[int],
    y: Sequence[int],
    values: dict[str, Any],
    bias: np.dtype | None,
    training: bool,
    post_ops: Sequence[PostOp] = (),
    types: tuple[np.dtype, np.dtype, np.dtype] = (FLOAT32, FLOAT32, FLOAT32),
) -> PrimitiveDescriptor:
    """A convolution of these shapes and ``types``, with a bias of type ``bias`` if there is one.

    ``values`` are the attributes that ``Geometry`` reads.
    """
    geometry = Geometry.of(values, len(x) - 2)

    def laid(arrange: Arrange) -> PrimitiveDescriptor:
        return describe(
            "convolution_forward",
            FORWARD_TRAINING if training else FORWARD_INFERENCE,
            DIRECT,
            arrange(types[0], x),
            any_format(types[1], geometry.grouped(weight)),
            None if bias is None else dense(bias, (weight[0],)),
            arrange(types[2], y),
            *geometry.vectors(),
            attribute=attributes(post_ops),
        )

    return _arranged(laid, x[1] == 1 and training)


def _arranged(laid: Callable[[Arrange], PrimitiveDescriptor], is_single: bool) -> PrimitiveDescriptor:
    """The primitive in the layout that oneDNN likes, but with channels last for images of a single channel in training.

    AVX2's gradient by the weight of such a convolution takes 1.0 ms instead of 7.3 that way (128 images of 28 x 28,
    20 windows of 5 x 5), and the convolution itself as long as before. With three channels blocks are faster.
    """
    described = laid(any_format)
    if is_single and described.implementation == AVX2:
        return laid(_channels_last)
    return described


def _channels_last(dtype: np.dtype, shape: Sequence[int]) -> Descriptor:
    return tagged(dtype, tuple(shape), ACTIVATION_TAGS[len(shape)][1])


@kernel(TOOLKIT_DOMAIN, "ConvInputGradient", accepts=convolves)
def input_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradient of a convolution by its input, from that of its output and the weight."""
    weight = optional(node, 1)
    assert weight is not None
    geometry = Geometry.of(node.attributes, len(node.x.shape) - 2)
    described = describe(
        "convolution_backward_data",
        DIRECT,
        any_format(node.y.dtype, node.y.shape),
        any_format(weight.dtype, geometry.grouped(weight.shape)),
        any_format(node.x.dtype, node.x.shape),
        *geometry.vectors(),
        describe_forward(
            node.y.shape, weight.shape, node.x.shape, node.attributes, None, True, (), (node.x.dtype,) * 3
        ),
    )
    target, weights, grad = (described.argument(number) for number in (DIFF_SRC, WEIGHTS, DIFF_DST))
    operands = [reads(DIFF_DST, 0, grad), reads(WEIGHTS, 1, weights), writes(DIFF_SRC, 0, target)]
    layouts = [layout_of(grad), layout_of(weights, weight.shape)]
    return PrimitiveKernel(described, layouts, [layout_of(target)], operands)


@kernel(TOOLKIT_DOMAIN, "ConvWeightGradient", accepts=convolves)
def weight_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradients of a convolution by its weight and its bias, from its input and the gradient of its output."""
    grad_variable = optional(node, 1)
    assert grad_variable is not None
    weight_shape = node.y.shape
    has_bias = len(node.outputs) > 1 and node.outputs[1] is not None
    geometry = Geometry.of(node.attributes, len(node.x.shape) - 2)
    shapes = node.x.shape, weight_shape, grad_variable.shape
    moved = node.outputs[1] if has_bias else None
    bias = dense(FLOAT32 if moved is None else moved.dtype, (weight_shape[0],))
    forward_bias = node.x.dtype if has_bias else None
    forward = describe_forward(*shapes, node.attributes, forward_bias, True, (), (node.x.dtype,) * 3)

    def laid(arrange: Arrange) -> PrimitiveDescriptor:
        return describe(
            "convolution_backward_weights",
            DIRECT,
            arrange(node.x.dtype, node.x.shape),
            any_format(node.y.dtype, geometry.grouped(weight_shape)),
            bias if has_bias else None,
            arrange(grad_variable.dtype, grad_variable.shape),
            *geometry.vectors(),
            forward,
        )

    described = _arranged(laid, node.x.shape[1] == 1)
    source, target, grad = (described.argument(number) for number in (SRC, DIFF_WEIGHTS, DIFF_DST))
    operands = [reads(SRC, 0, source), reads(DIFF_DST, 1, grad), writes(DIFF_WEIGHTS, 0, target)]
    layouts: list[Layout | None] = [layout_of(target, weight_shape)]
    if has_bias:
        operands.append(writes(DIFF_BIAS, 1, bias))
    layouts += [layout_of(bias) if has_bias else None] * (len(node.outputs) - 1)
    return PrimitiveKernel(described, [layout_of(source), layout_of(grad)], layouts, operands)


def _accepts_transposed(node: Node) -> bool:
    if not is_float(node) or not 3 <= len(node.x.shape) <= 5:
        return False
    geometry = _transposed(node)
    return min(*geometry.begins, *geometry.ends) >= 0


def _transposed(node: Node) -> Geometry:
    """The window of a transposed convolution, whose padding at the end is what gives the output its size.

    So it comes to the same whether pads, ``output_shape`` or ``auto_pad`` say the size; what ``output_padding`` adds is
    not cut off.
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
