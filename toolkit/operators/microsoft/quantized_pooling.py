"""com.microsoft reductions of quantised tensors: means over windows, channels and axes, and ReduceSumInteger.

Windows are small, so their sums are float32 numbers, as in onnxruntime; larger sums are exact, of integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import normalised
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.microsoft.quantized_convolution import channels_back, channels_first, first_shape, last_shape
from toolkit.operators.record import TensorType, operator
from toolkit.operators.standard.pooling import Box, pooled_shape
from toolkit.operators.standard.quantization import ROUNDS, centered, dequantize, quantize, rounded
from toolkit.operators.standard.quantized_convolution import one
from toolkit.operators.standard.quantized_linear import INTEGERS

Array = np.ndarray
Types = Sequence[TensorType | None]


def _requantized(
    total: Array, count: Array | int, x_scale: Array, y_scale: Array, y_zero_point: Array | None, dtype: np.dtype
) -> Array:
    mean = (total / count).astype(np.float32)
    return rounded(mean * x_scale.reshape(()) / y_scale.reshape(()), one(y_zero_point), dtype)


def qlinear_average_pool(
    x: Array,
    x_scale: Array,
    x_zero_point: Array | None,
    y_scale: Array,
    y_zero_point: Array | None = None,
    *,
    channels_last: int = 0,
    count_include_pad: int = 0,
    **window: Any,
) -> Array:
    """AveragePool; padding, where it counts, stands for zero."""
    image = channels_first(dequantize(x, x_scale.reshape(()), one(x_zero_point)), channels_last)
    box = Box(window, image.shape)
    y = quantize(
        box.sums(image) / box.counts(count_include_pad, image).astype(np.float32),
        y_scale.reshape(()),
        one(y_zero_point),
        x.dtype,
    )
    return channels_back(y, channels_last)


def qlinear_global_average_pool(
    x: Array, x_scale: Array, x_zero_point: Array, y_scale: Array, y_zero_point: Array, *, channels_last: int = 0
) -> Array:
    """The mean of each channel."""
    axes = tuple(range(1, x.ndim - 1)) if channels_last else tuple(range(2, x.ndim))
    return qlinear_reduce_mean(x, x_scale, x_zero_point, y_scale, y_zero_point, axes=axes, keepdims=1)


def qlinear_reduce_mean(
    x: Array,
    x_scale: Array,
    x_zero_point: Array | None,
    y_scale: Array,
    y_zero_point: Array | None = None,
    *,
    axes: Sequence[int] | None = None,
    keepdims: int = 1,
) -> Array:
    """The mean over ``axes``, all of them by default."""
    over = _axes(axes, x.ndim)
    count = int(np.prod([x.shape[axis] for axis in over], dtype=np.int64))
    total = centered(x, one(x_zero_point), np.dtype(np.float64)).sum(axis=over, keepdims=bool(keepdims))
    return _requantized(total, count, x_scale, y_scale, y_zero_point, x.dtype)


def reduce_sum_integer(x: Array, *, axes: Sequence[int] | None = None, keepdims: int = 1) -> Array:
    """The 32-bit sum over ``axes``, all of them by default."""
    return np.asarray(x.sum(axis=_axes(axes, x.ndim), keepdims=bool(keepdims), dtype=_sum_type(x.dtype)), like=x)


def _sum_type(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.uint32 if dtype.kind == "u" else np.int32)


def _axes(axes: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    return normalised(axes, rank) if axes else tuple(range(rank))


def _infer_pooled(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    dtype, shape = types[0]
    flag = int(attributes.get("channels_last", 0))
    return [(dtype, last_shape(pooled_shape(attributes, first_shape(shape, flag)), flag))]


def _infer_global(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    dtype, shape = types[0]
    kept = (0, len(shape) - 1) if attributes.get("channels_last", 0) else (0, 1)
    return [(dtype, tuple(size if axis in kept else 1 for axis, size in enumerate(shape)))]


def _infer_reduced(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    dtype, shape = types[0]
    over = _axes(attributes.get("axes"), len(shape))
    if attributes.get("keepdims", 1):
        return [(dtype, tuple(1 if axis in over else size for axis, size in enumerate(shape)))]
    return [(dtype, tuple(size for axis, size in enumerate(shape) if axis not in over))]


def _infer_sum(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    (reduced,) = _infer_reduced(types, attributes, _)
    return [(_sum_type(reduced[0]), reduced[1])]


for _name, _reference, _rule in (
    ("QLinearAveragePool", qlinear_average_pool, _infer_pooled),
    ("QLinearGlobalAveragePool", qlinear_global_average_pool, _infer_global),
    ("QLinearReduceMean", qlinear_reduce_mean, _infer_reduced),
):
    operator(_name, domain=MICROSOFT, reference=_reference, gradient=ROUNDS, infer=_rule)
operator("ReduceSumInteger", domain=MICROSOFT, reference=reduce_sum_integer, gradient=INTEGERS, infer=_infer_sum)
