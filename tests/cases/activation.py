"""Cases of ``operators.standard.activation``, and the activations by their definitions, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.support.case import Case, spread, uniform

DEFINITIONS: dict[str, Callable[[float, float, float], float]] = {
    "": lambda x, a, b: x,
    "Relu": lambda x, a, b: max(x, 0),
    "LeakyRelu": lambda x, a, b: x if x > 0 else a * x,
    "Clip": lambda x, a, b: min(max(x, a), b),
    "Sigmoid": lambda x, a, b: 1 / (1 + math.exp(-x)),
    "Tanh": lambda x, a, b: math.tanh(x),
    "Elu": lambda x, a, b: x if x > 0 else a * (math.exp(x) - 1),
    "HardSigmoid": lambda x, a, b: min(max(a * x + b, 0), 1),
    "HardSwish": lambda x, a, b: x * min(max(x / 6 + 0.5, 0), 1),
    "Gelu": lambda x, a, b: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "GeluTanh": lambda x, a, b: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "Silu": lambda x, a, b: x / (1 + math.exp(-x)),
    "Softplus": lambda x, a, b: math.log(1 + math.exp(x)),
    "Abs": lambda x, a, b: abs(x),
    "Sqrt": lambda x, a, b: math.sqrt(x),
    "Exp": lambda x, a, b: math.exp(x),
    "Log": lambda x, a, b: math.log(x),
}
STEP = 1e-6


def naive_activation(
    x: np.ndarray, activation: str = "", activation_alpha: float = 0.0, activation_beta: float = 0.0
) -> np.ndarray:
    """The activation of every element, in float64."""
    function = DEFINITIONS[activation]
    return np.vectorize(lambda item: float(function(float(item), activation_alpha, activation_beta)), otypes=[float])(x)


def naive_slope(x: np.ndarray, **attributes: Any) -> np.ndarray:
    """The slope of the activation at every element of its input, by central differences."""
    x = x.astype(np.float64)
    return (naive_activation(x + STEP, **attributes) - naive_activation(x - STEP, **attributes)) / (2 * STEP)


INVERSES: dict[str, Callable[[float, float, float], float]] = {
    "Relu": lambda y, a, b: y,
    "LeakyRelu": lambda y, a, b: y if y > 0 else y / a,
    "Clip": lambda y, a, b: y if a < y < b else (a - 1 if y <= a else b + 1),
    "Sigmoid": lambda y, a, b: math.log(y / (1 - y)),
    "Tanh": lambda y, a, b: math.atanh(y),
    "Elu": lambda y, a, b: y if y > 0 else math.log(1 + y / a),
}


def judge(g: np.ndarray, v: np.ndarray, *, from_output: int, **attributes: Any) -> np.ndarray:
    """g times the slope at the input, which is worked out from the output where that is given."""
    if from_output:
        inverse, alpha, beta = (
            INVERSES[attributes["activation"]],
            attributes["activation_alpha"],
            attributes["activation_beta"],
        )
        v = np.vectorize(lambda item: float(inverse(float(item), alpha, beta)), otypes=[float])(v)
    return (g * naive_slope(v, **attributes)).astype(g.dtype)


def gradient(name: str, low: float, high: float, alpha: float = 0.0, beta: float = 0.0, from_output: int = 0) -> Case:
    """The gradient of one activation between two values of its input or output."""
    numbers = {"activation_alpha": alpha, "activation_beta": beta, "from_output": from_output}
    return Case(
        "ActivationGradient",
        [uniform("N", 9), spread("N", 9, low=low, high=high)],
        {"activation": name, **numbers},
        version=1,
        domain="toolkit",
        tolerance=1e-4,
        judge=judge,
        note=f"{name} from {'output' if from_output else 'input'}",
    )


CASES = [
    gradient("Relu", -2, 2),
    gradient("LeakyRelu", -2, 2, 0.2),
    gradient("Clip", -2, 2, -0.6, 1.1),
    gradient("Sigmoid", -4, 4),
    gradient("Tanh", -2, 2),
    gradient("Elu", -2, 2, 0.7),
    gradient("HardSigmoid", -4, 4, 0.2, 0.5),
    gradient("HardSwish", -4, 4),
    gradient("Gelu", -4, 4),
    gradient("GeluTanh", -4, 4),
    gradient("Silu", -4, 4),
    gradient("Softplus", -4, 4),
    gradient("Abs", -2, 2),
    gradient("Sqrt", 0.3, 2),
    gradient("Exp", -2, 2),
    gradient("Log", 0.3, 2),
    gradient("Relu", 0, 2, from_output=1),
    gradient("LeakyRelu", -2, 2, 0.2, from_output=1),
    gradient("Clip", -0.5, 1.0, -0.6, 1.1, from_output=1),
    gradient("Sigmoid", 0.1, 0.9, from_output=1),
    gradient("Tanh", -0.9, 0.9, from_output=1),
    gradient("Elu", -0.6, 2, 0.7, from_output=1),
]
