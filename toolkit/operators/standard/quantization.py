"""QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, and the arithmetic that all quantised operators share.

A tensor is quantised as a whole, per index of an axis, or in blocks along an axis; which one the shape of its scale
tells. Rounding is half to even. Up to opset 21 quotients are float32, whatever the input; from 23 on they are of the
scale's type unless ``precision`` says otherwise. NaN becomes the smallest number of an integer type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.operators import wire
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, as_expression, emit, indices, reduce_sum, reshape
from toolkit.operators.record import Call, TensorType, not_differentiable, operator
from toolkit.operators.standard.cast import convert

ROUNDS = not_differentiable(
    "rounding has no slope but 0, and no straight-through estimator is written for this operator", slope_is_zero=False
)
ROUNDS_UNLESS_ASKED = not_differentiable(
    "rounding has no slope but 0; straight_through=True trains through it, up to a DequantizeLinear",
    slope_is_zero=False,
)
NARROW_INTEGERS = frozenset(np.dtype(getattr(ml_dtypes, name)) for name in ("int2", "uint2", "int4", "uint4"))


def is_integer(dtype: np.dtype) -> bool:
    """Whether the type holds integers, those of 2 and 4 bits included."""
    return dtype.kind in "iu" or dtype in NARROW_INTEGERS


def aligned(parameter: np.ndarray, shape: Sequence[int], axis: int = 1, block_size: int = 0) -> np.ndarray:
    """A scale or zero point in a form that broadcasts with the tensor of ``shape`` it belongs to.

    Raises ``ValueError`` where its size is not that of the tensor, the axis or the number of blocks.
    """
    place = scaled_axis(parameter.shape, shape, axis, block_size)
    if place is None:
        return parameter.reshape(())
    if block_size:
        return np.repeat(parameter, block_size, axis=place)[(*[slice(None)] * place, slice(shape[place]))]
    return parameter.reshape([-1 if number == place else 1 for number in range(len(shape))])


def scaled_axis(parameter: Sequence[int], shape: Sequence[int], axis: int = 1, block_size: int = 0) -> int | None:
    """The axis of a tensor of ``shape`` along which a scale of the shape ``parameter`` differs, ``None`` for none.

    Raises ``ValueError`` as ``aligned`` does.
    """
    if not block_size and all(size == 1 for size in parameter):
        return None
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis must lie in [{-len(shape)}, {len(shape) - 1}], got {axis}")
    place = axis % len(shape)
    if block_size:
        wanted = (*shape[:place], -(-shape[place] // block_size), *shape[place + 1 :])
        what = f"blocks of {block_size} along axis {axis}"
    else:
        wanted, what = (shape[place],), f"axis {axis}"
    if tuple(parameter) != wanted:
        raise ValueError(f"scale and zero point must be one number, or {wanted} for {what}, got {tuple(parameter)}")
    return place


def rounded(quotient: np.ndarray, zero_point: np.ndarray | None, dtype: np.dtype, saturate: int = 1) -> np.ndarray:
    """``quotient + zero_point`` as the quantised type; integers are rounded before the addition and saturate."""
    if not is_integer(dtype):
        return convert(
            quotient if zero_point is None else quotient + zero_point.astype(quotient.dtype), dtype, saturate
        )
    y = np.rint(quotient.astype(np.promote_types(quotient.dtype, np.float32), copy=False))[...]  # never a scalar
    if zero_point is not None:
        y += zero_point.astype(y.dtype)
    limits = ml_dtypes.iinfo(dtype)
    np.fmin(np.fmax(y, limits.min, out=y), limits.max, out=y)
    return y.astype(np.int32).astype(dtype) if dtype in NARROW_INTEGERS else y.astype(dtype)


def centered(x: np.ndarray, zero_point: np.ndarray | None, dtype: np.dtype) -> np.ndarray:
    """``x - zero_point`` as floats of ``dtype``, exact for all types but int32."""
    if zero_point is not None and x.dtype == np.int32:
        return (x.astype(np.int64) - zero_point).astype(dtype)
    wide = x.astype(np.float32) if x.dtype.kind == "V" else x
    y: np.ndarray = wide.astype(dtype)
    if zero_point is not None:
        y -= zero_point.astype(np.float32).astype(dtype)
    return y


def quantize(
    x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None, dtype: np.dtype | None = None
) -> np.ndarray:
    """``x`` on the grid of ``scale`` and ``zero_point``, which broadcast with it; in float32."""
    target = dtype if dtype is not None else np.dtype(np.uint8) if zero_point is None else zero_point.dtype
    return rounded(x.astype(np.float32, copy=False) / scale.astype(np.float32), zero_point, target)


def dequantize(x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None) -> np.ndarray:
    """The numbers that a quantised tensor stands for; scale and zero point broadcast with it; in float32."""
    return centered(x, zero_point, np.dtype(np.float32)) * scale.astype(np.float32)


def quantize_linear(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray | None = None,
    *,
    axis: int = 1,
    saturate: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> np.ndarray:
    """ONNX QuantizeLinear up to opset 21."""
    return _on_grid(x, scale, zero_point, axis, saturate, block_size, output_dtype, np.dtype(np.float32))


def quantize_linear_with_precision(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray | None = None,
    *,
    axis: int = 1,
    saturate: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
) -> np.ndarray:
    """ONNX QuantizeLinear from opset 23 on."""
    quotient_type = type_of_quotients(scale.dtype, precision)
    return _on_grid(x, scale, zero_point, axis, saturate, block_size, output_dtype, quotient_type)


def type_of_quotients(scale: np.dtype, precision: int = 0) -> np.dtype:
    """The type in which QuantizeLinear divides from opset 23 on."""
    found = wire.element_dtype(precision) if precision else scale
    if found == ml_dtypes.float8_e8m0fnu:
        return np.dtype(np.float32)
    return np.dtype(np.float64) if found.kind in "iu" else found


def _on_grid(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray | None,
    axis: int,
    saturate: int,
    block_size: int,
    output_dtype: int,
    quotient_type: np.dtype,
) -> np.ndarray:
    wanted = wire.element_dtype(output_dtype) if output_dtype else None
    if zero_point is None:
        target = wanted or np.dtype(np.uint8)
    elif wanted not in (None, zero_point.dtype):
        raise ValueError(f"output_dtype {wanted} must be the zero point's type {zero_point.dtype}: leave it out")
    else:
        target = zero_point.dtype
        zero_point = aligned(zero_point, x.shape, axis, block_size)
    return rounded(quotients(x, scale, axis, block_size, quotient_type), zero_point, target, saturate)


def quotients(x: np.ndarray, scale: np.ndarray, axis: int, block_size: int, dtype: np.dtype) -> np.ndarray:
    """``x`` in steps of its scale."""
    divisor = aligned(scale, x.shape, axis, block_size).astype(dtype)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(x.astype(dtype, copy=False) / divisor, like=x)


def dequantize_linear(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> np.ndarray:
    """ONNX DequantizeLinear: products in float32, narrowed once."""
    target = wire.element_dtype(output_dtype) if output_dtype else scale.dtype
    compute = np.dtype(np.float64 if scale.dtype == np.float64 else np.float32)
    if zero_point is not None:
        zero_point = aligned(zero_point, x.shape, axis, block_size)
    y = centered(x, zero_point, compute)
    y *= aligned(scale, x.shape, axis, block_size).astype(compute)
    return y.astype(target, copy=False)


def dequantize_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """The output is linear in the scale; each scale collects from the elements that it multiplies."""
    x, scale, *rest = call.inputs
    assert x is not None and scale is not None
    none_further = [None] * len(rest)
    if not call.wants[1]:
        return [None, None, *none_further]
    ones = as_expression(np.ones(scale.shape, scale.dtype), x)
    version = max(call.version, 13)  # com.microsoft's is version 1, and knows nothing that 13 does not
    integers = emit("DequantizeLinear", x, ones, *rest, version=version, **call.attributes)
    each = cast(g, scale.dtype) * cast(integers, scale.dtype)
    axis, block = call.attribute("axis", 1), call.attribute("block_size", 0)
    return [None, sum_per_scale(each, scale.shape, axis, block), *none_further]


def sum_per_scale(each: Expression, shape: tuple[int, ...], axis: int, block_size: int) -> Expression:
    """Sums over what shares one entry of a scale of ``shape``: everything, all but an axis, or blocks of an axis."""
    place = scaled_axis(shape, each.shape, axis, block_size)
    if place is None:
        return reshape(reduce_sum(each, list(range(each.ndim))), shape)
    if block_size:
        missing = shape[place] * block_size - each.shape[place]
        if missing:
            pads = [0] * (2 * each.ndim)
            pads[each.ndim + place] = missing
            each = emit("Pad", each, indices(each, pads))
        blocks = (*shape[: place + 1], block_size, *shape[place + 1 :])
        return reduce_sum(reshape(each, blocks), [place + 1], keepdims=False)
    return reshape(reduce_sum(each, [number for number in range(each.ndim) if number != place]), shape)


def infer_quantized(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    """The shape of the input in the type that ``output_dtype`` or the zero point names, else uint8."""
    shape, zero_point = _scaled_shape(types, attributes), types[2] if len(types) > 2 else None
    if attributes.get("output_dtype"):
        return [(wire.element_dtype(attributes["output_dtype"]), shape)]
    return [(np.dtype(np.uint8) if zero_point is None else zero_point[0], shape)]


def infer_dequantized(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    """The shape of the input in the type that ``output_dtype`` names, else that of the scale."""
    shape, scale = _scaled_shape(types, attributes), types[1]
    assert scale is not None
    return [(wire.element_dtype(attributes["output_dtype"]) if attributes.get("output_dtype") else scale[0], shape)]


def _scaled_shape(types: Sequence[TensorType | None], attributes: dict[str, Any]) -> tuple[int, ...]:
    first = types[0]
    assert first is not None
    for parameter in types[1:]:
        if parameter is not None:
            scaled_axis(parameter[1], first[1], attributes.get("axis", 1), attributes.get("block_size", 0))
    return first[1]


def dynamic_range(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The uint8 scale and zero point whose grid covers ``x`` and 0; the scale of nothing but zeros is 1."""
    values = x if x.size else np.zeros(1, np.float32, like=x)
    low, high = np.minimum(values.min(), 0), np.maximum(values.max(), 0)
    scale = np.where(high > low, (high - low) / np.float32(255), np.float32(1))
    return scale, np.rint(np.clip(-low / scale, 0, 255)).astype(np.uint8)


def dynamic_quantize_linear(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ONNX DynamicQuantizeLinear: quantised values, scale and zero point."""
    scale, zero_point = dynamic_range(x)
    return quantize(x, scale, zero_point), scale, zero_point


operator("QuantizeLinear", since=10, reference=quantize_linear, gradient=ROUNDS_UNLESS_ASKED, infer=infer_quantized)
operator(
    "QuantizeLinear",
    since=23,
    reference=quantize_linear_with_precision,
    gradient=ROUNDS_UNLESS_ASKED,
    infer=infer_quantized,
)
operator(
    "DequantizeLinear",
    since=10,
    reference=dequantize_linear,
    gradient=dequantize_gradient,
    infer=infer_dequantized,
)
operator("DynamicQuantizeLinear", since=11, reference=dynamic_quantize_linear, gradient=ROUNDS_UNLESS_ASKED)
