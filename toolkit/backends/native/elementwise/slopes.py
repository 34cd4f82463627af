"""What activations do to a gradient: the slopes that the operators' table spells, on numbers in registers."""

from __future__ import annotations

from typing import Any

from toolkit.backends.native.assembly import functions
from toolkit.backends.native.assembly.number import Number
from toolkit.operators.standard.activation import ACTIVATIONS


class NumberMath:
    """The vocabulary of slopes on registers."""

    exp = staticmethod(functions.exponential)
    tanh = staticmethod(functions.hyperbolic_tangent)
    sqrt = staticmethod(Number.square_root)
    sign = staticmethod(functions.sign)
    erf = staticmethod(functions.error_function)
    sigmoid = staticmethod(functions.sigmoid)

    @staticmethod
    def choose_above(v: Number, bound: float, above: Any, otherwise: Any) -> Number:
        """``above`` where v > bound, ``otherwise`` elsewhere."""
        return (v > bound).choose(v.like(above), otherwise)


def through_activation(g: Number, value: Number, name: str, alpha: float, beta: float, from_output: bool) -> Number:
    """The gradient before the activation called ``name``, of which ``value`` is the input, or the output."""
    if name == "Gelu":
        return g * functions.gelu_slope(value)
    activation = ACTIVATIONS[name]
    slope = activation.from_output if from_output else activation.from_input
    assert slope is not None  # its types would not have been inferred
    found: Number = slope(g, value, alpha, beta, NumberMath)
    return found
