"""Convolution: Conv, its fused form, and the explicit geometry that the compiler and the backends work with.

Tensors are (batch, channels, spatial...) with any number of spatial axes, weights (out channels, in channels / group,
kernel...). The gradients are operators of our own: see ``convolution_gradient``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape, unbroadcast
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.activation import activate, before_activation, expand_activation
from toolkit.operators.standard.windows import all_windows, explicit_geometry, output_sizes, padded

GEOMETRY = ("strides", "pads", "dilations", "group")


def canonical_convolution(
    attributes: Mapping[str, Any], x_shape: Sequence[int], w_shape: Sequence[int]
) -> dict[str, Any]:
    """The attributes of a Conv as explicit ``strides``, ``pads``, ``dilations`` and ``group`` for concrete shapes.

    Raises ``ShapeError`` where input, weight and attributes do not fit each other.
    """
    group = int(attributes.get("group", 1))
    if len(x_shape) < 3 or len(x_shape) != len(w_shape):
        raise ShapeError(
            f"input and weight must both be (batch, channels, spatial...), got {len(x_shape)} and {len(w_shape)} axes"
        )
    if group < 1 or w_shape[0] % group or w_shape[1] * group != x_shape[1]:
        raise ShapeError(
            f"weight expects {w_shape[1] * max(group, 1)} input channels ({w_shape[0]} outputs in {group} groups), "
            f"got {x_shape[1]}. Layout is (batch, channels, spatial...): transpose first"
        )
    kernel = attributes.get("kernel_shape")
    if kernel and list(kernel) != list(w_shape[2:]):
        raise ShapeError(f"kernel_shape {list(kernel)} must be the kernel of the weight {tuple(w_shape)}")
    return {**explicit_geometry(attributes, x_shape[2:], w_shape[2:]), "group": group}


def convolved_shape(attributes: Mapping[str, Any], x_shape: Sequence[int], w_shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the convolution of concrete shapes; errors as ``canonical_convolution``."""
    explicit = canonical_convolution(attributes, x_shape, w_shape)
    sizes = output_sizes(x_shape[2:], w_shape[2:], explicit["strides"], explicit["pads"], explicit["dilations"])
    return (x_shape[0], w_shape[0], *sizes)


def columns(x: np.ndarray, kernel: Sequence[int], output: Sequence[int], geometry: Mapping[str, Any]) -> np.ndarray:
    """Every window as a column: (group, channels / group * kernel, batch * output)."""
    windows = all_windows(padded(x, geometry["pads"]), kernel, geometry["strides"], geometry["dilations"], output)
    group, depth, points = geometry["group"], int(np.prod(kernel)), int(np.prod(output))
    rank = len(kernel)
    by_channel = windows.transpose(*range(1, 2 + rank), 0, *range(2 + rank, 2 + 2 * rank))
    return by_channel.reshape(group, x.shape[1] // group * depth, x.shape[0] * points)


def points_by_channel(g: np.ndarray, group: int) -> np.ndarray:
    """(batch, channels, spatial...) as (group, channels / group, batch * spatial), to meet ``columns``."""
    batch, channels = g.shape[:2]
    return g.swapaxes(0, 1).reshape(group, channels // group, batch * int(np.prod(g.shape[2:])))


def convolve(x: np.ndarray, w: np.ndarray, geometry: Mapping[str, Any]) -> np.ndarray:
    """The plain convolution with explicit geometry: one matrix product per group, whatever the batch."""
    group, shape = geometry["group"], convolved_shape(geometry, x.shape, w.shape)
    by_group = w.reshape(group, w.shape[0] // group, int(np.prod(w.shape[1:])))
    y = np.matmul(by_group, columns(x, w.shape[2:], shape[2:], geometry))
    return np.ascontiguousarray(y.reshape(w.shape[0], x.shape[0], *shape[2:]).swapaxes(0, 1), like=x)


def per_channel(b: np.ndarray, rank: int) -> np.ndarray:
    """A vector over channels shaped to broadcast with (batch, channels, spatial...)."""
    return b.reshape(b.shape[0], *(1,) * (rank - 2))


@in_float32
def conv(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> np.ndarray:
    """ONNX Conv."""
    given = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    y = convolve(x, w, canonical_convolution(given, x.shape, w.shape))
    if b is not None:
        y += per_channel(b, y.ndim)
    return y


@in_float32
def fused_conv(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int,
    activation: str = "",
    activation_alpha: float = 0.0,
    activation_beta: float = 0.0,
) -> np.ndarray:
    """activation(conv(x, w) + b + residual)."""
    y = convolve(x, w, {"strides": strides, "pads": pads, "dilations": dilations, "group": group})
    if b is not None:
        y += per_channel(b, y.ndim)
    if residual is not None:
        y += residual
    return activate(activation, y, activation_alpha, activation_beta)


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, w, *others = inputs
    assert x is not None
    assert w is not None
    shape = convolved_shape(attributes, x[1], w[1])
    if others and others[0] is not None and others[0][1] != (w[1][0],):
        raise ShapeError(f"bias must be a vector of {w[1][0]} output channels, got {others[0][1]}")
    if len(others) > 1 and others[1] is not None and others[1][1] != shape:
        raise ShapeError(f"residual must have the output's shape {shape}, got {others[1][1]}")
    return [(x[0], shape)]


def convolution_gradients(call: Call, g: Expression, geometry: Mapping[str, Any]) -> list[Expression | None]:
    """The gradients of input, weight and bias, each only if wanted."""
    x, w = call.inputs[0], call.inputs[1]
    assert x is not None
    assert w is not None
    dx = dw = db = None
    if call.wants[0]:
        dx = emit("ConvInputGradient", g, w, domain=TOOLKIT_DOMAIN, **geometry, input_shape=list(x.shape))
    wants_bias = len(call.wants) > 2 and call.wants[2]
    if call.wants[1]:
        shape = {**geometry, "weight_shape": list(w.shape), "has_bias": int(wants_bias)}
        made = emit("ConvWeightGradient", x, g, domain=TOOLKIT_DOMAIN, **shape, outputs=2 if wants_bias else 1)
        dw, db = made if wants_bias else (made, None)
    elif wants_bias:
        db = reshape(unbroadcast(g, (1, g.shape[1], *(1,) * (g.ndim - 2))), (g.shape[1],))
    return [dx, dw, db]


def _conv_gradient(call: Call, g: Expression) -> list[Expression | None]:
    w = call.inputs[1]
    assert w is not None
    return convolution_gradients(call, g, canonical_convolution(call.attributes, call.x.shape, w.shape))


def _fused_gradient(call: Call, g: Expression) -> list[Expression | None]:
    geometry = {name: call.attributes[name] for name in GEOMETRY}
    inner = before_activation(call, g, lambda: emit("FusedConv", *call.inputs, domain=TOOLKIT_DOMAIN, **geometry))
    return [*convolution_gradients(call, inner, geometry), inner]


def _expansion(call: Call) -> list[Expression | None]:
    residual = call.inputs[3] if len(call.inputs) > 3 else None
    y = emit("Conv", *call.inputs[:3], **{name: call.attributes[name] for name in GEOMETRY})
    return [expand_activation(call.attributes, y if residual is None else y + residual)]


operator("Conv", reference=conv, gradient=_conv_gradient, infer=_infer)
operator(
    "FusedConv",
    domain=TOOLKIT_DOMAIN,
    reference=fused_conv,
    gradient=_fused_gradient,
    infer=_infer,
    expansion=_expansion,
)
