"""Normalisation of each image by itself: over its positions, over groups of channels, over neighbours, or by a norm.

Their gradients are plain expressions. Batch and layer normalisation have families of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.composed import composed
from toolkit.operators.expression import Expression, emit, indices, reduce_sum, reshape, unbroadcast, where
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.pooling import power_slope


def _standardized(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + x.dtype.type(epsilon)), like=x)


def _mean(x: Expression, axes: Sequence[int]) -> Expression:
    mean: Expression = emit("ReduceMean", x, indices(x, axes), keepdims=1)
    return mean


def standardize(x: Expression, axes: Sequence[int], epsilon: float) -> tuple[Expression, Expression]:
    """``x`` with mean 0 and variance 1 over ``axes``, and the factor that it was scaled by."""
    centred = x - _mean(x, axes)
    inverse = 1.0 / emit("Sqrt", _mean(centred * centred, axes) + epsilon)
    return centred * inverse, inverse


def through_statistics(g: Expression, normal: Expression, inverse: Expression, axes: Sequence[int]) -> Expression:
    """The gradient of ``x`` from the gradient ``g`` of ``standardize``'s result."""
    return (g - _mean(g, axes) - normal * _mean(g * normal, axes)) * inverse


def _affine(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    sizes = (1, -1, *(1,) * (x.ndim - 2))
    return np.asarray(x * scale.reshape(sizes) + bias.reshape(sizes), like=x)


@in_float32
def _instance_normalization(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, *, epsilon: float = 1e-5) -> np.ndarray:
    return _affine(_standardized(x, tuple(range(2, x.ndim)), epsilon), scale, bias)


def _instance_normalization_1(
    x: np.ndarray, scale: np.ndarray, bias: np.ndarray, *, epsilon: float = 1e-5, consumed_inputs: Any = None
) -> np.ndarray:
    """Version 1 also carries a hint that nobody reads any more."""
    result: np.ndarray = _instance_normalization(x, scale, bias, epsilon=epsilon)
    return result


def _grouped(x: np.ndarray, num_groups: int) -> np.ndarray:
    return x.reshape(x.shape[0], num_groups, x.size // max(x.shape[0] * num_groups, 1))


@in_float32
def _group_normalization_18(
    x: np.ndarray, scale: np.ndarray, bias: np.ndarray, *, num_groups: int, epsilon: float = 1e-5
) -> np.ndarray:
    """Version 18: one scale and one bias per group."""
    return _affine(_standardized(_grouped(x, num_groups), (2,), epsilon), scale, bias).reshape(x.shape)


@in_float32
def _group_normalization(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> np.ndarray:
    """From version 21 on: one scale and one bias per channel."""
    return _affine(_standardized(_grouped(x, num_groups), (2,), epsilon).reshape(x.shape), scale, bias)


def _infer_group(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, groups = inputs[0], int(attributes["num_groups"])
    assert x is not None
    if len(x[1]) < 2 or groups < 1 or x[1][1] % groups:
        raise ShapeError(f"the channels of {x[1]} must divide into {groups} groups")
    return [x]


def _affine_gradient(call: Call, g: Expression, shape: Sequence[int], axes: Sequence[int]) -> list[Expression | None]:
    """The gradients of input, scale and bias where ``x``, given ``shape``, is normalised over ``axes``.

    Scale and bias count along axis 1 of ``shape`` if they have as many elements, else along the channels of ``x``.
    """
    x, scale, bias = call.inputs
    assert x is not None
    assert scale is not None
    assert bias is not None
    inner = tuple(shape) if scale.shape == tuple(shape[1:2]) else x.shape
    sizes = (1, inner[1], *(1,) * (len(inner) - 2))
    normal, inverse = standardize(reshape(x, shape), axes, float(call.attribute("epsilon", 1e-5)))
    g = reshape(g, inner)
    dx = dscale = dbias = None
    if call.wants[0]:
        scaled = reshape(g * reshape(scale, sizes), shape)
        dx = reshape(through_statistics(scaled, normal, inverse, axes), x.shape)
    if call.wants[1]:
        dscale = reshape(unbroadcast(g * reshape(normal, inner), sizes), scale.shape)
    if call.wants[2]:
        dbias = reshape(unbroadcast(g, sizes), bias.shape)
    return [dx, dscale, dbias]


def _instance_gradient(call: Call, g: Expression) -> list[Expression | None]:
    return _affine_gradient(call, g, call.x.shape, range(2, call.x.ndim))


def _group_gradient(call: Call, g: Expression) -> list[Expression | None]:
    batch, groups = call.x.shape[0], int(call.attributes["num_groups"])
    return _affine_gradient(call, g, (batch, groups, int(np.prod(call.x.shape)) // max(batch * groups, 1)), [2])


@in_float32
def _lrn(x: np.ndarray, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> np.ndarray:
    """Every element divided by a power of the squares in a window of ``size`` channels around its own."""
    squares, channels, before = np.square(x), x.shape[1], (size - 1) // 2
    total = np.zeros_like(x)
    for offset in range(max(-before, 1 - channels), min(size - before, channels)):
        here, there = (
            slice(max(-offset, 0), channels - max(offset, 0)),
            slice(max(offset, 0), channels + min(offset, 0)),
        )
        total[:, here] += squares[:, there]
    return np.asarray(x / np.power(total * (alpha / size) + bias, beta), like=x)


def _neighbours(x: Expression, size: int, before: int) -> Expression:
    """The sum over a window of ``size`` channels that begins ``before`` channels ahead."""
    rows = reshape(x, (x.shape[0], 1, x.shape[1], int(np.prod(x.shape[2:]))))
    pads = [before, 0, size - 1 - before, 0]
    mean = emit("AveragePool", rows, kernel_shape=[size, 1], strides=[1, 1], pads=pads, count_include_pad=1)
    return reshape(mean * float(size), x.shape)


def _lrn_gradient(call: Call, g: Expression) -> list[Expression | None]:
    x, size = call.x, int(call.attributes["size"])
    alpha, beta = float(call.attribute("alpha", 1e-4)), float(call.attribute("beta", 0.75))
    before = (size - 1) // 2
    base = _neighbours(x * x, size, before) * (alpha / size) + float(call.attribute("bias", 1.0))
    direct = g / emit("Pow", base, beta)
    shared = _neighbours(direct * x / base, size, size - 1 - before)
    return [direct - x * shared * (2.0 * alpha * beta / size)]


@in_float32
def _lp_normalization(x: np.ndarray, *, axis: int = -1, p: int = 2) -> np.ndarray:
    """``x`` over its norm along ``axis``; zero stays zero."""
    norm = np.abs(x).sum(axis=axis, keepdims=True) if p == 1 else np.sqrt(np.square(x).sum(axis=axis, keepdims=True))
    return np.asarray(x / np.where(norm == 0, x.dtype.type(1), norm), like=x)


def _lp_gradient(call: Call, g: Expression) -> list[Expression | None]:
    p, axes = int(call.attribute("p", 2)), [int(call.attribute("axis", -1))]
    powers = emit("Abs", call.x) if p == 1 else call.x * call.x
    norm = reduce_sum(powers, axes)
    norm = norm if p == 1 else emit("Sqrt", norm)
    norm = where(emit("Equal", norm, 0.0), 1.0, norm)
    along = call.y if p == 2 else power_slope(call.x, p)
    return [(g - along * reduce_sum(g * call.y, axes)) / norm]


MEAN_VARIANCE_EPSILON = 1e-9


@in_float32
def _mean_variance_normalization(x: np.ndarray, *, axes: Sequence[int] = (0, 2, 3)) -> np.ndarray:
    """The function body of the schema: the standard deviation, not the variance, has a small number added."""
    centred = x - x.mean(axis=tuple(axes), keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=tuple(axes), keepdims=True))
    return np.asarray(centred / (deviation + x.dtype.type(MEAN_VARIANCE_EPSILON)), like=x)


def _mean_variance_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """Where all elements are equal, the deviation does not count: it has no slope there."""
    axes = [int(axis) for axis in call.attribute("axes", (0, 2, 3))]
    centred = call.x - _mean(call.x, axes)
    deviation = emit("Sqrt", _mean(centred * centred, axes))
    inverse = 1.0 / (deviation + MEAN_VARIANCE_EPSILON)
    along = centred * (_mean(g * centred, axes) * inverse / where(emit("Equal", deviation, 0.0), 1.0, deviation))
    return [(g - _mean(g, axes) - along) * inverse]


def _mean_variance_normalization_1(call: Call) -> list[Expression | None]:
    """Before version 9, as onnxruntime keeps it: for each channel or across them, and the variance on demand."""
    axes = [axis for axis in range(call.x.ndim) if axis != 1 or call.attribute("across_channels", 0)]
    centred = call.x - _mean(call.x, axes)
    if not call.attribute("normalize_variance", 1):
        return [centred]
    return [centred / (emit("Sqrt", _mean(centred * centred, axes)) + MEAN_VARIANCE_EPSILON)]


def _same(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert inputs[0] is not None
    return [inputs[0]]


operator("InstanceNormalization", reference=_instance_normalization_1, gradient=_instance_gradient, infer=_same)
operator("InstanceNormalization", since=6, reference=_instance_normalization, gradient=_instance_gradient)
operator(
    "GroupNormalization",
    since=18,
    reference=_group_normalization_18,
    gradient=_group_gradient,
    infer=_infer_group,
)
operator(
    "GroupNormalization",
    since=21,
    reference=_group_normalization,
    gradient=_group_gradient,
    infer=_infer_group,
)
composed("MeanVarianceNormalization", _mean_variance_normalization_1)
operator("LRN", reference=_lrn, gradient=_lrn_gradient)
operator("LpNormalization", reference=_lp_normalization, gradient=_lp_gradient)
operator(
    "MeanVarianceNormalization",
    since=9,
    reference=_mean_variance_normalization,
    gradient=_mean_variance_gradient,
    infer=_same,
)
