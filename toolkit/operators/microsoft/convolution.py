"""com.microsoft convolutions and pooling: with activation and addend, with channels last, with pads as an input."""

from __future__ import annotations

from typing import Any

from toolkit.operators.axes import known
from toolkit.operators.composed import argument, composed, required
from toolkit.operators.expression import Expression, emit, transpose
from toolkit.operators.microsoft.matrix_product import activated
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call

GEOMETRY = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def _geometry(call: Call, *more: str) -> dict[str, Any]:
    return {name: call.attributes[name] for name in (*GEOMETRY, *more) if name in call.attributes}


def channels_first(x: Expression) -> Expression:
    """(batch, spatial..., channels) as (batch, channels, spatial...)."""
    return transpose(x, [0, x.ndim - 1, *range(1, x.ndim - 1)])


def channels_last(x: Expression) -> Expression:
    """(batch, channels, spatial...) as (batch, spatial..., channels)."""
    return transpose(x, [0, *range(2, x.ndim), 1])


def _finished(call: Call, y: Expression, addend: Expression | None) -> Expression:
    """The addend added and the activation applied, whose parameters stand in a list."""
    numbers = dict(zip(("alpha", "beta"), map(float, call.attribute("activation_params", ())), strict=False))
    return activated(y if addend is None else y + addend, call.attribute("activation"), numbers)


def _fused_conv(call: Call) -> list[Expression | None]:
    y = emit("Conv", call.x, required(call, 1, "W"), argument(call, 2), **_geometry(call))
    return [_finished(call, y, argument(call, 3))]


def _nhwc_conv(call: Call) -> list[Expression | None]:
    y = emit("Conv", channels_first(call.x), required(call, 1, "W"), argument(call, 2), **_geometry(call))
    return [_finished(call, channels_last(y), argument(call, 3))]


def _nhwc_max_pool(call: Call) -> list[Expression | None]:
    return [channels_last(emit("MaxPool", channels_first(call.x), **_geometry(call, "ceil_mode")))]


def _conv_transpose(call: Call) -> list[Expression | None]:
    pads, attributes = argument(call, 2), _geometry(call, "output_padding")
    if pads is not None:
        attributes["pads"] = known(pads.value, "Pads").reshape(-1).tolist()
    return [emit("ConvTranspose", call.x, required(call, 1, "W"), argument(call, 3), **attributes)]


composed("FusedConv", _fused_conv, domain=MICROSOFT)
composed("NhwcConv", _nhwc_conv, domain=MICROSOFT)
composed("NhwcFusedConv", _nhwc_conv, domain=MICROSOFT)
composed("NhwcMaxPool", _nhwc_max_pool, domain=MICROSOFT)
composed("ConvTransposeWithDynamicPads", _conv_transpose, domain=MICROSOFT)
