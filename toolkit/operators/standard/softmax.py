"""Softmax, LogSoftmax, Hardmax and the gradient of the first two.

Since version 13 they work along one axis (default the last). Before, they flattened the input to a matrix at ``axis``
(default 1) and worked on its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reduce_sum, reshape
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, Gradient, Reference, TensorType, not_differentiable, operator


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """exp(x) / sum(exp(x)) along ``axis``."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    powers /= powers.sum(axis=axis, keepdims=True)
    return np.asarray(powers, like=x)


def stepwise_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """Softmax of float16 with every step rounded to it, as the function body that defines it in ONNX has it.

    The sum still accumulates in float32. Exported attention is judged by these roundings.
    """
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    total = powers.sum(axis=axis, keepdims=True, dtype=np.float32)
    return np.asarray(powers / total.astype(np.float16), like=x)


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """log(softmax(x)) along ``axis``, exact where the probability is tiny."""
    shifted = x - x.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)), like=x)


def hardmax(x: np.ndarray, axis: int) -> np.ndarray:
    """One at the first largest element along ``axis``, zero elsewhere."""
    y = np.zeros_like(x)
    np.put_along_axis(y, np.expand_dims(x.argmax(axis=axis), axis), 1, axis=axis)
    return y


def matrix_shape(shape: Sequence[int], axis: int) -> tuple[int, int]:
    """Rows and columns of a tensor that is flattened at ``axis``, which may be negative."""
    axis = axis + len(shape) if axis < 0 else axis
    return int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))


Function = Callable[[np.ndarray, int], np.ndarray]


def _along_axis(function: Function) -> Reference:
    @in_float32
    def evaluate(x: np.ndarray, *, axis: int = -1) -> np.ndarray:
        return function(x, axis) if x.size else x.copy()

    return evaluate


_wide_softmax = _along_axis(softmax)


def _softmax_13(x: np.ndarray, *, axis: int = -1) -> np.ndarray:
    if x.dtype == np.float16 and x.size:
        return stepwise_softmax(x, axis)
    y: np.ndarray = _wide_softmax(x, axis=axis)
    return y


def _on_rows(function: Function) -> Reference:
    @in_float32
    def evaluate(x: np.ndarray, *, axis: int = 1) -> np.ndarray:
        return function(x.reshape(matrix_shape(x.shape, axis)), 1).reshape(x.shape) if x.size else x.copy()

    return evaluate


def softmax_gradient(g: Expression, y: Expression, axis: int, log: int) -> Expression:
    """Emit SoftmaxGradient."""
    dx: Expression = emit("SoftmaxGradient", g, y, domain=TOOLKIT_DOMAIN, axis=axis, log=log)
    return dx


def _axis_gradient(log: int) -> Gradient:
    return lambda call, g: [softmax_gradient(g, call.y, int(call.attribute("axis", -1)), log)]


def _row_gradient(log: int) -> Gradient:
    def rule(call: Call, g: Expression) -> list[Expression | None]:
        shape = matrix_shape(call.x.shape, int(call.attribute("axis", 1)))
        return [reshape(softmax_gradient(reshape(g, shape), reshape(call.y, shape), 1, log), call.x.shape)]

    return rule


@in_float32
def _softmax_gradient(g: np.ndarray, y: np.ndarray, *, axis: int = -1, log: int = 0) -> np.ndarray:
    if log:
        return np.asarray(g - np.exp(y) * g.sum(axis=axis, keepdims=True), like=g)
    weighted = g * y
    return np.asarray(weighted - y * weighted.sum(axis=axis, keepdims=True), like=g)


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    g, y = inputs
    assert g is not None
    if y is None or y[1] != g[1]:
        raise ShapeError("gradient and softmax must have the same shape")
    return [g]


def _expansion(call: Call) -> list[Expression | None]:
    g, y = call.inputs
    assert g is not None
    assert y is not None
    axes = [int(call.attribute("axis", -1))]
    if call.attribute("log", 0):
        return [g - emit("Exp", y) * reduce_sum(g, axes)]
    return [y * (g - reduce_sum(g * y, axes))]


def _second_gradient(call: Call, gg: Expression) -> list[Expression | None]:
    g, y = call.inputs
    assert g is not None
    assert y is not None
    axis = int(call.attribute("axis", -1))
    if call.attribute("log", 0):
        powers = emit("Exp", y)
        dg = gg - reduce_sum(gg * powers, [axis]) if call.wants[0] else None
        return [dg, -(gg * powers * reduce_sum(g, [axis])) if call.wants[1] else None]
    dg = softmax_gradient(gg, y, axis, 0) if call.wants[0] else None
    dy = gg * (g - reduce_sum(g * y, [axis])) - g * reduce_sum(gg * y, [axis]) if call.wants[1] else None
    return [dg, dy]


CHOICE = not_differentiable("it is constant between its steps, so its slope is zero or undefined", slope_is_zero=True)

operator("Softmax", since=1, reference=_on_rows(softmax), gradient=_row_gradient(log=0))
operator("Softmax", since=13, reference=_softmax_13, gradient=_axis_gradient(log=0))
operator("LogSoftmax", since=1, reference=_on_rows(log_softmax), gradient=_row_gradient(log=1))
operator("LogSoftmax", since=13, reference=_along_axis(log_softmax), gradient=_axis_gradient(log=1))
operator("Hardmax", since=1, reference=_on_rows(hardmax), gradient=CHOICE)
operator("Hardmax", since=13, reference=_along_axis(hardmax), gradient=CHOICE)
operator(
    "SoftmaxGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_softmax_gradient,
    gradient=_second_gradient,
    infer=_infer,
    expansion=_expansion,
)
