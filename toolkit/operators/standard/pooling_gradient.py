"""The training form of MaxPool, which keeps what it chose, and the gradients of MaxPool and AveragePool.

Attributes are explicit here: those of ``canonical_pooling``, and for gradients ``input_shape``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.composed import gradient_through
from toolkit.operators.derivative import cast, filled
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape, where
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.convolution_gradient import transposed
from toolkit.operators.standard.pooling import Box, max_pool_gradient, pooled_shape

Shape = Sequence[int]


@in_float32
def _max_pool_training(x: np.ndarray, **attributes: Any) -> tuple[np.ndarray, np.ndarray]:
    return Box(attributes, x.shape).maxima(x)


@in_float32
def _max_pool_gradient(g: np.ndarray, selected: np.ndarray, *, input_shape: Shape, **attributes: Any) -> np.ndarray:
    box = Box(attributes, input_shape)
    coordinates, inside = box.places(selected)
    positions, weights = box.flat(coordinates).ravel(), np.where(inside, g, 0).ravel()
    total = np.bincount(positions, weights, minlength=int(np.prod(input_shape)))
    return total.reshape(tuple(input_shape)).astype(g.dtype)


@in_float32
def _average_pool_gradient(
    g: np.ndarray, *, input_shape: Shape, count_include_pad: int = 0, **attributes: Any
) -> np.ndarray:
    box = Box(attributes, input_shape)
    return np.ascontiguousarray(box.spread(g / box.counts(count_include_pad, g).astype(g.dtype)), like=g)


def _infer_training(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert inputs[0] is not None
    shape = pooled_shape(attributes, inputs[0][1])
    return [(inputs[0][0], shape), (np.dtype(np.int32), shape)]


def _infer_gradient(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert inputs[0] is not None
    shape = tuple(attributes["input_shape"])
    expected = pooled_shape(attributes, shape)
    for item in inputs:
        if item is not None and item[1] != expected:
            raise ShapeError(f"gradient and selection must have the pooling's shape {expected}, got {item[1]}")
    return [(inputs[0][0], shape)]


def _training_gradient(call: Call, g: Expression, _: Expression | None = None) -> list[Expression | None]:
    selected = call.outputs[1]
    assert selected is not None
    return [max_pool_gradient(g, selected, call.x.shape, call.attributes)]


def _gradient_of_average_gradient(call: Call, gg: Expression) -> list[Expression | None]:
    attributes = {name: value for name, value in call.attributes.items() if name != "input_shape"}
    return [emit("AveragePool", gg, **attributes)]


INT64, INT32 = np.dtype(np.int64), np.dtype(np.int32)


def _starts(box: Box, axis: int) -> np.ndarray:
    """Where the windows begin on a spatial axis, broadcastable to (batch, channels, output...)."""
    starts = np.arange(box.output[axis]) * box.strides[axis] - box.pads[axis]
    return starts.reshape([-1 if other == axis else 1 for other in range(len(box.kernel))])


def _training_expansion(call: Call) -> list[Expression | None]:
    """MaxPool tells positions in the whole tensor, of which follow the offsets in the windows."""
    box = Box(call.attributes, call.x.shape)
    y, position = emit("MaxPool", call.x, outputs=2, **call.attributes)
    selected, step, plane = None, 1, 1
    for axis in reversed(range(len(box.kernel))):
        size = np.asarray(box.spatial[axis])
        coordinate = emit("Mod", emit("Div", position, np.asarray(plane)), size)
        tap = emit("Div", coordinate - _starts(box, axis), np.asarray(box.dilations[axis])) * np.asarray(step)
        selected = tap if selected is None else selected + tap
        step, plane = step * box.kernel[axis], plane * box.spatial[axis]
    assert selected is not None
    return [y, cast(selected, INT32)]


def _max_expansion(call: Call) -> list[Expression | None]:
    g, selected = call.inputs
    assert g is not None and selected is not None
    shape = [int(size) for size in call.attributes["input_shape"]]
    box, offset = Box(call.attributes, shape), cast(selected, INT64)
    inside, plane, step = None, 1, 1
    images = shape[0] * shape[1]
    position: Any = (np.arange(images) * int(np.prod(box.spatial))).reshape(*shape[:2], *(1,) * len(box.kernel))
    for axis in reversed(range(len(box.kernel))):
        tap = emit("Mod", emit("Div", offset, np.asarray(step)), np.asarray(box.kernel[axis]))
        place = tap * np.asarray(box.dilations[axis]) + _starts(box, axis)
        last = np.asarray(box.spatial[axis] - 1)
        is_inside = emit("And", emit("GreaterOrEqual", place, np.asarray(0)), emit("LessOrEqual", place, last))
        inside = is_inside if inside is None else emit("And", inside, is_inside)
        place = emit("Max", emit("Min", place, last), np.asarray(0))
        position = place * np.asarray(plane) + position
        step, plane = step * box.kernel[axis], plane * box.spatial[axis]
    assert inside is not None
    total, count = int(np.prod(shape)), int(np.prod(box.shape))
    arriving = reshape(where(inside, g, 0.0), (count,))
    spread = emit("ScatterElements", filled(g, (total,)), reshape(position, (count,)), arriving, reduction="add")
    return [reshape(spread, shape)]


def _average_expansion(call: Call) -> list[Expression | None]:
    """Every channel is spread by a window of ones."""
    g, shape = call.x, [int(size) for size in call.attributes["input_shape"]]
    box, images = Box(call.attributes, shape), shape[0] * shape[1]
    counts = box.counts(int(call.attribute("count_include_pad", 0))).astype(g.dtype)
    geometry = {"strides": box.strides, "pads": box.room, "dilations": box.dilations, "group": 1}
    shares = reshape(g / counts, (images, 1, *box.output))
    return [reshape(transposed(shares, filled(g, (1, 1, *box.kernel), 1.0), shape[2:], geometry), shape)]


operator(
    "MaxPoolTraining",
    domain=TOOLKIT_DOMAIN,
    reference=_max_pool_training,
    gradient=_training_gradient,
    infer=_infer_training,
    expansion=_training_expansion,
)
operator(
    "MaxPoolGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_max_pool_gradient,
    gradient=gradient_through(_max_expansion),
    infer=_infer_gradient,
    expansion=_max_expansion,
)
operator(
    "AveragePoolGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_average_pool_gradient,
    gradient=_gradient_of_average_gradient,
    infer=_infer_gradient,
    expansion=_average_expansion,
)
