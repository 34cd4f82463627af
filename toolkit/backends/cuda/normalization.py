"""Batch normalisation, by given statistics and by those of the batch, and its gradient, on images with channels last.

Given statistics make it elementwise, one graph of cuDNN. For the batch's own there are engines for some numbers of
channels only, so cuDNN's older functions do it. They keep the inverse deviation and move running statistics by another
estimate than ONNX; a small graph on the vectors makes ours of theirs. Data may be of half width, vectors are float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from toolkit.backends.cuda.cudnn.builder import Builder
from toolkit.backends.cuda.cudnn.graph import DATA_TYPES, Graph, channels_innermost
from toolkit.backends.cuda.cudnn.graph_constants import DataType, PointwiseMode
from toolkit.backends.cuda.cudnn.legacy import ONE, ZERO, Legacy, call, tensor
from toolkit.backends.cuda.cudnn.legacy_constants import BatchNormMode
from toolkit.backends.cuda.cudnn.session import Session, session_of
from toolkit.backends.cuda.images import FLOAT32, FLOATS, LARGEST, image, layout, shown, vector
from toolkit.backends.cuda.layouts import DEVICE
from toolkit.backends.cuda.parts import (
    Addresses,
    CallPart,
    Part,
    PartsKernel,
    Place,
    Scratch,
    graph_parts,
    reads,
    writes,
)
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, Step
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN

LIBRARY = "cuDNN"

VECTOR_BYTES = 4


@dataclass(frozen=True, slots=True)
class Passed:
    """How it lies what a Relu let through: ones and zeros of the data's own type, channels last."""

    dtype: DataType


def _fits(x: Variable, vectors: Sequence[Variable | None]) -> bool:
    known = x.dtype in FLOATS and 0 < x.size <= LARGEST and 2 <= len(x.shape) <= 5
    return known and all(item is not None and item.dtype == FLOAT32 and item.shape == (x.shape[1],) for item in vectors)


def _is_given(node: Node) -> bool:
    """Whether given statistics, one for each channel, are applied."""
    alone = all(item is None for item in node.outputs[1:]) and not node.attributes.get("training_mode", 0)
    return alone and node.y.dtype == node.x.dtype and _fits(node.x, node.inputs[1:5])


def _layouts(variables: Sequence[Variable | None]) -> list[Layout | None]:
    return [None if item is None else layout(item) for item in variables]


@kernel("", "BatchNormalization", accepts=_is_given)
def batch_normalization(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """(x - mean) / root(variance + epsilon) scale + bias, in one pass."""
    builder, rank, memory = Builder(), len(node.x.shape), Scratch()
    x, y = image(builder, node.x), image(builder, node.y)
    vectors = [vector(builder, item, rank) for item in node.inputs[1:5] if item is not None]
    scale, bias, mean, variance = vectors
    epsilon = builder.number(float(node.attributes.get("epsilon", 1e-5)), len(x.shape))
    inverse = builder.pointwise(PointwiseMode.RSQRT, builder.pointwise(PointwiseMode.ADD, variance, epsilon))
    centred = builder.pointwise(PointwiseMode.SUB, x, mean)
    scaled = builder.pointwise(PointwiseMode.MUL, builder.pointwise(PointwiseMode.MUL, centred, inverse), scale)
    builder.pointwise(PointwiseMode.ADD, scaled, bias, into=y)
    places = {x.uid: reads(0), y.uid: writes(0)}
    places |= {item.uid: reads(index) for index, item in enumerate(vectors, start=1)}
    parts = graph_parts(session_of(resources), builder.graph(), places, memory, strict=resources.strict)
    return PartsKernel(parts, _layouts(node.inputs), [layout(node.y), *[None] * (len(node.outputs) - 1)], memory)


# by the batch's own statistics --------------------------------------------------------------------------------------


def _accepts_training(node: Node) -> bool:
    has_residual = any(item is not None for item in node.inputs[5:])
    return (
        _fits(node.x, node.inputs[1:5]) and node.attributes.get("activation", "") in ("", "Relu") and not has_residual
    )


@kernel(TOOLKIT_DOMAIN, "BatchNormalizationTraining", accepts=_accepts_training)
def batch_normalization_training(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The result, the moved statistics, those of the batch, and what an activation let through."""
    session, memory = session_of(resources), Scratch()
    has_relu = node.attributes.get("activation") == "Relu"
    normal = memory.take(node.x.nbytes) if has_relu else writes(0)
    inverse = memory.take(VECTOR_BYTES * node.x.shape[1])
    parts: list[Part] = [
        CallPart("cudnnBatchNormalizationForwardTraining", partial(_forward, session, node, normal, inverse))
    ]
    graph, places = _statistics(node, inverse)
    parts += graph_parts(session, graph, places, memory, strict=resources.strict)
    mask = node.outputs[5] if len(node.outputs) > 5 else None
    if has_relu:
        graph, places = _rectifier(node, normal, mask)
        parts += graph_parts(session, graph, places, memory, strict=resources.strict)
    outputs = _layouts(node.outputs[:5])
    outputs += [None if mask is None or not has_relu else _mask(mask, node.x)] * (len(node.outputs) - 5)
    return PartsKernel(parts, _layouts(node.inputs), outputs, memory)


def _mask(variable: Variable, x: Variable) -> Layout:
    return Layout(variable.dtype, variable.shape, x.nbytes, Passed(DATA_TYPES[x.dtype]), DEVICE)


def _forward(session: Session, node: Node, normal: Place, inverse: Place, address: Addresses, workspace: int) -> Step:
    data, vectors = _descriptors(session, node.x)
    x, scale, bias = (address(reads(index)) for index in range(3))
    sizes = session.handle, BatchNormMode.SPATIAL, ONE, ZERO, data, x, data, address(normal), vectors
    epsilon, mean = float(node.attributes["epsilon"]), address(writes(3))
    nothing = (0.0, None, None)  # running statistics are moved by the graph behind
    return call(
        session.functions.BatchNormalizationForwardTraining,
        *sizes,
        scale,
        bias,
        *nothing,
        epsilon,
        mean,
        address(inverse),
    )


def _descriptors(session: Session, x: Variable) -> tuple[Legacy, Legacy]:
    """Of the data, and of a vector of channels."""
    shape = shown(x.shape)
    row = (1, shape[1], *(1,) * (len(shape) - 2))
    data = tensor(session.functions, DATA_TYPES[x.dtype], shape, channels_innermost(shape))
    return data, tensor(session.functions, DataType.FLOAT, row)


def _statistics(node: Node, inverse: Place) -> tuple[Graph, dict[int, Place]]:
    """From the inverse deviation: the variance, and the running statistics moved towards the batch's."""
    builder, rank = Builder(), len(shown(node.x.shape))
    momentum, epsilon = float(node.attributes["momentum"]), float(node.attributes["epsilon"])
    model = node.inputs[3]
    assert model is not None
    kept, mean, variance, running_mean, running_variance, moved_mean, moved_variance = (
        vector(builder, model, rank) for _ in range(7)
    )
    squared = builder.pointwise(PointwiseMode.MUL, kept, kept)
    whole = builder.pointwise(PointwiseMode.RECIPROCAL, squared)
    builder.pointwise(PointwiseMode.SUB, whole, builder.number(epsilon, rank), into=variance)
    for running, batch, moved in ((running_mean, mean, moved_mean), (running_variance, variance, moved_variance)):
        stays = builder.pointwise(PointwiseMode.MUL, running, builder.number(momentum, rank))
        comes = builder.pointwise(PointwiseMode.MUL, batch, builder.number(1.0 - momentum, rank))
        builder.pointwise(PointwiseMode.ADD, stays, comes, into=moved)
    tensors = (kept, mean, variance, running_mean, running_variance, moved_mean, moved_variance)
    places = (inverse, writes(3), writes(4), reads(3), reads(4), writes(1), writes(2))
    return builder.graph(), {item.uid: place for item, place in zip(tensors, places, strict=True)}


def _rectifier(node: Node, normal: Place, mask: Variable | None) -> tuple[Graph, dict[int, Place]]:
    builder = Builder()
    x, y = image(builder, node.x), image(builder, node.y)
    places = {x.uid: normal, y.uid: writes(0)}
    builder.pointwise(PointwiseMode.RELU_FWD, x, into=y)
    if mask is not None:
        passed = image(builder, node.x)
        places[passed.uid] = writes(5)
        builder.pointwise(PointwiseMode.CMP_GT, x, builder.number(0.0, len(x.shape)), into=passed)
    return builder.graph(), places


def _accepts_gradient(node: Node) -> bool:
    """A mask must have been made here."""
    x, mask = node.inputs[1], node.inputs[5] if len(node.inputs) > 5 else None
    made = None if mask is None else mask.producer
    if made is not None and (made.op_type != "BatchNormalizationTraining" or not _accepts_training(made)):
        return False
    if any(item is not None for item in (*node.inputs[6:], *node.outputs[3:])):
        return False
    known = x is not None and _fits(x, [*node.inputs[2:5], *node.outputs[1:3]])
    return known and (mask is None or made is not None) and node.x.dtype == node.y.dtype


@kernel(TOOLKIT_DOMAIN, "BatchNormalizationGradient", accepts=_accepts_gradient)
def batch_normalization_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradients of data, scale and bias."""
    session, memory, x = session_of(resources), Scratch(), node.inputs[1]
    assert x is not None
    mask = node.inputs[5] if len(node.inputs) > 5 and node.attributes.get("activation") == "Relu" else None
    inverse = memory.take(VECTOR_BYTES * x.shape[1])
    arriving = reads(0) if mask is None else memory.take(x.nbytes)
    parts: list[Part] = []
    for graph, places in _preparations(node, x, mask, inverse, arriving):
        parts += graph_parts(session, graph, places, memory, strict=resources.strict)
    parts.append(CallPart("cudnnBatchNormalizationBackward", partial(_backward, session, node, x, arriving, inverse)))
    layouts = _layouts(node.inputs[:5])
    layouts += [None if mask is None else _mask(mask, x)] * (len(node.inputs) - 5)
    return PartsKernel(parts, layouts, _layouts(node.outputs), memory)


def _preparations(
    node: Node, x: Variable, mask: Variable | None, inverse: Place, arriving: Place
) -> list[tuple[Graph, Mapping[int, Place]]]:
    """The inverse deviation from the variance, and of the gradient what the activation let through."""
    variance, rank, builder = node.inputs[4], len(shown(x.shape)), Builder()
    assert variance is not None
    given, kept = (vector(builder, variance, rank) for _ in range(2))
    epsilon = builder.number(float(node.attributes["epsilon"]), rank)
    builder.pointwise(PointwiseMode.RSQRT, builder.pointwise(PointwiseMode.ADD, given, epsilon), into=kept)
    found: list[tuple[Graph, Mapping[int, Place]]] = [(builder.graph(), {given.uid: reads(4), kept.uid: inverse})]
    if mask is not None:
        builder = Builder()
        g, passed, masked = (image(builder, x) for _ in range(3))
        builder.pointwise(PointwiseMode.MUL, g, passed, into=masked)
        found.append((builder.graph(), {g.uid: reads(0), passed.uid: reads(5), masked.uid: arriving}))
    return found


def _backward(
    session: Session, node: Node, x: Variable, arriving: Place, inverse: Place, address: Addresses, workspace: int
) -> Step:
    data, vectors = _descriptors(session, x)
    dx, dscale, dbias = (address(writes(index)) for index in range(3))
    blend = session.handle, BatchNormMode.SPATIAL, ONE, ZERO, ONE, ZERO
    tensors = data, address(reads(1)), data, address(arriving), data, dx
    statistics = float(node.attributes["epsilon"]), address(reads(3)), address(inverse)
    given = vectors, address(reads(2)), dscale, dbias
    return call(session.functions.BatchNormalizationBackward, *blend, *tensors, *given, *statistics)
