"""Straight-through estimators: operators that compute what a rounding one computes, with the gradient of the identity.

A program gets them from the pass of the same name, and only where a training asks for it.

- StraightThrough does what Round, Floor, Ceil or Sign does; Sign passes the gradient where abs(x) <= 1.
- QuantizeStraightThrough gives the integers of QuantizeLinear as floats, and which of them were in range: only there
  the gradient passes (Bengio et al. 2013). Number formats of 8 bits and less are treated like integers.
- DynamicRange gives the scale and zero point that DynamicQuantizeLinear takes.
- DequantizeStraightThrough turns such floats into the numbers that they stand for.

``scale_slope`` 0 keeps the scale as it is. With another number the two give it, together, the gradient of learned step
sizes (Esser et al. 2020), multiplied by that number: rounding error inside the range, the bound outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.operators import wire
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, expand, indices, reshape, where
from toolkit.operators.record import Call, NotDifferentiable, TensorType, not_differentiable, operator
from toolkit.operators.standard.quantization import (
    aligned,
    dynamic_range,
    is_integer,
    quotients,
    rounded,
    scaled_axis,
    sum_per_scale,
)

STAYS = not_differentiable(
    "a step size learns where QuantizeLinear and DequantizeLinear share it as an initializer", slope_is_zero=True
)
STEPS = {"Round": np.rint, "Floor": np.floor, "Ceil": np.ceil, "Sign": np.sign}


def limits(dtype: np.dtype) -> tuple[float, float]:
    """The smallest and the largest number of a quantised type."""
    found = ml_dtypes.iinfo(dtype) if is_integer(dtype) else ml_dtypes.finfo(dtype)
    return float(found.min), float(found.max)


def step_size(scale: Expression, shape: Sequence[int], axis: int = 1, block_size: int = 0) -> Expression:
    """A scale or zero point in a form that broadcasts with the tensor of ``shape`` it belongs to."""
    place = scaled_axis(scale.shape, shape, axis, block_size)
    if place is None:
        return reshape(scale, ())
    if not block_size:
        return reshape(scale, [size if number == place else 1 for number, size in enumerate(shape)])
    before, blocks, after = scale.shape[:place], scale.shape[place], scale.shape[place + 1 :]
    repeated = expand(reshape(scale, (*before, blocks, 1, *after)), (*before, blocks, block_size, *after))
    whole = reshape(repeated, (*before, blocks * block_size, *after))
    if whole.shape[place] == shape[place]:
        return whole
    return emit("Slice", whole, indices(whole, [0]), indices(whole, [shape[place]]), indices(whole, [place]))


def _step(x: np.ndarray, *, operator: str) -> np.ndarray:
    return np.asarray(STEPS[operator](x), x.dtype, like=x)


def _step_gradient(call: Call, g: Expression) -> list[Expression | None]:
    if call.attribute("operator") != "Sign":
        return [g]
    return [where(emit("LessOrEqual", emit("Abs", call.x), 1), g, 0)]


def _step_expansion(call: Call) -> list[Expression | None]:
    return [emit(str(call.attribute("operator")), call.x)]


def _infer_step(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    return [types[0]]


def _quotient_type(x: np.dtype, number: int) -> np.dtype:
    return wire.element_dtype(number) if number else _grid_type(x)


def _grid_type(x: np.dtype) -> np.dtype:
    """What holds the numbers of a grid: exact for all but int32."""
    return np.dtype(np.float64 if x == np.float64 else np.float32)


def _quantize(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray | None = None,
    *,
    to: int,
    axis: int = 1,
    block_size: int = 0,
    saturate: int = 1,
    quotient: int = 0,
    scale_slope: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    target = wire.element_dtype(to)
    found = quotients(x, scale, axis, block_size, _quotient_type(x.dtype, quotient))
    offset = None if zero_point is None else aligned(zero_point, x.shape, axis, block_size)
    y = rounded(found, offset, target, saturate).astype(_grid_type(x.dtype))
    place = np.rint(found) if is_integer(target) else found
    place = place if offset is None else place + offset.astype(place.dtype)
    low, high = limits(target)
    return y, (place >= low) & (place <= high)


def _quantize_gradient(
    call: Call, g: Expression | None, _: Expression | None = None
) -> list[Expression | NotDifferentiable | None]:
    x, scale, *further = call.inputs
    inside = call.outputs[1]
    assert x is not None
    assert scale is not None
    assert inside is not None
    none_further: list[Expression | NotDifferentiable | None] = [None] * len(further)
    if g is None:
        return [None, None, *none_further]
    axis, block, slope = call.attribute("axis", 1), call.attribute("block_size", 0), call.attribute("scale_slope", 0.0)
    step = cast(step_size(scale, x.shape, axis, block), g.dtype)
    passed = where(inside, g / step, 0)
    dscale: Expression | NotDifferentiable = STAYS
    if call.wants[1] and slope:
        each = passed * cast(x, g.dtype) / step
        dscale = cast(sum_per_scale(each * -slope, scale.shape, axis, block), scale.dtype)
    return [cast(passed, x.dtype) if call.wants[0] else None, dscale, *none_further]


def _quantize_expansion(call: Call) -> list[Expression | None]:
    x, scale, zero_point = (*call.inputs, None)[:3]
    assert x is not None
    assert scale is not None
    axis, block, target = call.attribute("axis", 1), call.attribute("block_size", 0), call.attribute("to")
    dtype = _quotient_type(x.dtype, call.attribute("quotient", 0))
    found = cast(x, dtype) / cast(step_size(scale, x.shape, axis, block), dtype)
    place = emit("Round", found) if is_integer(wire.element_dtype(target)) else found
    if zero_point is not None:
        place = place + cast(step_size(zero_point, x.shape, axis, block), dtype)
    low, high = limits(wire.element_dtype(target))
    inside = emit("And", emit("GreaterOrEqual", place, low), emit("LessOrEqual", place, high))
    numbers = {"axis": axis, "block_size": block, "saturate": call.attribute("saturate", 1)}
    if zero_point is None:
        numbers["output_dtype"] = target
    if dtype != scale.dtype:
        numbers["precision"] = wire.element_type(dtype)
    y = emit("QuantizeLinear", x, scale, zero_point, **numbers)
    return [cast(y, _grid_type(x.dtype)), inside]


def _infer_quantized(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, *parameters = types
    assert x is not None
    _check(x[1], parameters, attributes)
    return [(_grid_type(x[0]), x[1]), (np.dtype(bool), x[1])]


def _dequantize(
    x: np.ndarray,
    scale: np.ndarray,
    zero_point: np.ndarray | None = None,
    *,
    to: int = 0,
    axis: int = 1,
    block_size: int = 0,
    scale_slope: float = 0.0,
) -> np.ndarray:
    y = x if zero_point is None else x - aligned(zero_point, x.shape, axis, block_size).astype(x.dtype)
    y = y * aligned(scale, x.shape, axis, block_size).astype(x.dtype)
    return y.astype(wire.element_dtype(to) if to else scale.dtype, copy=False)


def _centered(call: Call) -> Expression:
    x, _, zero_point = (*call.inputs, None)[:3]
    assert x is not None
    if zero_point is None:
        return x
    return x - cast(step_size(zero_point, x.shape, call.attribute("axis", 1), call.attribute("block_size", 0)), x.dtype)


def _dequantize_gradient(call: Call, g: Expression) -> list[Expression | NotDifferentiable | None]:
    x, scale, *further = call.inputs
    assert x is not None
    assert scale is not None
    axis, block, slope = call.attribute("axis", 1), call.attribute("block_size", 0), call.attribute("scale_slope", 0.0)
    wide, dx = cast(g, x.dtype), None
    dscale: Expression | NotDifferentiable = STAYS
    if call.wants[0]:
        dx = wide * cast(step_size(scale, x.shape, axis, block), x.dtype)
    if call.wants[1] and slope:
        each = wide * _centered(call) * slope
        dscale = cast(sum_per_scale(each, scale.shape, axis, block), scale.dtype)
    return [dx, dscale, *[None] * len(further)]


def _dequantize_expansion(call: Call) -> list[Expression | None]:
    scale = call.inputs[1]
    assert scale is not None
    step = step_size(scale, call.x.shape, call.attribute("axis", 1), call.attribute("block_size", 0))
    return [cast(_centered(call) * cast(step, call.x.dtype), call.y.dtype)]


def _infer_dequantized(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, *parameters = types
    assert x is not None
    assert parameters[0] is not None
    _check(x[1], parameters, attributes)
    return [(wire.element_dtype(attributes["to"]) if attributes.get("to") else parameters[0][0], x[1])]


def _check(shape: Sequence[int], parameters: Sequence[TensorType | None], attributes: dict[str, Any]) -> None:
    for item in parameters:
        if item is not None:
            scaled_axis(item[1], shape, attributes.get("axis", 1), attributes.get("block_size", 0))


operator(
    "DynamicRange",
    domain=TOOLKIT_DOMAIN,
    reference=dynamic_range,
    gradient=not_differentiable("a dynamic range is taken as it is", slope_is_zero=True),
    infer=lambda types, attributes, constants: [(np.dtype(np.float32), ()), (np.dtype(np.uint8), ())],
    expansion=lambda call: emit("DynamicQuantizeLinear", call.x, outputs=3)[1:],
)
operator(
    "StraightThrough",
    domain=TOOLKIT_DOMAIN,
    reference=_step,
    gradient=_step_gradient,
    infer=_infer_step,
    expansion=_step_expansion,
)
operator(
    "QuantizeStraightThrough",
    domain=TOOLKIT_DOMAIN,
    reference=_quantize,
    gradient=_quantize_gradient,
    infer=_infer_quantized,
    expansion=_quantize_expansion,
)
operator(
    "DequantizeStraightThrough",
    domain=TOOLKIT_DOMAIN,
    reference=_dequantize,
    gradient=_dequantize_gradient,
    infer=_infer_dequantized,
    expansion=_dequantize_expansion,
)
