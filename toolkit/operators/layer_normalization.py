"""LayerNormalization and RMSNormalization: each sample is normalised over its axes from ``axis`` on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.errors import NotDifferentiableError, ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, indices, unbroadcast
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, not_differentiable, operator

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
    inverse = 1.0 / np.sqrt(variance + np.asarray(epsilon, x.dtype))
    y = centred * inverse
    y *= scale
    if bias is not None:
        y += bias
    stash = ml_dtypes.bfloat16 if stash_type == BFLOAT16 else np.float32
    return y, mean.astype(stash, copy=False), inverse.astype(stash, copy=False)


def _layer_gradient(call: Call, g: Expression | None, *statistics: Expression | None) -> list[Expression | None]:
    if any(item is not None for item in statistics):
        raise NotDifferentiableError(
            "LayerNormalization takes no gradient for its outputs Mean and InvStdDev: judge its first output."
        )
    scale, bias = call.inputs[1], call.inputs[2] if len(call.inputs) > 2 else None
    if g is None:
        return [None] * len(call.inputs)
    assert scale is not None
    kept = call.outputs[1:]
    if len(kept) < 2 or kept[0] is None or kept[1] is None:
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


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
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
    return np.asarray(x / np.sqrt(squares + np.asarray(epsilon, x.dtype)) * scale)


def _rms_gradient(call: Call, g: Expression) -> list[Expression | None]:
    x, scale = call.inputs
    assert x is not None
    assert scale is not None
    axes = indices(x, _axes(int(call.attribute("axis", -1)), x.ndim))
    squares = emit("ReduceMean", x * x, axes, keepdims=1)
    inverse = 1.0 / emit("Sqrt", squares + float(call.attribute("epsilon", 1e-5)))
    normalized = x * inverse
    dx = dscale = None
    if call.wants[0]:
        scaled = g * scale
        dx = (scaled - normalized * emit("ReduceMean", scaled * normalized, axes, keepdims=1)) * inverse
    if call.wants[1]:
        dscale = unbroadcast(g * normalized, scale.shape)
    return [dx, dscale]


operator("LayerNormalization", since=17, reference=_layer_normalization, gradient=_layer_gradient)
operator("RMSNormalization", since=23, reference=_rms_normalization, gradient=_rms_gradient)
operator(
    "LayerNormalizationGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_layer_normalization_gradient,
    gradient=not_differentiable("second derivatives of layer normalisation are not written down"),
    infer=_infer,
)
