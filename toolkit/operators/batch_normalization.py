"""BatchNormalization: with frozen statistics, and the training form of our own that keeps what its gradient needs.

Channels are axis 1. Statistics of a batch are taken over all other axes; the variance is the biased one throughout, as
ONNX says. Versions before 14 are in ``former_batch_normalization``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape, unbroadcast
from toolkit.operators.precision import HALF_WIDTH, in_float32
from toolkit.operators.record import Call, TensorType, not_differentiable, operator


def _channelwise(vector: np.ndarray, ndim: int) -> np.ndarray:
    """Broadcastable to (batch, channels, ...)."""
    return vector.reshape(1, -1, *(1,) * (ndim - 2))


def statistics_shape(shape: Sequence[int], spatial: int = 1) -> tuple[int, ...]:
    """The shape in which a tensor has one statistic per entry of axis 1.

    A tensor of one axis has one channel; without ``spatial`` every element of an image is a channel.
    """
    if len(shape) == 1:
        return (shape[0], 1)
    return tuple(shape) if spatial else (shape[0], math.prod(shape[1:]))


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype in HALF_WIDTH else array


def _like(results: Sequence[np.ndarray], models: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The results in type and shape of their models: the statistics may be wider than what they describe."""
    pairs = zip(results, models, strict=True)
    return tuple(result.astype(model.dtype, copy=False).reshape(model.shape) for result, model in pairs)


def _normalized(x: np.ndarray, statistics: Sequence[np.ndarray], epsilon: float) -> np.ndarray:
    scale, bias, mean, variance = statistics
    factor = scale / np.sqrt(variance + np.asarray(epsilon, variance.dtype))
    y = x * _channelwise(factor, x.ndim)
    y += _channelwise(bias - mean * factor, x.ndim)
    return y


def normalise(x: np.ndarray, *statistics: np.ndarray, epsilon: float, spatial: int = 1) -> np.ndarray:
    """``x`` scaled and shifted by the statistics that are given."""
    view = _wide(x).reshape(statistics_shape(x.shape, spatial))
    y = _normalized(view, [_wide(item).reshape(-1) for item in statistics], epsilon)
    return y.astype(x.dtype, copy=False).reshape(x.shape)


def normalise_batch(
    x: np.ndarray, *statistics: np.ndarray, epsilon: float, momentum: float, spatial: int = 1
) -> tuple[np.ndarray, ...]:
    """``x`` scaled and shifted by its own statistics; the moved running ones, and its own mean and variance."""
    view, scale, mean = _wide(x).reshape(statistics_shape(x.shape, spatial)), statistics[0], statistics[2]
    results = _train(view, *(_wide(item).reshape(-1) for item in statistics), epsilon=epsilon, momentum=momentum)
    return _like(results, (x, mean, statistics[3], scale, scale))


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
        return normalise(x, scale, bias, mean, variance, epsilon=epsilon), mean, variance
    return normalise_batch(x, scale, bias, mean, variance, epsilon=epsilon, momentum=momentum)[:3]


def _batch_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    axes = (0, *range(2, x.ndim))
    return x.mean(axis=axes), x.var(axis=axes)


def _train(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    epsilon: float,
    momentum: float,
) -> tuple[np.ndarray, ...]:
    batch_mean, batch_variance = _batch_statistics(x)
    y = _normalized(x, (scale, bias, batch_mean, batch_variance), epsilon)
    moved = (
        running * momentum + batch * (1.0 - momentum)
        for running, batch in ((mean, batch_mean), (variance, batch_variance))
    )
    return y, *moved, batch_mean, batch_variance


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
    y, *statistics = normalise_batch(x, scale, bias, mean, variance, epsilon=epsilon, momentum=momentum)
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


def gradient_of_inputs(call: Call, g: Expression | None, trains: bool, spatial: int = 1) -> list[Expression | None]:
    """The gradients of input, scale and bias; the statistics get none."""
    if g is None:
        return [None] * 5
    first, *vectors = (item for item in call.inputs if item is not None)
    types = {item.dtype for item in (first, *vectors)}
    dtype = types.pop() if len(types) == 1 else np.dtype(np.float32)
    view = statistics_shape(first.shape, spatial)
    x, g = cast(reshape(first, view), dtype), cast(reshape(g, view), dtype)
    channels = [cast(reshape(item, (view[1],)), dtype) for item in vectors]
    rule = _batch_gradient if trains else _frozen_gradient
    parts = rule(call, g, x, channels)
    pairs = zip(parts, (first, *vectors), strict=False)
    found = [None if part is None else cast(reshape(part, item.shape), item.dtype) for part, item in pairs]
    return [*found, None, None]


def _frozen_gradient(
    call: Call, g: Expression, x: Expression, vectors: Sequence[Expression]
) -> Sequence[Expression | None]:
    """Statistics are frozen: the operator is a scale and a shift of every channel."""
    across = (1, x.shape[1], *(1,) * (x.ndim - 2))
    scale, _, mean, variance = (reshape(item, across) for item in vectors)
    inverse = 1.0 / emit("Sqrt", variance + float(call.attribute("epsilon", 1e-5)))
    return [
        g * (scale * inverse) if call.wants[0] else None,
        unbroadcast(g * ((x - mean) * inverse), across) if call.wants[1] else None,
        unbroadcast(g, across) if call.wants[2] else None,
    ]


def _batch_gradient(
    call: Call, g: Expression, x: Expression, vectors: Sequence[Expression]
) -> Sequence[Expression | None]:
    """For a node that was not replaced by its training form: the statistics of the batch are taken again."""
    epsilon = float(call.attribute("epsilon", 1e-5))
    made = emit("BatchNormalizationTraining", x, *vectors, domain=TOOLKIT_DOMAIN, epsilon=epsilon, outputs=5)
    return _emitted(g, x, vectors[0], made[3], made[4], None, {"epsilon": epsilon, "activation": ""})


def _gradient(call: Call, g: Expression | None, *moved: Expression | None) -> list[Expression | None]:
    return gradient_of_inputs(call, g, bool(call.attribute("training_mode", 0)))


def _training_gradient(call: Call, g: Expression | None, *moved: Expression | None) -> list[Expression | None]:
    if g is None:
        return [None] * 5
    mean, variance = call.outputs[3:5]
    mask = call.outputs[5] if len(call.outputs) > 5 else None
    attributes = {"epsilon": call.attribute("epsilon", 1e-5), "activation": call.attribute("activation", "")}
    return [*_emitted(g, call.x, call.inputs[1], mean, variance, mask, attributes), None, None]


def _emitted(
    g: Expression,
    x: Expression,
    scale: Expression | None,
    mean: Expression | None,
    variance: Expression | None,
    mask: Expression | None,
    attributes: dict[str, Any],
) -> list[Expression]:
    inputs = [g, x, scale, mean, variance, *([] if mask is None else [mask])]
    made: list[Expression] = emit("BatchNormalizationGradient", *inputs, domain=TOOLKIT_DOMAIN, **attributes, outputs=3)
    return made


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
