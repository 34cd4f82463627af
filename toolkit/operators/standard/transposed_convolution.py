"""ConvTranspose: the gradient of a convolution in its input, used forwards.

Weights are (in channels, out channels / group, kernel...), which is how the weight of that convolution lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, indices, reshape, unbroadcast
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.convolution import GEOMETRY, per_channel
from toolkit.operators.standard.convolution_gradient import conv_input_gradient
from toolkit.operators.standard.windows import auto_pad as padding_mode
from toolkit.operators.standard.windows import explicit_geometry, per_axis, span

Shape = Sequence[int]


def canonical_transposed_convolution(attributes: Mapping[str, Any], x_shape: Shape, w_shape: Shape) -> dict[str, Any]:
    """Explicit ``strides``, ``pads``, ``dilations``, ``group`` and ``output_shape`` (the spatial sizes of the output).

    Raises ``ShapeError`` where input, weight and attributes do not fit each other.
    """
    group = int(attributes.get("group", 1))
    if len(x_shape) < 3 or len(x_shape) != len(w_shape):
        raise ShapeError(
            f"input and weight must both be (batch, channels, spatial...), got {len(x_shape)} and {len(w_shape)} axes"
        )
    if group < 1 or w_shape[0] != x_shape[1] or w_shape[0] % group:
        raise ShapeError(
            f"weight expects {w_shape[0]} input channels in {group} groups, got {x_shape[1]}. "
            "Layout is (batch, channels, spatial...): transpose first"
        )
    spatial, kernel, rank = x_shape[2:], w_shape[2:], len(x_shape) - 2
    mode = padding_mode(attributes)
    explicit = explicit_geometry(
        {**attributes, "auto_pad": "NOTSET" if mode.startswith("SAME") else mode}, spatial, kernel
    )
    strides, covered = explicit["strides"], span(kernel, explicit["dilations"])
    extra = [int(size) for size in attributes.get("output_padding") or [0] * rank]
    if len(extra) != rank or min(extra) < 0:
        raise ShapeError(f"output_padding must be {rank} numbers of 0 or more, got {extra}")
    full = [(spatial[axis] - 1) * strides[axis] + covered[axis] + extra[axis] for axis in range(rank)]
    if attributes.get("output_shape"):
        sizes = per_axis({"output_shape": list(attributes["output_shape"])[-rank:]}, "output_shape", rank)
        explicit["pads"] = _shared_out(full, sizes, mode == "SAME_UPPER")
    elif mode.startswith("SAME"):
        sizes = [spatial[axis] * strides[axis] for axis in range(rank)]
        explicit["pads"] = _shared_out(full, sizes, mode == "SAME_UPPER")
    else:
        sizes = [full[axis] - explicit["pads"][axis] - explicit["pads"][rank + axis] for axis in range(rank)]
    if min(sizes) < 1:
        raise ShapeError(f"pads {explicit['pads']} leave no output: the spatial sizes would be {sizes}")
    return {**explicit, "group": group, "output_shape": sizes}


def _shared_out(full: Shape, sizes: Shape, more_at_end: bool) -> list[int]:
    totals = [max(whole - size, 0) for whole, size in zip(full, sizes, strict=True)]
    halves = [total // 2 for total in totals]
    others = [total - half for total, half in zip(totals, halves, strict=True)]
    return halves + others if more_at_end else others + halves


@in_float32
def _conv_transpose(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Shape | None = None,
    group: int = 1,
    kernel_shape: Shape | None = None,
    output_padding: Shape | None = None,
    output_shape: Shape | None = None,
    pads: Shape | None = None,
    strides: Shape | None = None,
) -> np.ndarray:
    given = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads, "strides": strides}
    given |= {"output_padding": output_padding, "output_shape": output_shape}
    explicit = canonical_transposed_convolution(given, x.shape, w.shape)
    shape = (x.shape[0], w.shape[1] * group, *explicit.pop("output_shape"))
    # The scattering sum needs room for every window; pads that exceed it (output_padding) only add zeros.
    y = conv_input_gradient(x, w, input_shape=shape, **_room_for_all(explicit, shape, x.shape, w.shape))
    return y if b is None else y + per_channel(b, y.ndim)


def _room_for_all(explicit: dict[str, Any], y_shape: Shape, x_shape: Shape, w_shape: Shape) -> dict[str, Any]:
    rank, pads, strides = len(x_shape) - 2, list(explicit["pads"]), explicit["strides"]
    for axis, covered in enumerate(span(w_shape[2:], explicit["dilations"])):
        needed = (x_shape[2 + axis] - 1) * strides[axis] + covered - y_shape[2 + axis] - pads[axis]
        pads[rank + axis] = max(pads[rank + axis], needed)
    return {**explicit, "pads": pads}


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, w, *others = inputs
    assert x is not None
    assert w is not None
    explicit = canonical_transposed_convolution(attributes, x[1], w[1])
    channels = w[1][1] * explicit["group"]
    if others and others[0] is not None and others[0][1] != (channels,):
        raise ShapeError(f"bias must be a vector of {channels} output channels, got {others[0][1]}")
    return [(x[0], (x[1][0], channels, *explicit["output_shape"]))]


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    x, w = call.x, call.inputs[1]
    assert w is not None
    explicit = canonical_transposed_convolution(call.attributes, x.shape, w.shape)
    geometry = {name: explicit[name] for name in GEOMETRY}
    seen = _seen(g, x.shape[2:], w.shape[2:], geometry)
    dx = emit("FusedConv", seen, w, domain=TOOLKIT_DOMAIN, **geometry) if call.wants[0] else None
    dw = db = None
    if call.wants[1]:
        made = {**geometry, "weight_shape": list(w.shape), "has_bias": 0}
        dw = emit("ConvWeightGradient", seen, x, domain=TOOLKIT_DOMAIN, **made)
    if len(call.wants) > 2 and call.wants[2]:
        db = reshape(unbroadcast(g, (1, g.shape[1], *(1,) * (g.ndim - 2))), (g.shape[1],))
    return [dx, dw, db]


def _seen(g: Expression, spatial: Shape, kernel: Shape, geometry: Mapping[str, Any]) -> Expression:
    """``g`` without the end that no window reaches: convolving it gives exactly ``spatial`` windows again."""
    pads, strides, rank = geometry["pads"], geometry["strides"], len(spatial)
    reached = [
        (spatial[axis] - 1) * strides[axis] + covered - pads[axis] - pads[rank + axis]
        for axis, covered in enumerate(span(kernel, geometry["dilations"]))
    ]
    ends = [
        min(size, max(reach, 1)) if size - reach >= stride else size
        for size, reach, stride in zip(g.shape[2:], reached, strides, strict=True)
    ]
    if tuple(ends) == g.shape[2:]:
        return g
    axes = list(range(2, 2 + rank))
    return emit("Slice", g, indices(g, [0] * rank), indices(g, ends), indices(g, axes))


operator("ConvTranspose", reference=_conv_transpose, gradient=_gradient, infer=_infer)
