"""com.microsoft LinearAttention and what stands before it: causal convolution and the gates of the delta rule.

The forms that keep a window of states for speculative decoding are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.operators.composed import argument, composed, required
from toolkit.operators.derivative import cast, filled
from toolkit.operators.expression import Expression, emit, indices, reshape, transpose
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call, TensorType, lookup, operator
from toolkit.operators.standard import linear_attention as onnx_form
from toolkit.operators.standard.causal_convolution import ACTIVATIONS
from toolkit.operators.standard.gated_activation import swish

ONLY = {
    "state_window": 0,
    "state_update_capacity": 0,
    "input_channels": 0,
    "input_channel_offset": 0,
    "state_length": 0,
}


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes that ONNX's operator has too. Raises ``ValueError`` where another one is used."""
    for name, neutral in ONLY.items():
        if int(attributes.get(name, neutral)) != neutral:
            raise ValueError(f"{name}={attributes[name]} is not supported: leave it {neutral}")
    return {name: value for name, value in attributes.items() if name not in ONLY}


def _causal_convolution(call: Call) -> list[Expression | None]:
    """In one dimension, with taps ``dilation`` apart, and channels before or behind the length."""
    given = _plain(call.attributes)
    x, weight, past = call.x, required(call, 1, "weight"), argument(call, 3)
    if int(given.get("ndim", 1)) != 1 or weight.ndim != 3:
        raise ValueError("only one spatial axis (ndim=1) is supported")
    if given.get("activation", "none") not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {given['activation']!r}")
    is_last, dilation = bool(given.get("channels_last", 0)), int(given.get("dilation", 1))
    line = _channels_first(x) if is_last else x
    history = (*line.shape[:2], (weight.shape[2] - 1) * dilation)
    before = filled(x, history) if past is None else _channels_first(past) if is_last else past
    whole = emit("Concat", before, line, axis=2)
    y = emit("Conv", whole, weight, argument(call, 2), group=line.shape[1], dilations=[dilation])
    y = y if given.get("activation", "none") == "none" else swish(y)
    present = emit("Slice", whole, *(indices(x, [item]) for item in (line.shape[2], whole.shape[2], 2)))
    if is_last:
        return [reshape(transpose(y, (0, 2, 1)), x.shape), _channels_last(present, x.shape[2:])]
    return [y, present]


def _channels_first(x: Expression) -> Expression:
    batch, length = x.shape[:2]
    return transpose(reshape(x, (batch, length, int(np.prod(x.shape[2:], dtype=np.int64)))), (0, 2, 1))


def _channels_last(x: Expression, channels: Sequence[int]) -> Expression:
    return reshape(transpose(x, (0, 2, 1)), (x.shape[0], x.shape[2], *channels))


def _gate(call: Call) -> list[Expression | None]:
    """How fast the state decays, and how far it moves: in float32, as recurrences need it."""
    x, rate = call.x, argument(call, 3)
    bias, scale = required(call, 1, "dt_bias"), required(call, 2, "decay_scale")
    decay = cast(scale * emit("Softplus", cast(x, bias.dtype) + bias), x.dtype)
    return [decay, None if rate is None else emit("Sigmoid", rate)]


def _onnx_record() -> Any:
    record = lookup("", "LinearAttention", 27)
    assert record is not None, f"{onnx_form.__name__} registers it"
    return record


def _linear_attention(*inputs: np.ndarray | None, **attributes: Any) -> Any:
    return _onnx_record().reference(*inputs, **_plain(attributes))


def _linear_attention_gradient(call: Call, *grads: Expression | None) -> list[Expression | None]:
    plain = Call(call.inputs, call.outputs, _plain(call.attributes), call.wants, call.version)
    rule: Callable[..., list[Expression | None]] = _onnx_record().gradient
    return rule(plain, *grads)


def _infer_linear_attention(types: Sequence[TensorType | None], attributes: dict[str, Any], known: Any) -> Any:
    return _onnx_record().infer(types, _plain(attributes), known)


composed("CausalConvWithState", _causal_convolution, domain=MICROSOFT)
composed("LinearAttentionGate", _gate, domain=MICROSOFT)
operator(
    "LinearAttention",
    domain=MICROSOFT,
    reference=_linear_attention,
    gradient=_linear_attention_gradient,
    infer=_infer_linear_attention,
)
