"""The gradients of convolution as operators of our own, with explicit geometry; being linear, they have gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import (
    TOOLKIT_DOMAIN,
    Expression,
    emit,
    expand,
    indices,
    reduce_sum,
    reshape,
    transpose,
)
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.convolution import GEOMETRY, columns, convolved_shape, points_by_channel
from toolkit.operators.standard.windows import cropped, scattered, span


@in_float32
def conv_input_gradient(
    g: np.ndarray,
    w: np.ndarray,
    *,
    input_shape: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int,
) -> np.ndarray:
    """g (batch, out channels, output...), w -> gradient of the input, of ``input_shape``."""
    batch, channels, *spatial = input_shape
    kernel, output, rank = w.shape[2:], g.shape[2:], len(spatial)
    out_channels = w.shape[0] // group
    by_group = w.reshape(group, out_channels, int(np.prod(w.shape[1:])))
    windows = np.matmul(by_group.transpose(0, 2, 1), points_by_channel(g, group))
    windows = np.moveaxis(windows.reshape(channels, *kernel, batch, *output), 1 + rank, 0)
    sizes = [spatial[axis] + pads[axis] + pads[rank + axis] for axis in range(rank)]
    return np.ascontiguousarray(cropped(scattered(windows, sizes, strides, dilations), pads, spatial), like=windows)


@in_float32
def conv_weight_gradient(
    x: np.ndarray,
    g: np.ndarray,
    *,
    weight_shape: Sequence[int],
    has_bias: int = 0,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int,
) -> Any:
    """x, g -> gradient of the weight, of ``weight_shape``; with ``has_bias`` also the one of the bias."""
    geometry = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
    windows = columns(x, weight_shape[2:], g.shape[2:], geometry)
    dw = np.matmul(points_by_channel(g, group), windows.swapaxes(1, 2)).reshape(tuple(weight_shape))
    return (dw, g.sum(axis=(0, *range(2, g.ndim)))) if has_bias else dw


def _infer_input(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    g, w = inputs
    assert g is not None
    assert w is not None
    shape = tuple(attributes["input_shape"])
    _check_gradient(convolved_shape(attributes, shape, w[1]), g[1])
    return [(g[0], shape)]


def _infer_weight(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, g = inputs
    assert x is not None
    assert g is not None
    shape = tuple(attributes["weight_shape"])
    _check_gradient(convolved_shape(attributes, x[1], shape), g[1])
    return [(x[0], shape), (x[0], shape[:1])][: 2 if attributes.get("has_bias", 0) else 1]


def _check_gradient(expected: tuple[int, ...], received: tuple[int, ...]) -> None:
    if expected != received:
        raise ShapeError(f"the gradient must have the convolution's shape {expected}, got {received}")


def _geometry(call: Call) -> dict[str, Any]:
    return {name: call.attributes[name] for name in GEOMETRY}


def _gradient_of_input_gradient(call: Call, gg: Expression) -> list[Expression | None]:
    g, w = call.inputs
    assert w is not None
    dg = emit("FusedConv", gg, w, domain=TOOLKIT_DOMAIN, **_geometry(call)) if call.wants[0] else None
    if not call.wants[1]:
        return [dg, None]
    shape = list(w.shape)
    return [
        dg,
        emit("ConvWeightGradient", gg, g, domain=TOOLKIT_DOMAIN, **_geometry(call), weight_shape=shape, has_bias=0),
    ]


def _gradient_of_weight_gradient(
    call: Call, gw: Expression | None, gb: Expression | None = None
) -> list[Expression | None]:
    x, g = call.inputs
    assert x is not None
    assert g is not None
    dx = dg = None
    if call.wants[0] and gw is not None:
        dx = emit("ConvInputGradient", g, gw, domain=TOOLKIT_DOMAIN, **_geometry(call), input_shape=list(x.shape))
    if call.wants[1] and gw is not None:
        dg = emit("FusedConv", x, gw, gb, domain=TOOLKIT_DOMAIN, **_geometry(call))
    elif call.wants[1] and gb is not None:
        dg = expand(reshape(gb, (1, g.shape[1], *(1,) * (g.ndim - 2))), g.shape)
    return [dx, dg]


def transposed(g: Expression, w: Expression, sizes: Sequence[int], geometry: dict[str, Any]) -> Expression:
    """A ConvTranspose that gives the spatial ``sizes`` which a convolution with this geometry came from."""
    rank, strides, pads = len(sizes), geometry["strides"], geometry["pads"]
    missing = [
        sizes[axis] + pads[axis] + pads[rank + axis] - covered - strides[axis] * (g.shape[2 + axis] - 1)
        for axis, covered in enumerate(span(w.shape[2:], geometry["dilations"]))
    ]
    made: Expression = emit("ConvTranspose", g, w, **geometry, output_padding=missing)
    return made


def _input_expansion(call: Call) -> list[Expression | None]:
    g, w = call.inputs
    assert g is not None and w is not None
    return [transposed(g, w, call.attributes["input_shape"][2:], _geometry(call))]


def _weight_expansion(call: Call) -> list[Expression]:
    """A convolution over the batch: channels and items change places, steps in the input and between taps too."""
    x, g = call.inputs
    assert x is not None and g is not None
    group, (batch, channels, *spatial) = call.attributes["group"], x.shape
    shape, axes = call.attributes["weight_shape"], range(3, 1 + x.ndim)
    by_group = transpose(reshape(x, (batch, group, channels // group, *spatial)), [2, 1, 0, *axes])
    made = emit(
        "Conv",
        reshape(by_group, (channels // group, group * batch, *spatial)),
        transpose(g, [1, 0, *range(2, g.ndim)]),
        group=group,
        pads=call.attributes["pads"],
        strides=call.attributes["dilations"],
        dilations=call.attributes["strides"],
    )
    inner = list(range(2, x.ndim))
    starts, ends = indices(x, [0] * len(inner)), indices(x, shape[2:])
    dw = transpose(emit("Slice", made, starts, ends, indices(x, inner)), [1, 0, *inner])
    return [dw, reduce_sum(g, [0, *inner], keepdims=False)][: 2 if call.attribute("has_bias", 0) else 1]


operator(
    "ConvInputGradient",
    domain=TOOLKIT_DOMAIN,
    reference=conv_input_gradient,
    gradient=_gradient_of_input_gradient,
    infer=_infer_input,
    expansion=_input_expansion,
)
operator(
    "ConvWeightGradient",
    domain=TOOLKIT_DOMAIN,
    reference=conv_weight_gradient,
    gradient=_gradient_of_weight_gradient,
    infer=_infer_weight,
    expansion=_weight_expansion,
)
