"""Convolutions in one to three dimensions, their two gradients, and transposed convolutions: graphs of cuDNN.

Everything lies with its channels last, where cuDNN has the most engines; weights are brought there once. Bias, residual
and activation are part of the graph; where no engine does all of it, it is done in parts. Refused: ``auto_pad`` of Conv
(the compiler writes it out before), residuals that broadcast, and windows that step over part of their padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.backends.cuda.cudnn.activation import activate, knows
from toolkit.backends.cuda.cudnn.builder import Builder, Window
from toolkit.backends.cuda.cudnn.graph import Tensor
from toolkit.backends.cuda.cudnn.graph_constants import PointwiseMode, ReductionOperator
from toolkit.backends.cuda.cudnn.session import session_of
from toolkit.backends.cuda.images import image, is_float, layout, vector, window
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.parts import PartsKernel, Place, Scratch, graph_parts, reads, writes
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.transposed_convolution import canonical_transposed_convolution
from toolkit.operators.standard.windows import span

LIBRARY = "cuDNN"


def _window(values: Mapping[str, Any], rank: int) -> Window:
    """From the attributes of a node with ``rank`` spatial axes."""
    ones, pads = (1,) * rank, tuple(values.get("pads") or (0,) * 2 * rank)
    strides, dilations = (tuple(values.get(name) or ones) for name in ("strides", "dilations"))
    return window(strides, pads[:rank], pads[rank:], dilations)


def _is_image(node: Node) -> bool:
    explicit = node.attributes.get("auto_pad", "NOTSET") in ("NOTSET", b"NOTSET")
    return explicit and is_float(node) and 3 <= len(node.x.shape) <= 5 and knows(node.attributes)


def _accepts(node: Node) -> bool:
    residual = optional(node, 3)
    return _is_image(node) and (residual is None or residual.shape == node.y.shape)


def optional(node: Node, index: int) -> Variable | None:
    """An input that may be absent."""
    return node.inputs[index] if len(node.inputs) > index else None


@kernel("", "Conv", accepts=_accepts)
@kernel(TOOLKIT_DOMAIN, "FusedConv", accepts=_accepts)
def convolution(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(convolution + bias + residual)``."""
    weight = optional(node, 1)
    assert weight is not None
    builder = Builder()
    x, w, y = image(builder, node.x), image(builder, weight), image(builder, node.y)
    places = {x.uid: reads(0), w.uid: reads(1), y.uid: writes(0)}
    added = _addends(builder, node, places)
    has_more = bool(added) or bool(node.attributes.get("activation"))
    product = builder.virtual(y.shape, y.strides) if has_more else y
    builder.convolution(x, w, product, _window(node.attributes, len(node.x.shape) - 2))
    _finish(builder, product, added, node.attributes, y)
    return _kernel(builder, node, places, resources)


def _addends(builder: Builder, node: Node, places: dict[int, Place]) -> list[Tensor]:
    """What is added to a convolution: a number for each channel, then a tensor of the result's shape."""
    found = []
    for index, item in enumerate(node.inputs[2:4], start=2):
        if item is not None:
            made = vector(builder, item, len(node.y.shape)) if index == 2 else image(builder, item)
            places[made.uid] = reads(index)
            found.append(made)
    return found


def _finish(
    builder: Builder, value: Tensor, added: Sequence[Tensor], attributes: Mapping[str, Any], into: Tensor
) -> None:
    """Sum and activation of what a product gave."""
    has_activation = bool(attributes.get("activation"))
    for number, item in enumerate(added, start=1):
        is_last = number == len(added) and not has_activation
        value = builder.pointwise(PointwiseMode.ADD, value, item, into=into if is_last else None)
    if has_activation:
        activate(builder, value, attributes, into)


def _kernel(builder: Builder, node: Node, places: Mapping[int, Place], resources: Resources) -> Kernel:
    """The graph as a kernel whose images lie with channels last, vectors as they are."""
    memory = Scratch()
    parts = graph_parts(session_of(resources), builder.graph(), places, memory, strict=resources.strict)
    return PartsKernel(parts, _layouts(node.inputs), _layouts(node.outputs), memory)


def _layouts(variables: Sequence[Variable | None]) -> list[Layout | None]:
    """``layout`` gives vectors their only one."""
    return [None if item is None else layout(item) for item in variables]


@kernel(TOOLKIT_DOMAIN, "ConvInputGradient", accepts=_is_image)
def input_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradient of a convolution by its input, from that of its output and the weight."""
    weight = optional(node, 1)
    assert weight is not None
    builder = Builder()
    dy, w, dx = image(builder, node.x), image(builder, weight), image(builder, node.y)
    builder.convolution_input_gradient(dy, w, dx, _window(node.attributes, len(node.x.shape) - 2))
    return _kernel(builder, node, {dy.uid: reads(0), w.uid: reads(1), dx.uid: writes(0)}, resources)


@kernel(TOOLKIT_DOMAIN, "ConvWeightGradient", accepts=_is_image)
def weight_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradients of a convolution by its weight and its bias, from its input and the gradient of its output."""
    grad = optional(node, 1)
    assert grad is not None
    builder, session, memory = Builder(), session_of(resources), Scratch()
    x, dy, dw = image(builder, node.x), image(builder, grad), image(builder, node.y)
    builder.convolution_weight_gradient(x, dy, dw, _window(node.attributes, len(node.x.shape) - 2))
    places = {x.uid: reads(0), dy.uid: reads(1), dw.uid: writes(0)}
    parts = graph_parts(session, builder.graph(), places, memory, strict=resources.strict)
    bias = node.outputs[1] if len(node.outputs) > 1 else None
    if bias is not None:
        builder = Builder()
        dy = image(builder, grad)
        db = builder.reduction(ReductionOperator.ADD, dy, vector(builder, bias, len(grad.shape)))
        places = {dy.uid: reads(1), db.uid: writes(1)}
        parts += graph_parts(session, builder.graph(), places, memory, strict=resources.strict)
    outputs = [
        layout(node.y),
        *[None if item is None else on_device(item.dtype, item.shape) for item in node.outputs[1:]],
    ]
    return PartsKernel(parts, _layouts(node.inputs), outputs, memory)


def _accepts_transposed(node: Node) -> bool:
    if not is_float(node) or not 3 <= len(node.x.shape) <= 5:
        return False
    _, begins, ends, _ = _transposed_geometry(node)
    return min(*begins, *ends) >= 0


def _transposed_geometry(node: Node) -> tuple[tuple[int, ...], ...]:
    """Strides, pads on both sides and dilations of the convolution whose gradient this is.

    The pads at the end are those with which that convolution gives exactly the input's sizes.
    """
    weight, shape, rank = optional(node, 1), node.x.shape, len(node.x.shape) - 2
    assert weight is not None
    found = canonical_transposed_convolution(node.attributes, shape, weight.shape)
    strides, begins, dilations = (tuple(found[name][:rank]) for name in ("strides", "pads", "dilations"))
    covered = span(weight.shape[2:], dilations)
    ends = tuple(
        (shape[2 + axis] - 1) * strides[axis] + covered[axis] - node.y.shape[2 + axis] - begins[axis]
        for axis in range(rank)
    )
    return strides, begins, ends, dilations


@kernel("", "ConvTranspose", accepts=_accepts_transposed)
def transposed_convolution(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The input gradient of the convolution that has this weight, with a bias."""
    weight = optional(node, 1)
    assert weight is not None
    builder = Builder()
    x, w, y = image(builder, node.x), image(builder, weight), image(builder, node.y)
    places = {x.uid: reads(0), w.uid: reads(1), y.uid: writes(0)}
    added = _addends(builder, node, places)
    product = builder.virtual(y.shape, y.strides) if added else y
    builder.convolution_input_gradient(x, w, product, window(*_transposed_geometry(node)))
    _finish(builder, product, added, {}, y)
    return _kernel(builder, node, places, resources)
