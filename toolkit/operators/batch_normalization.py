"""BatchNormalization: with frozen statistics, and the training form of our own that keeps what its gradient needs.

Channels are axis 1. Statistics of a batch are taken over all other axes; the variance is the biased one throughout, as
ONNX says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape, unbroadcast
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, not_differentiable, operator


def _channelwise(vector: np.ndarray, ndim: int, spatial: int = 1) -> np.ndarray:
    """Broadcastable to (batch, channels, ...); without ``spatial`` the vector has the shape of one image already."""
    return vector.reshape(1, -1, *(1,) * (ndim - 2)) if spatial else vector[None]


def _normalized(x: np.ndarray, statistics: Sequence[np.ndarray], epsilon: float, spatial: int = 1) -> np.ndarray:
    scale, bias, mean, variance = statistics
    factor = scale / np.sqrt(variance + np.asarray(epsilon, variance.dtype))
    y = x * _channelwise(factor, x.ndim, spatial)
    y += _channelwise(bias - mean * factor, x.ndim, spatial)
    return y.astype(x.dtype, copy=False)


@in_float32
def _with_spatial(
    x: np.ndarray,
    *statistics: np.ndarray,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
) -> tuple[np.ndarray, ...]:
    """Version 7: ``spatial`` 0 has a statistic per element of an image. Its further outputs keep the statistics."""
    mean, variance = statistics[2:]
    return _normalized(x, statistics, epsilon, spatial), mean, variance, mean, variance


@in_float32
def _frozen(
    x: np.ndarray, *statistics: np.ndarray, epsilon: float = 1e-5, momentum: float = 0.9
) -> tuple[np.ndarray, ...]:
    """Version 9."""
    mean, variance = statistics[2:]
    return _normalized(x, statistics, epsilon), mean, variance, mean, variance


@in_float32
def _batch_normalization(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> tuple[np.ndarray, ...]:
    """From version 14 on: with ``training_mode`` the batch's statistics are used and the running ones are moved."""
    if not training_mode:
        return _normalized(x, (scale, bias, mean, variance), epsilon), mean, variance
    return _train(x, scale, bias, mean, variance, epsilon, momentum)[:3]


def _batch_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    axes = (0, *range(2, x.ndim))
    return x.mean(axis=axes), x.var(axis=axes)


def _train(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
    momentum: float,
) -> tuple[np.ndarray, ...]:
    batch_mean, batch_variance = _batch_statistics(x)
    y = _normalized(x, (scale, bias, batch_mean, batch_variance), epsilon)
    moved = (
        (running * momentum + batch * (1.0 - momentum)).astype(running.dtype, copy=False)
        for running, batch in ((mean, batch_mean), (variance, batch_variance))
    )
    return y, *moved, batch_mean, batch_variance


@in_float32
def _training(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    activation: str = "",
) -> tuple[np.ndarray | None, ...]:
    y, *statistics = _train(x, scale, bias, mean, variance, epsilon, momentum)
    if activation != "Relu":
        return (y, *statistics, None)
    return (np.maximum(y, 0), *statistics, (y > 0).view(np.uint8))


@in_float32
def _gradient_reference(
    g: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray,
    batch_mean: np.ndarray,
    batch_variance: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    epsilon: float = 1e-5,
    activation: str = "",
) -> tuple[np.ndarray, ...]:
    if activation == "Relu":
        assert mask is not None
        g = np.where(mask, g, np.zeros((), g.dtype))
    axes, count = (0, *range(2, x.ndim)), x.size // max(x.shape[1], 1)
    inverse = 1.0 / np.sqrt(batch_variance + np.asarray(epsilon, batch_variance.dtype))
    centred = (x - _channelwise(batch_mean, x.ndim)) * _channelwise(inverse, x.ndim)
    dbias, dscale = g.sum(axis=axes), (g * centred).sum(axis=axes)
    dx = g - centred * _channelwise(dscale / count, x.ndim) - _channelwise(dbias / count, x.ndim)
    dx *= _channelwise(scale * inverse, x.ndim)
    return dx.astype(x.dtype, copy=False), dscale.astype(scale.dtype, copy=False), dbias.astype(scale.dtype, copy=False)


def _infer_training(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, *vectors = inputs
    assert x is not None
    if len(x[1]) < 2:
        raise ShapeError(f"the input must be (batch, channels, ...), got {x[1]}")
    for item in vectors:
        if item is None or item[1] != x[1][1:2]:
            raise ShapeError(f"scale, bias, mean and variance must be vectors of {x[1][1]} channels, got {item}")
    if attributes.get("activation", "") not in ("", "Relu"):
        raise ShapeError(f"activation must be '' or 'Relu', got {attributes['activation']!r}")
    scale, _, mean, variance = (item for item in vectors if item is not None)
    return [x, mean, variance, (scale[0], scale[1]), (scale[0], scale[1]), (np.dtype(np.uint8), x[1])]


def _infer_gradient(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    g, x, scale, *rest = inputs
    assert x is not None
    assert scale is not None
    if g is None or g[1] != x[1]:
        raise ShapeError(f"the gradient must have the input's shape {x[1]}")
    if attributes.get("activation", "") and (len(rest) < 3 or rest[2] is None):
        raise ShapeError("the gradient through an activation needs its mask as sixth input")
    return [x, scale, scale]


def _frozen_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """Statistics are frozen: the operator is a scale and a shift of every channel."""
    scale, _, mean, variance = (_vector(item, call) for item in call.inputs[1:5])
    inverse = 1.0 / emit("Sqrt", variance + float(call.attribute("epsilon", 1e-5)))
    dx = g * (scale * inverse) if call.wants[0] else None
    dscale = dbias = None
    if call.wants[1]:
        dscale = _folded(g * ((call.x - mean) * inverse), scale, call.inputs[1])
    if call.wants[2]:
        dbias = _folded(g, scale, call.inputs[2])
    return [dx, dscale, dbias, None, None]


def _vector(item: Expression | None, call: Call) -> Expression:
    assert item is not None
    if call.version < 9 and not call.attribute("spatial", 1):
        return reshape(item, (1, *item.shape))
    return reshape(item, (1, *item.shape, *(1,) * (call.x.ndim - 2)))


def _folded(g: Expression, broadcast: Expression, like: Expression | None) -> Expression:
    assert like is not None
    return reshape(unbroadcast(g, broadcast.shape), like.shape)


def _gradient(call: Call, g: Expression | None, *moved: Expression | None) -> list[Expression | None]:
    """In training mode, for a node that was not replaced by its training form: the statistics are taken again."""
    if g is None:
        return [None] * 5
    if not call.attribute("training_mode", 0):
        return _frozen_gradient(call, g)
    epsilon = float(call.attribute("epsilon", 1e-5))
    made = emit("BatchNormalizationTraining", *call.inputs, domain=TOOLKIT_DOMAIN, epsilon=epsilon, outputs=5)
    return _emitted(call, g, made[3], made[4], None, {"epsilon": epsilon, "activation": ""})


def _training_gradient(call: Call, g: Expression | None, *moved: Expression | None) -> list[Expression | None]:
    if g is None:
        return [None] * 5
    mean, variance = call.outputs[3:5]
    mask = call.outputs[5] if len(call.outputs) > 5 else None
    attributes = {"epsilon": call.attribute("epsilon", 1e-5), "activation": call.attribute("activation", "")}
    return _emitted(call, g, mean, variance, mask, attributes)


def _emitted(
    call: Call,
    g: Expression,
    mean: Expression | None,
    variance: Expression | None,
    mask: Expression | None,
    attributes: dict[str, Any],
) -> list[Expression | None]:
    inputs = [g, call.x, call.inputs[1], mean, variance, *([] if mask is None else [mask])]
    dx, dscale, dbias = emit("BatchNormalizationGradient", *inputs, domain=TOOLKIT_DOMAIN, **attributes, outputs=3)
    return [dx, dscale, dbias, None, None]


operator("BatchNormalization", since=7, reference=_with_spatial, gradient=_gradient)
operator("BatchNormalization", since=9, reference=_frozen, gradient=_gradient)
operator("BatchNormalization", since=14, reference=_batch_normalization, gradient=_gradient)
operator(
    "BatchNormalizationTraining",
    domain=TOOLKIT_DOMAIN,
    reference=_training,
    gradient=_training_gradient,
    infer=_infer_training,
)
operator(
    "BatchNormalizationGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_gradient_reference,
    gradient=not_differentiable("second derivatives through batch statistics are not written down"),
    infer=_infer_gradient,
)
