"""SwiGLU (since 28): a linear input that is gated by the Swish of another."""

from __future__ import annotations

from toolkit.operators.composed import composed, required
from toolkit.operators.expression import Expression, emit
from toolkit.operators.record import Call


def swish(x: Expression, alpha: float = 1.0) -> Expression:
    """x sigmoid(alpha x)."""
    return x * emit("Sigmoid", x if alpha == 1.0 else x * alpha)


def _swiglu(call: Call) -> list[Expression | None]:
    gate, value = required(call, 0, "A"), required(call, 1, "B")
    if gate.shape != value.shape:
        raise ValueError(f"gate and value must have the same shape, got {gate.shape} and {value.shape}")
    return [swish(gate, float(call.attribute("alpha", 1.0))) * value]


composed("SwiGLU", _swiglu, since=28)
