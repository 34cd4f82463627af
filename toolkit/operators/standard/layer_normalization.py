"""LayerNormalization and RMSNormalization: each sample is normalised over its axes from ``axis`` on.

onnxruntime writes LayerNormalization below opset 17 too, where ONNX has none, and an RMSNormalization that it calls
SimplifiedLayerNormalization, in the default domain and in its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators import wire
from toolkit.operators.composed import composed, gradient_through, pull_back
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, indices, unbroadcast
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator

BFLOAT16 = 16  # its number among ONNX's element types


def _axes(axis: int, ndim: int) -> tuple[int, ...]:
    return tuple(range(axis % ndim, ndim))


@in_float32(keep=(1, 2))
def _layer_normalization(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[np.ndarray, ...]:
    """Y, Mean, InvStdDev; float64 input is computed in float64, the statistics are float32 as ``stash_type`` says."""
    axes = _axes(axis, x.ndim)
    mean = x.mean(axis=axes, keepdims=True)
    centred = x - mean
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    inverse = 1.0 / np.sqrt(variance + x.dtype.type(epsilon))
    y = centred * inverse
    y *= scale
    if bias is not None:
        y += bias
    stash = ml_dtypes.bfloat16 if stash_type == BFLOAT16 else np.float32
    return y, mean.astype(stash, copy=False), inverse.astype(stash, copy=False)


def _mean(x: Expression, axes: Expression) -> Expression:
    mean: Expression = emit("ReduceMean", x, axes, keepdims=1)
    return mean


def _statistics(call: Call, dtype: np.dtype) -> list[Expression]:
    """Mean and InvStdDev from standard operators, in that element type."""
    x, axes = call.x, indices(call.x, _axes(int(call.attribute("axis", -1)), call.x.ndim))
    mean = _mean(x, axes)
    centred = x - mean
    variance = _mean(centred * centred, axes) + float(call.attribute("epsilon", 1e-5))
    return [cast(mean, dtype), cast(1.0 / emit("Sqrt", variance), dtype)]


def _layer_gradient(call: Call, g: Expression | None, *statistics: Expression | None) -> list[Expression | None]:
    """The fused gradient, and what the statistics add to the gradient of the input."""
    nothing: list[Expression | None] = [None] * len(call.inputs)
    found = nothing if g is None else _through_result(call, g)
    if call.wants[0] and any(item is not None for item in statistics):
        stored = np.dtype(wire.element_dtype(int(call.attribute("stash_type", 1))))
        pairs = zip(_statistics(call, stored), statistics, strict=False)
        seeds = [(output, item) for output, item in pairs if item is not None]
        more = pull_back(call, seeds)[0]
        found[0] = more if found[0] is None or more is None else found[0] + more
    return found


def _through_result(call: Call, g: Expression) -> list[Expression | None]:
    scale, bias = call.inputs[1], call.inputs[2] if len(call.inputs) > 2 else None
    assert scale is not None
    kept: Sequence[Expression | None] = call.outputs[1:]
    if call.x.dtype == np.float64:  # narrower statistics would spoil its gradient
        kept = _statistics(call, call.x.dtype)
    elif len(kept) < 2 or kept[0] is None or kept[1] is None:
        kept = emit("LayerNormalization", *call.inputs, version=call.version, **call.attributes, outputs=3)[1:]
    axis = int(call.attribute("axis", -1))
    dx, dscale, dbias = emit(
        "LayerNormalizationGradient", g, call.x, scale, *kept, domain=TOOLKIT_DOMAIN, axis=axis, outputs=3
    )
    if bias is not None and bias.shape != scale.shape:
        dbias = unbroadcast(g, bias.shape)
    return [dx, dscale, dbias][: len(call.inputs)]


@in_float32
def _layer_normalization_gradient(
    g: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray,
    mean: np.ndarray,
    inv_std_dev: np.ndarray,
    *,
    axis: int = -1,
) -> tuple[np.ndarray, ...]:
    axes = _axes(axis, x.ndim)
    centred = (x - mean) * inv_std_dev
    scaled = g * scale
    dx = scaled - scaled.mean(axis=axes, keepdims=True)
    dx -= centred * (scaled * centred).mean(axis=axes, keepdims=True)
    dx *= inv_std_dev
    centred *= g
    return dx.astype(x.dtype, copy=False), _unbroadcast(centred, scale), _unbroadcast(g, scale)


def _unbroadcast(g: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The sum over the axes along which ``like`` was repeated."""
    lead = g.ndim - like.ndim
    axes = [*range(lead), *(lead + axis for axis, size in enumerate(like.shape) if size == 1)]
    return g.sum(axis=tuple(axes)).reshape(like.shape).astype(like.dtype, copy=False)


def _gradient_from_parts(call: Call) -> list[Expression | None]:
    """The fused gradient from standard operators."""
    g, x, scale, mean, inverse = call.inputs
    assert g is not None and x is not None and scale is not None and mean is not None and inverse is not None
    axes = indices(x, _axes(int(call.attribute("axis", -1)), x.ndim))
    inverse = cast(inverse, x.dtype)
    normal = (x - cast(mean, x.dtype)) * inverse
    scaled = g * scale
    dx = (scaled - _mean(scaled, axes) - normal * _mean(scaled * normal, axes)) * inverse
    return [dx, unbroadcast(g * normal, scale.shape), unbroadcast(g, scale.shape)]


def _infer_gradient(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    g, x, scale, mean, inverse = inputs
    assert x is not None
    assert scale is not None
    if g is None or g[1] != x[1]:
        raise ShapeError(f"the gradient must have the input's shape {x[1]}")
    axis = int(attributes.get("axis", -1)) % len(x[1])
    kept = (*x[1][:axis], *(1,) * (len(x[1]) - axis))
    if mean is None or inverse is None or mean[1] != kept or inverse[1] != kept:
        raise ShapeError(f"mean and inv_std_dev must have the shape {kept}")
    return [x, scale, scale]


@in_float32
def _rms_normalization(
    x: np.ndarray, scale: np.ndarray, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> np.ndarray:
    squares = np.square(x).mean(axis=_axes(axis, x.ndim), keepdims=True)
    return np.asarray(x / np.sqrt(squares + x.dtype.type(epsilon)) * scale, like=x)


def _inverse_root(x: Expression, axes: Expression, epsilon: float) -> Expression:
    """1 / the root of the mean square."""
    return 1.0 / emit("Sqrt", _mean(x * x, axes) + epsilon)


def _rms_gradient(call: Call, g: Expression) -> list[Expression | None]:
    x, scale = call.inputs
    assert x is not None
    assert scale is not None
    axes = indices(x, _axes(int(call.attribute("axis", -1)), x.ndim))
    inverse = _inverse_root(x, axes, float(call.attribute("epsilon", 1e-5)))
    normalized = x * inverse
    dx = dscale = None
    if call.wants[0]:
        scaled = g * scale
        dx = (scaled - normalized * _mean(scaled * normalized, axes)) * inverse
    if call.wants[1]:
        dscale = unbroadcast(g * normalized, scale.shape)
    return [dx, dscale]


def _infer_layer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    """The types of the result and its statistics, whether ONNX has the operator or not."""
    x = inputs[0]
    assert x is not None
    axis = int(attributes.get("axis", -1)) % max(len(x[1]), 1)
    kept = (*x[1][:axis], *(1,) * (len(x[1]) - axis))
    stored = np.dtype(wire.element_dtype(int(attributes.get("stash_type", 1))))
    return [x, (stored, kept), (stored, kept)]


def _simplified(call: Call) -> list[Expression | None]:
    """RMSNormalization, and the inverse root as a second output."""
    scale = call.inputs[1]
    assert scale is not None
    axes = indices(call.x, _axes(int(call.attribute("axis", -1)), call.x.ndim))
    inverse = _inverse_root(call.x, axes, float(call.attribute("epsilon", 1e-5)))
    return [call.x * inverse * scale, cast(inverse, np.dtype(np.float32))]


operator("LayerNormalization", reference=_layer_normalization, gradient=_layer_gradient, infer=_infer_layer)
operator("LayerNormalization", since=17, reference=_layer_normalization, gradient=_layer_gradient)
operator("RMSNormalization", since=23, reference=_rms_normalization, gradient=_rms_gradient)
operator(
    "LayerNormalizationGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_layer_normalization_gradient,
    gradient=gradient_through(_gradient_from_parts),
    infer=_infer_gradient,
    expansion=_gradient_from_parts,
)
for _domain in ("", "com.microsoft"):
    composed("SimplifiedLayerNormalization", _simplified, domain=_domain)
