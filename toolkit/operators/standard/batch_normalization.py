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
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, indices, reshape
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.batch_normalization_gradient import channelwise, gradient_of_inputs, training_gradient

FLOAT32 = np.dtype(np.float32)


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
    factor = scale / np.sqrt(variance + variance.dtype.type(epsilon))
    y = x * channelwise(factor, x.ndim)
    y += channelwise(bias - mean * factor, x.ndim)
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
    residual: np.ndarray | None = None,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    activation: str = "",
    activation_alpha: float = 0.0,
    activation_beta: float = 0.0,
) -> tuple[np.ndarray | None, ...]:
    """A residual is added before the activation. The mask of what the latter let through comes last.

    Clip, with its bounds, is taken in behind placement, as a residual is.
    """
    y, *statistics = normalise_batch(x, scale, bias, mean, variance, epsilon=epsilon, momentum=momentum)
    if residual is not None:
        y = y + residual
    if not activation:
        return (y, *statistics, None)
    low, high = (0.0, math.inf) if activation == "Relu" else (activation_alpha, activation_beta)
    passed = (y > y.dtype.type(low)) & (y < y.dtype.type(high))
    return (np.clip(y, low, high).astype(y.dtype, copy=False), *statistics, passed.view(np.uint8))


def _infer_training(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, vectors, residual = inputs[0], inputs[1:5], (*inputs[5:], None)[0]
    assert x is not None
    if len(x[1]) < 2:
        raise ShapeError(f"the input must be (batch, channels, ...), got {x[1]}")
    if residual is not None and residual[1] != x[1]:
        raise ShapeError(f"the residual must have the input's shape {x[1]}, got {residual[1]}")
    for item in vectors:
        if item is None or item[1] != x[1][1:2]:
            raise ShapeError(f"scale, bias, mean and variance must be vectors of {x[1][1]} channels, got {item}")
    if attributes.get("activation", "") not in ("", "Relu", "Clip"):
        raise ShapeError(f"activation must be '', 'Relu' or 'Clip', got {attributes['activation']!r}")
    scale, _, mean, variance = (item for item in vectors if item is not None)
    return [x, mean, variance, (scale[0], scale[1]), (scale[0], scale[1]), (np.dtype(np.uint8), x[1])]


def _training_expansion(call: Call) -> list[Expression | None]:
    """The training form from standard operators: the statistics are means over all axes but the channels'."""
    given = [item for item in call.inputs[:5] if item is not None]
    x, scale, bias, mean, variance = (cast(item, FLOAT32) if item.dtype in HALF_WIDTH else item for item in given)
    axes, across = indices(x, [0, *range(2, x.ndim)]), (1, x.shape[1], *(1,) * (x.ndim - 2))
    momentum = float(call.attribute("momentum", 0.9))
    batch_mean = emit("ReduceMean", x, axes, keepdims=0)
    centred = x - reshape(batch_mean, across)
    batch_variance = emit("ReduceMean", centred * centred, axes, keepdims=0)
    inverse = 1.0 / emit("Sqrt", batch_variance + float(call.attribute("epsilon", 1e-5)))
    y = centred * reshape(scale * inverse, across) + reshape(bias, across)
    if len(call.inputs) > 5 and call.inputs[5] is not None:
        y = y + cast(call.inputs[5], y.dtype)
    moved = [
        running * momentum + batch * (1.0 - momentum)
        for running, batch in ((mean, batch_mean), (variance, batch_variance))
    ]
    mask = None
    if call.attribute("activation", "") == "Relu":
        y, mask = emit("Relu", y), cast(emit("Greater", y, 0.0), np.dtype(np.uint8))
    elif call.attribute("activation", "") == "Clip":
        low, high = float(call.attributes["activation_alpha"]), float(call.attributes["activation_beta"])
        passed = emit("And", emit("Greater", y, low), emit("Less", y, high))
        y, mask = emit("Clip", y, low, high), cast(passed, np.dtype(np.uint8))
    pairs = zip((y, *moved, batch_mean, batch_variance), (given[index] for index in (0, 3, 4, 1, 1)), strict=True)
    return [*(cast(item, model.dtype) for item, model in pairs), mask]


def _gradient(call: Call, *grads: Expression | None) -> list[Expression | None]:
    return gradient_of_inputs(call, grads, bool(call.attribute("training_mode", 0)), statistics_shape(call.x.shape))


operator("BatchNormalization", since=14, reference=_batch_normalization, gradient=_gradient)
operator(
    "BatchNormalizationTraining",
    domain=TOOLKIT_DOMAIN,
    reference=_training,
    gradient=training_gradient,
    infer=_infer_training,
    expansion=_training_expansion,
)
