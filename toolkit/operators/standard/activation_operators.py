"""The activation operators of ONNX, and Silu and GeluTanh of our own domain that fusion finds in larger patterns.

``consumed_inputs`` of opset 1 is a hint to engines of its time. PRelu before opset 7 is in ``limited_broadcast``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, unbroadcast, where
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, Gradient, Reference, operator
from toolkit.operators.shape_rules import same_type
from toolkit.operators.special_functions import sigmoid, softplus
from toolkit.operators.standard.activation import (
    activate,
    activation_gradient,
    elu,
    expand_activation,
    follows_from_output,
)

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875  # the float32 defaults of the schema
FIRST_SELU_ALPHA, FIRST_SELU_GAMMA = 1.6732, 1.0507  # before opset 6


def _reference(name: str) -> Reference:
    @in_float32
    def evaluate(x: np.ndarray, *, consumed_inputs: Any = None) -> np.ndarray:
        return activate(name, x)

    return evaluate


def _gradient(name: str, alpha: float = 0.0, beta: float = 0.0) -> Gradient:
    """The gradient rule of an activation of the table; ``alpha`` and ``beta`` are the defaults of its schema."""

    def rule(call: Call, g: Expression) -> list[Expression | None]:
        numbers = {"activation_alpha": call.attribute("alpha", alpha), "activation_beta": call.attribute("beta", beta)}
        from_output = follows_from_output(name, numbers["activation_alpha"])
        attributes = {"activation": name, **numbers}
        return [activation_gradient(g, call.y if from_output else call.x, attributes, from_output)]

    return rule


@in_float32
def _leaky_relu(x: np.ndarray, *, alpha: float = 0.01, consumed_inputs: Any = None) -> np.ndarray:
    return activate("LeakyRelu", x, alpha)


@in_float32
def _elu(x: np.ndarray, *, alpha: float = 1.0, consumed_inputs: Any = None) -> np.ndarray:
    return elu(x, alpha)


@in_float32
def _hard_sigmoid(x: np.ndarray, *, alpha: float = 0.2, beta: float = 0.5, consumed_inputs: Any = None) -> np.ndarray:
    return activate("HardSigmoid", x, alpha, beta)


@in_float32
def _gelu(x: np.ndarray, *, approximate: str = "none") -> np.ndarray:
    return activate("GeluTanh" if approximate == "tanh" else "Gelu", x)


def _gelu_gradient(call: Call, g: Expression) -> list[Expression | None]:
    name = "GeluTanh" if call.attribute("approximate", "none") == "tanh" else "Gelu"
    return [activation_gradient(g, call.x, {"activation": name}, from_output=False)]


@in_float32
def _selu(x: np.ndarray, *, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA) -> np.ndarray:
    return elu(x, alpha) * gamma


@in_float32
def _selu_1(
    x: np.ndarray, *, alpha: float = FIRST_SELU_ALPHA, gamma: float = FIRST_SELU_GAMMA, consumed_inputs: Any = None
) -> np.ndarray:
    return elu(x, alpha) * gamma


def _selu_gradient(default_alpha: float, default_gamma: float) -> Gradient:
    def rule(call: Call, g: Expression) -> list[Expression | None]:
        alpha, gamma = call.attribute("alpha", default_alpha), call.attribute("gamma", default_gamma)
        slope = emit("Exp", emit("Min", call.x, 0.0)) * (alpha * gamma)
        return [g * where(emit("Greater", call.x, 0.0), gamma, slope)]

    return rule


@in_float32
def _celu(x: np.ndarray, *, alpha: float = 1.0) -> np.ndarray:
    return np.maximum(x, 0) + np.minimum(np.expm1(np.minimum(x / alpha, 0)) * alpha, 0)


def _celu_gradient(call: Call, g: Expression) -> list[Expression | None]:
    return [g * emit("Exp", emit("Min", call.x / call.attribute("alpha", 1.0), 0.0))]


@in_float32
def _thresholded_relu(x: np.ndarray, *, alpha: float = 1.0) -> np.ndarray:
    return np.where(x > alpha, x, 0)


def _thresholded_gradient(call: Call, g: Expression) -> list[Expression | None]:
    return [where(emit("Greater", call.x, call.attribute("alpha", 1.0)), g, 0.0)]


@in_float32
def _prelu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return np.where(x < 0, x * slope, x)


def _prelu_gradient(call: Call, g: Expression) -> list[Expression | None]:
    slope = call.inputs[1]
    assert slope is not None
    is_below = emit("Less", call.x, 0.0)
    dx = where(is_below, g * slope, g) if call.wants[0] else None
    dslope = unbroadcast(where(is_below, g * call.x, 0.0), slope.shape) if call.wants[1] else None
    return [dx, dslope]


@in_float32
def _softsign(x: np.ndarray) -> np.ndarray:
    return x / (np.abs(x) + 1)


def _softsign_gradient(call: Call, g: Expression) -> list[Expression | None]:
    reach = emit("Abs", call.x) + 1.0
    return [g / (reach * reach)]


@in_float32
def _mish(x: np.ndarray) -> np.ndarray:
    return x * np.tanh(softplus(x))


def _mish_gradient(call: Call, g: Expression) -> list[Expression | None]:
    t = emit("Tanh", emit("Softplus", call.x))
    return [g * (t + call.x * (1.0 - t * t) * emit("Sigmoid", call.x))]


@in_float32
def _swish(x: np.ndarray, *, alpha: float = 1.0) -> np.ndarray:
    return x * sigmoid(x * alpha)


def _swish_gradient(call: Call, g: Expression) -> list[Expression | None]:
    alpha = call.attribute("alpha", 1.0)
    s = emit("Sigmoid", call.x * alpha)
    return [g * (s + call.x * (s * (1.0 - s)) * alpha)]


@in_float32
def _shrink(x: np.ndarray, *, bias: float = 0.0, lambd: float = 0.5) -> np.ndarray:
    offset = x.dtype.type(bias)
    return np.where(x < -lambd, x + offset, np.where(x > lambd, x - offset, x.dtype.type(0)))


def _shrink_gradient(call: Call, g: Expression) -> list[Expression | None]:
    return [where(emit("Greater", emit("Abs", call.x), call.attribute("lambd", 0.5)), g, 0.0)]


def _expansion(name: str) -> Any:
    return lambda call: [expand_activation({"activation": name}, call.x)]


for _name in ("Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus"):
    operator(_name, reference=_reference(_name), gradient=_gradient(_name), infer=same_type)
for _name in ("Silu", "GeluTanh"):
    operator(
        _name,
        domain=TOOLKIT_DOMAIN,
        reference=_reference(_name),
        gradient=_gradient(_name),
        infer=same_type,
        expansion=_expansion(_name),
    )
operator("LeakyRelu", reference=_leaky_relu, gradient=_gradient("LeakyRelu", 0.01), infer=same_type)
operator("Elu", reference=_elu, gradient=_gradient("Elu", 1.0), infer=same_type)
operator("HardSigmoid", reference=_hard_sigmoid, gradient=_gradient("HardSigmoid", 0.2, 0.5), infer=same_type)
operator("Gelu", reference=_gelu, gradient=_gelu_gradient)
operator("Selu", reference=_selu_1, gradient=_selu_gradient(FIRST_SELU_ALPHA, FIRST_SELU_GAMMA), infer=same_type)
operator("Selu", since=6, reference=_selu, gradient=_selu_gradient(SELU_ALPHA, SELU_GAMMA))
operator("Celu", reference=_celu, gradient=_celu_gradient, infer=same_type)
operator("ThresholdedRelu", reference=_thresholded_relu, gradient=_thresholded_gradient)
operator("PRelu", since=7, reference=_prelu, gradient=_prelu_gradient)
operator("Softsign", reference=_softsign, gradient=_softsign_gradient)
operator("Mish", reference=_mish, gradient=_mish_gradient)
operator("Swish", reference=_swish, gradient=_swish_gradient)
operator("Shrink", reference=_shrink, gradient=_shrink_gradient)
