"""What the compiler makes of quantised arithmetic: integers held as float32, brought onto the grid of a result.

``OnGrid`` counts a tensor in steps of a scale and rounds; ``GridConv`` does so with the sums of a convolution while
they are in registers. Integers are distances from a zero point, so the limits ``low`` and ``high`` are those of the
type less the zero point. NaN becomes the lower one. ``compiler.passes.quantised`` puts them in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, reshape
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.convolution import GEOMETRY, convolve, convolved_shape, per_channel
from toolkit.operators.standard.quantization import ROUNDS


def on_grid(x: np.ndarray, scale: np.ndarray, *, low: float, high: float, is_multiplied: int = 0) -> np.ndarray:
    """``x`` in steps of ``scale`` (or times it, where ``is_multiplied``), within limits, rounded half to even."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        steps = x * scale if is_multiplied else x / scale
    limits = x.dtype.type(low), x.dtype.type(high)
    return np.rint(np.fmin(np.fmax(steps, limits[0]), limits[1]))


def grid_conv(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    multiplier: np.ndarray,
    scale: np.ndarray | None = None,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int,
    low: float,
    high: float,
) -> np.ndarray:
    """The sums of a convolution and its bias, times ``multiplier`` (of all channels, or one each), on the grid.

    With ``scale``, a number, the steps of the grid are that long; else they are counted.
    """
    sums = convolve(x, w, {"strides": strides, "pads": pads, "dilations": dilations, "group": group})
    if b is not None:
        sums += per_channel(b, sums.ndim)
    steps = on_grid(sums, per_channel(multiplier, sums.ndim), low=low, high=high, is_multiplied=1)
    return steps if scale is None else steps * scale


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, scale = types
    assert x is not None and scale is not None
    if np.broadcast_shapes(x[1], scale[1]) != x[1]:
        raise ShapeError(f"scale must broadcast to {x[1]}, got {scale[1]}")
    return [x]


def _infer_convolution(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, w, b, multiplier, scale = (*types, None)[:5]
    assert x is not None and w is not None and multiplier is not None
    channels = w[1][0]
    if multiplier[1] not in ((1,), (channels,)) or (b is not None and b[1] != (channels,)):
        raise ShapeError(f"bias and multiplier must be vectors of {channels} channels, got {b} and {multiplier[1]}")
    if scale is not None and scale[1]:
        raise ShapeError(f"scale must be a number, got the shape {scale[1]}")
    return [(x[0], convolved_shape(attributes, x[1], w[1]))]


def _rounded(steps: Expression, attributes: dict[str, Any]) -> list[Expression | None]:
    return [emit("Round", emit("Clip", steps, attributes["low"], attributes["high"]))]


def _expansion(call: Call) -> list[Expression | None]:
    scale = call.inputs[1]
    assert scale is not None
    return _rounded(call.x * scale if call.attribute("is_multiplied", 0) else call.x / scale, call.attributes)


def _convolution_expansion(call: Call) -> list[Expression | None]:
    multiplier, scale = (*call.inputs[3:], None)[:2]
    assert multiplier is not None
    sums = emit("Conv", *call.inputs[:3], **{name: call.attributes[name] for name in GEOMETRY})
    by_channel = reshape(multiplier, (multiplier.shape[0], *(1,) * (sums.ndim - 2)))
    steps = _rounded(sums * by_channel, call.attributes)
    return steps if scale is None or steps[0] is None else [steps[0] * scale]


operator("OnGrid", domain=TOOLKIT_DOMAIN, reference=on_grid, gradient=ROUNDS, infer=_infer, expansion=_expansion)
operator(
    "GridConv",
    domain=TOOLKIT_DOMAIN,
    reference=grid_conv,
    gradient=ROUNDS,
    infer=_infer_convolution,
    expansion=_convolution_expansion,
)
