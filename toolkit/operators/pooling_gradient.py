"""The training form of MaxPool, which keeps what it chose, and the gradients of MaxPool and AveragePool.

Attributes are explicit here: those of ``canonical_pooling``, and for gradients ``input_shape``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.pooling import Box, max_pool_gradient, pooled_shape
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, not_differentiable, operator

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
    return np.ascontiguousarray(box.spread(g / box.counts(count_include_pad).astype(g.dtype)))


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


operator(
    "MaxPoolTraining",
    domain=TOOLKIT_DOMAIN,
    reference=_max_pool_training,
    gradient=_training_gradient,
    infer=_infer_training,
)
operator(
    "MaxPoolGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_max_pool_gradient,
    gradient=not_differentiable("gathering by window offsets has no operator yet"),
    infer=_infer_gradient,
)
operator(
    "AveragePoolGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_average_pool_gradient,
    gradient=_gradient_of_average_gradient,
    infer=_infer_gradient,
)
