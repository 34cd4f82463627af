"""Activations that fused operators can take in: what each one computes, its slope, the ONNX operators that spell it.

``ACTIVATIONS`` is the one table. Slopes are written once, over a small vocabulary (``ArrayMath``, ``ExpressionMath``),
so the reference of ActivationGradient and its expansion cannot disagree. Records of the operators themselves are in
``activation_operators``; Clip, Abs, Sqrt, Exp and Log have theirs in the elementwise families.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators import special_functions
from toolkit.operators.composed import gradient_through
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, where
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator

GELU_SLOPE, GELU_CUBE = math.sqrt(2.0 / math.pi), 0.044715  # of the tanh approximation of Gelu


class ArrayMath:
    """The vocabulary of slopes on numpy arrays."""

    exp = staticmethod(np.exp)
    tanh = staticmethod(np.tanh)
    sqrt = staticmethod(np.sqrt)
    sign = staticmethod(np.sign)
    erf = staticmethod(special_functions.erf)
    sigmoid = staticmethod(special_functions.sigmoid)

    @staticmethod
    def choose_above(v: Any, bound: float, above: Any, otherwise: Any) -> Any:
        """``above`` where v > bound, ``otherwise`` elsewhere."""
        return np.where(v > bound, above, otherwise)


class ExpressionMath:
    """The same vocabulary on expressions: each word is the ONNX operator."""

    exp = staticmethod(lambda v: emit("Exp", v))
    tanh = staticmethod(lambda v: emit("Tanh", v))
    sqrt = staticmethod(lambda v: emit("Sqrt", v))
    sign = staticmethod(lambda v: emit("Sign", v))
    erf = staticmethod(lambda v: emit("Erf", v))
    sigmoid = staticmethod(lambda v: emit("Sigmoid", v))

    @staticmethod
    def choose_above(v: Expression, bound: float, above: Any, otherwise: Any) -> Expression:
        return where(emit("Greater", v, bound), above, otherwise)


Function = Callable[[np.ndarray, float, float], np.ndarray]
Slope = Callable[
    [Any, Any, float, float, Any], Any
]  # gradient, input or output, alpha, beta, math -> gradient of the input


class Activation(NamedTuple):
    """One activation: its function, the gradient seen from its input and, where that is possible, from its output."""

    function: Function
    from_input: Slope
    from_output: Slope | None
    spelled: Callable[[Expression, float, float], Expression]


def _steps(g: Any, v: Any, low: float, high: float, m: Any) -> Any:
    """The gradient where low < v < high, else zero."""
    return m.choose_above(v, low, m.choose_above(-v, -high, g, 0.0), 0.0)


def _gelu_slope(g: Any, x: Any, a: float, b: float, m: Any) -> Any:
    density = m.exp(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
    return g * ((m.erf(x * math.sqrt(0.5)) + 1.0) * 0.5 + x * density)


def _gelu_tanh_slope(g: Any, x: Any, a: float, b: float, m: Any) -> Any:
    square = x * x
    t = m.tanh((square * GELU_CUBE + 1.0) * x * GELU_SLOPE)
    inner = (square * (3.0 * GELU_CUBE) + 1.0) * GELU_SLOPE
    return g * ((t + 1.0) + x * (1.0 - t * t) * inner) * 0.5


def _silu_slope(g: Any, x: Any, a: float, b: float, m: Any) -> Any:
    s = m.sigmoid(x)
    return g * (s * (x * (1.0 - s) + 1.0))


def _sigmoid_slope(g: Any, y: Any, a: float, b: float, m: Any) -> Any:
    return g * (y * (1.0 - y))


def _tanh_slope(g: Any, y: Any, a: float, b: float, m: Any) -> Any:
    return g * (1.0 - y * y)


def _elu_slope(g: Any, x: Any, alpha: float, b: float, m: Any) -> Any:
    bounded = m.choose_above(x, 0.0, 0.0, x)
    return m.choose_above(x, 0.0, g, g * (m.exp(bounded) * alpha))


def _hard_swish_slope(g: Any, x: Any, a: float, b: float, m: Any) -> Any:
    return m.choose_above(x, -3.0, m.choose_above(x, 3.0, g, g * (x * (1.0 / 3.0) + 0.5)), 0.0)


def gelu(x: np.ndarray) -> np.ndarray:
    """x times the normal distribution function of x."""
    return x * (special_functions.erf(x * math.sqrt(0.5)) + 1.0) * 0.5


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """The tanh approximation of Gelu."""
    return x * (np.tanh((x * x * GELU_CUBE + 1.0) * x * GELU_SLOPE) + 1.0) * 0.5


def hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """alpha x + beta within 0 and 1."""
    return np.clip(x * alpha + beta, 0.0, 1.0)


def elu(x: np.ndarray, alpha: float) -> np.ndarray:
    """x above zero, alpha (exp(x) - 1) below."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)) * alpha)


def _plain(name: str) -> Callable[[Expression, float, float], Expression]:
    return lambda x, a, b: emit(name, x)


ACTIVATIONS: Mapping[str, Activation] = {
    "Relu": Activation(
        lambda x, a, b: np.maximum(x, 0),
        relu_slope := lambda g, v, a, b, m: m.choose_above(v, 0.0, g, 0.0),
        relu_slope,
        _plain("Relu"),
    ),
    "LeakyRelu": Activation(
        lambda x, a, b: np.where(x >= 0, x, x * a),
        leaky_slope := lambda g, v, a, b, m: m.choose_above(v, 0.0, g, g * a),
        leaky_slope,
        lambda x, a, b: emit("LeakyRelu", x, alpha=a),
    ),
    "Clip": Activation(
        lambda x, a, b: np.clip(x, a, b),
        _steps,
        _steps,
        lambda x, a, b: emit("Clip", x, a, b),
    ),
    "Sigmoid": Activation(
        lambda x, a, b: special_functions.sigmoid(x),
        lambda g, x, a, b, m: _sigmoid_slope(g, m.sigmoid(x), a, b, m),
        _sigmoid_slope,
        _plain("Sigmoid"),
    ),
    "Tanh": Activation(
        lambda x, a, b: np.tanh(x),
        lambda g, x, a, b, m: _tanh_slope(g, m.tanh(x), a, b, m),
        _tanh_slope,
        _plain("Tanh"),
    ),
    "Elu": Activation(
        lambda x, a, b: elu(x, a),
        _elu_slope,
        lambda g, y, a, b, m: m.choose_above(y, 0.0, g, g * (y + a)),
        lambda x, a, b: emit("Elu", x, alpha=a),
    ),
    "HardSigmoid": Activation(
        hard_sigmoid,
        lambda g, x, a, b, m: _steps(g * a, x * a + b, 0.0, 1.0, m),
        None,
        lambda x, a, b: emit("HardSigmoid", x, alpha=a, beta=b),
    ),
    "HardSwish": Activation(
        lambda x, a, b: x * hard_sigmoid(x, 1.0 / 6.0, 0.5),
        _hard_swish_slope,
        None,
        _plain("HardSwish"),
    ),
    "Gelu": Activation(lambda x, a, b: gelu(x), _gelu_slope, None, _plain("Gelu")),
    "GeluTanh": Activation(
        lambda x, a, b: gelu_tanh(x),
        _gelu_tanh_slope,
        None,
        lambda x, a, b: emit("Gelu", x, approximate="tanh"),
    ),
    "Silu": Activation(
        lambda x, a, b: x * special_functions.sigmoid(x),
        _silu_slope,
        None,
        lambda x, a, b: x * emit("Sigmoid", x),
    ),
    "Softplus": Activation(
        lambda x, a, b: special_functions.softplus(x),
        lambda g, x, a, b, m: g * m.sigmoid(x),
        None,
        _plain("Softplus"),
    ),
    "Abs": Activation(lambda x, a, b: np.abs(x), lambda g, x, a, b, m: g * m.sign(x), None, _plain("Abs")),
    "Sqrt": Activation(lambda x, a, b: np.sqrt(x), lambda g, x, a, b, m: g / m.sqrt(x) * 0.5, None, _plain("Sqrt")),
    "Exp": Activation(lambda x, a, b: np.exp(x), lambda g, x, a, b, m: g * m.exp(x), None, _plain("Exp")),
    "Log": Activation(lambda x, a, b: np.log(x), lambda g, x, a, b, m: g / x, None, _plain("Log")),
}


def activate(name: str, x: np.ndarray, alpha: float = 0.0, beta: float = 0.0) -> np.ndarray:
    """The activation called ``name`` of an array; ``""`` is the array itself."""
    return ACTIVATIONS[name].function(x, alpha, beta) if name else x


def expand_activation(attributes: Mapping[str, Any], x: Expression) -> Expression:
    """The activation that fused attributes name, from standard operators."""
    name, alpha, beta = _of(attributes)
    return ACTIVATIONS[name].spelled(x, alpha, beta) if name else x


def _of(attributes: Mapping[str, Any]) -> tuple[str, float, float]:
    name = attributes.get("activation", "")
    return name, float(attributes.get("activation_alpha", 0.0)), float(attributes.get("activation_beta", 0.0))


def follows_from_output(name: str, alpha: float) -> bool:
    """Whether the gradient can be told from the output; a negative slope makes LeakyRelu and Elu fold over."""
    return ACTIVATIONS[name].from_output is not None and (name not in ("LeakyRelu", "Elu") or alpha >= 0)


def activation_gradient(g: Expression, v: Expression, attributes: Mapping[str, Any], from_output: bool) -> Expression:
    """Emit ActivationGradient for the activation that ``attributes`` name."""
    name, alpha, beta = _of(attributes)
    dx: Expression = emit(
        "ActivationGradient",
        g,
        v,
        domain=TOOLKIT_DOMAIN,
        activation=name,
        activation_alpha=alpha,
        activation_beta=beta,
        from_output=int(from_output),
    )
    return dx


def before_activation(call: Call, g: Expression, recompute: Callable[[], Expression]) -> Expression:
    """The gradient before the activation of a fused operator.

    ``recompute`` gives the operator's value without activation; it is only called for activations whose gradient does
    not follow from their output.
    """
    name, alpha, _ = _of(call.attributes)
    if not name:
        return g
    from_output = follows_from_output(name, alpha)
    return activation_gradient(g, call.y if from_output else recompute(), call.attributes, from_output)


@in_float32
def _activation_gradient(
    g: np.ndarray,
    v: np.ndarray,
    *,
    activation: str,
    activation_alpha: float = 0.0,
    activation_beta: float = 0.0,
    from_output: int = 0,
) -> np.ndarray:
    return _slope(activation, from_output)(g, v, activation_alpha, activation_beta, ArrayMath)


def _slope(name: str, from_output: int) -> Slope:
    chosen = ACTIVATIONS[name].from_output if from_output else ACTIVATIONS[name].from_input
    if chosen is None:
        raise ShapeError(f"the gradient of {name} does not follow from its output: give it the input (from_output=0)")
    return chosen


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    g, v = inputs
    assert g is not None
    if attributes.get("activation") not in ACTIVATIONS:
        raise ShapeError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {attributes.get('activation')!r}")
    _slope(attributes["activation"], attributes.get("from_output", 0))
    if v is None or v[1] != g[1]:
        raise ShapeError("gradient and activation must have the same shape")
    return [g]


def _expansion(call: Call) -> list[Expression | None]:
    g, v = call.inputs
    name, alpha, beta = _of(call.attributes)
    return [_slope(name, call.attribute("from_output", 0))(g, v, alpha, beta, ExpressionMath)]


operator(
    "ActivationGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_activation_gradient,
    gradient=gradient_through(_expansion),
    infer=_infer,
    expansion=_expansion,
)
