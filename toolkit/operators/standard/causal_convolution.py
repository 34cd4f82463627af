"""CausalConvWithState (since 27): a depthwise convolution along time that hands its last inputs on as a state."""

from __future__ import annotations

from toolkit.operators.composed import argument, composed, required
from toolkit.operators.derivative import filled
from toolkit.operators.expression import Expression, emit, indices
from toolkit.operators.record import Call

ACTIVATIONS = ("none", "silu", "swish")


def _causal_convolution(call: Call) -> list[Expression | None]:
    x, weight, past = required(call, 0, "input"), required(call, 1, "weight"), argument(call, 3)
    if x.ndim != 3 or weight.ndim != 3 or weight.shape[:2] != (x.shape[1], 1):
        raise ValueError(
            f"input must be (batch, channels, length) and weight ({x.shape[1:2]}, 1, k), got {weight.shape}"
        )
    activation = call.attribute("activation", "none")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    history = (*x.shape[:2], weight.shape[2] - 1)
    if past is not None and past.shape != history:
        raise ValueError(f"past_state must have the shape {history}, got {past.shape}")
    line = emit("Concat", filled(x, history) if past is None else past, x, axis=2)
    y = emit("Conv", line, weight, argument(call, 2), group=x.shape[1])
    present = emit("Slice", line, indices(x, [x.shape[2]]), indices(x, [line.shape[2]]), indices(x, [2]))
    return [y if activation == "none" else y * emit("Sigmoid", y), present]


composed("CausalConvWithState", _causal_convolution, since=27)
