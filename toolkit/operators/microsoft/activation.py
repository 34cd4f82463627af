"""com.microsoft activations, with the bias, scale, gate or residual that is fused into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolkit.operators.axes import normalised
from toolkit.operators.composed import argument, composed, required
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, emit, indices, reshape
from toolkit.operators.microsoft.matrix_product import gelu
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call
from toolkit.operators.standard.gated_activation import swish

QUICK_GELU_ALPHA = 1.7020000219345093  # the float32 default of the schema


def _plus_bias(call: Call) -> Expression:
    bias = argument(call, 1)
    return call.x if bias is None else call.x + bias


def _bias_split_gelu(call: Call) -> list[Expression | None]:
    value, gate = _halves(_plus_bias(call))
    return [value * gelu(gate)]


def _halves(x: Expression) -> Sequence[Expression]:
    size = x.shape[-1]
    if size % 2:
        raise ValueError(f"the last axis holds two halves and must be even, got {size}")
    found: Sequence[Expression] = emit("Split", x, indices(x, [size // 2, size // 2]), axis=-1, outputs=2)
    return found


def _bias_add(call: Call) -> list[Expression | None]:
    return [_plus_bias(call) + required(call, 2, "skip")]


def _bias_softmax(call: Call) -> list[Expression | None]:
    """Rows from ``axis`` on; each row of the bias serves neighbouring rows (inner broadcast) or every so many."""
    x, bias = call.x, required(call, 1, "bias")
    (axis,) = normalised(int(call.attribute("axis", 1)), x.ndim)
    width = int(np.prod(x.shape[axis:], dtype=np.int64))
    rows, given = (int(np.prod(item.shape, dtype=np.int64)) // max(width, 1) for item in (x, bias))
    if given < 1 or rows % given or int(np.prod(bias.shape, dtype=np.int64)) != given * width:
        raise ValueError(f"the bias {bias.shape} must hold whole rows of the {x.shape[axis:]} that softmax goes over")
    is_inner = bool(call.attribute("is_inner_broadcast", 1))
    apart = (given, rows // given, width) if is_inner else (rows // given, given, width)
    spread = (given, 1, width) if is_inner else (1, given, width)
    total = reshape(reshape(x, apart) + reshape(bias, spread), (rows, width))
    return [reshape(emit("Softmax", total, axis=-1), x.shape)]


def _scaled_silu(call: Call) -> list[Expression | None]:
    scale = argument(call, 1)
    if scale is not None:
        return [swish(call.x * reshape(cast(scale, call.x.dtype), ()))]
    alpha = float(call.attribute("alpha", 1.0))
    return [swish(call.x if alpha == 1.0 else call.x * alpha)]


def _swiglu(call: Call) -> list[Expression | None]:
    """The gate, clamped from above, times the other half, clamped on both sides and moved."""
    up = argument(call, 1)
    gate, value = _halves(call.x) if up is None else (call.x, up)
    limit, moved = float(call.attribute("limit", 0.0)), float(call.attribute("activation_beta", 0.0))
    if limit > 0:
        gate, value = emit("Clip", gate, None, limit), emit("Clip", value, -limit, limit)
    value = value if moved == 0.0 else value + moved
    return [swish(gate, float(call.attribute("activation_alpha", 1.0))) * value]


def _gated_add(call: Call) -> list[Expression | None]:
    gate, weight = required(call, 2, "gate"), argument(call, 3)
    if weight is not None:
        gate = emit("Sigmoid", gate @ weight)
    return [call.x + required(call, 1, "Y") * gate]


UNARY: dict[str, Callable[[Call], Expression]] = {
    "Gelu": lambda call: gelu(call.x),
    "BiasGelu": lambda call: gelu(_plus_bias(call)),
    "FastGelu": lambda call: gelu(_plus_bias(call), "tanh"),
    "QuickGelu": lambda call: swish(call.x, float(call.attribute("alpha", QUICK_GELU_ALPHA))),
}


def _one(function: Callable[[Call], Expression]) -> Callable[[Call], list[Expression | None]]:
    return lambda call: [function(call)]


for _name, _function in UNARY.items():
    composed(_name, _one(_function), domain=MICROSOFT)
composed("BiasSplitGelu", _bias_split_gelu, domain=MICROSOFT)
composed("BiasAdd", _bias_add, domain=MICROSOFT)
composed("BiasSoftmax", _bias_softmax, domain=MICROSOFT)
composed("ScaledSiLU", _scaled_silu, domain=MICROSOFT)
composed("SwiGLU", _swiglu, domain=MICROSOFT)
composed("GatedAdd", _gated_add, domain=MICROSOFT)
