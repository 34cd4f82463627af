"""Functions of one tensor, element by element: roots, exponentials, rounding, trigonometry, Erf, and Clip.

Activations have a family of their own. What has a slope of zero wherever it has one (Sign, Floor, ...) is written down
as not differentiable, so that a loss behind it is noticed instead of silently learning nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.operators.derivative import UnaryDerivative, masked, unary
from toolkit.operators.expression import Expression, as_expression, emit, unbroadcast
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, Reference, not_differentiable, operator
from toolkit.operators.shape_rules import same_type
from toolkit.operators.special_functions import erf
from toolkit.operators.standard.activation import activation_gradient


def quietly(function: Callable[[np.ndarray], np.ndarray]) -> Reference:
    """``function`` in the element type of its input, silent about NaN and infinity, which ONNX means to happen.

    ``consumed_inputs`` of opset 1 is a hint to engines of its time.
    """

    def reference(x: np.ndarray, *, consumed_inputs: Any = None) -> np.ndarray:
        with np.errstate(all="ignore"):
            return function(x).astype(x.dtype, copy=False)

    return reference


FUNCTIONS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray], UnaryDerivative]] = {
    "Neg": (1, np.negative, lambda g, x, y: -g),
    "Abs": (1, np.abs, lambda g, x, y: g * emit("Sign", x)),
    "Sqrt": (1, np.sqrt, lambda g, x, y: g * 0.5 / y),
    "Exp": (1, np.exp, lambda g, x, y: g * y),
    "Log": (1, np.log, lambda g, x, y: g / x),
    "Reciprocal": (1, lambda x: 1 / x, lambda g, x, y: -(g * y) * y),
    "Sin": (7, np.sin, lambda g, x, y: g * emit("Cos", x)),
    "Cos": (7, np.cos, lambda g, x, y: -g * emit("Sin", x)),
    "Tan": (7, np.tan, lambda g, x, y: g * (y * y + 1)),
    "Asin": (7, np.arcsin, lambda g, x, y: g / emit("Sqrt", 1 - x * x)),
    "Acos": (7, np.arccos, lambda g, x, y: -g / emit("Sqrt", 1 - x * x)),
    "Atan": (7, np.arctan, lambda g, x, y: g / (x * x + 1)),
    "Sinh": (9, np.sinh, lambda g, x, y: g * emit("Cosh", x)),
    "Cosh": (9, np.cosh, lambda g, x, y: g * emit("Sinh", x)),
    "Asinh": (9, np.arcsinh, lambda g, x, y: g / emit("Sqrt", x * x + 1)),
    "Acosh": (9, np.arccosh, lambda g, x, y: g / emit("Sqrt", x * x - 1)),
    "Atanh": (9, np.arctanh, lambda g, x, y: g / (1 - x * x)),
    "Erf": (9, in_float32(erf), lambda g, x, y: g * (2 / math.sqrt(math.pi)) * emit("Exp", -(x * x))),
}
STEPS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "Sign": (9, np.sign),
    "Floor": (1, np.floor),
    "Ceil": (1, np.ceil),
    "Round": (11, np.rint),
}

for _name, (_since, _function, _derivative) in FUNCTIONS.items():
    operator(_name, since=_since, reference=quietly(_function), gradient=unary(_derivative), infer=same_type)
for _name, (_since, _function) in STEPS.items():
    operator(
        _name,
        since=_since,
        reference=quietly(_function),
        gradient=not_differentiable(
            f"it is constant between its steps, so its slope is zero; straight_through={_name!r} trains through it",
            slope_is_zero=True,
        ),
        infer=same_type,
    )


def clip(x: np.ndarray, minimum: np.ndarray | None = None, maximum: np.ndarray | None = None) -> np.ndarray:
    """``x`` within the bounds that are given; the upper bound wins where they cross."""
    bounded = x if minimum is None else np.maximum(x, minimum)
    bounded = bounded if maximum is None else np.minimum(bounded, maximum)
    return bounded.astype(x.dtype)


def clip_by_attributes(
    x: np.ndarray,
    *,
    min: float = float(np.finfo(np.float32).min),
    max: float = float(np.finfo(np.float32).max),
    consumed_inputs: Any = None,
) -> np.ndarray:
    """Clip before opset 11."""
    with np.errstate(over="ignore"):
        return clip(x, x.dtype.type(min), x.dtype.type(max))


def _clip_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """Inside the bounds the gradient reaches ``x``; on or beyond a bound it belongs to the bound."""
    x, lower, upper = (*call.inputs, None, None)[:3]
    assert x is not None
    return _clip_parts(call, g, x, lower, upper)


def _clip_by_attributes_gradient(call: Call, g: Expression) -> list[Expression | None]:
    lower, upper = call.attribute("min"), call.attribute("max")
    lower_bound = None if lower is None else as_expression(lower, call.x)
    upper_bound = None if upper is None else as_expression(upper, call.x)
    return _clip_parts(call, g, call.x, lower_bound, upper_bound)[:1]


def _clip_parts(
    call: Call, g: Expression, x: Expression, lower: Expression | None, upper: Expression | None
) -> list[Expression | None]:
    wants = [*call.wants, False, False]
    bounds = _constant_bounds(lower, upper)
    if bounds is not None and not wants[1] and not wants[2]:
        numbers = {"activation": "Clip", "activation_alpha": bounds[0], "activation_beta": bounds[1]}
        return [activation_gradient(g, call.y, numbers, from_output=True), None, None]
    raised = x if lower is None else emit("Max", x, lower)
    below_upper = g if upper is None else masked(emit("Less", raised, upper), g)
    in_x = below_upper if lower is None else masked(emit("Greater", x, lower), below_upper)
    in_lower = in_upper = None
    if wants[1] and lower is not None:
        in_lower = unbroadcast(masked(emit("LessOrEqual", x, lower), below_upper), lower.shape)
    if wants[2] and upper is not None:
        in_upper = unbroadcast(masked(emit("GreaterOrEqual", raised, upper), g), upper.shape)
    return [in_x if wants[0] else None, in_lower, in_upper]


def _constant_bounds(lower: Expression | None, upper: Expression | None) -> tuple[float, float] | None:
    """Both bounds as numbers, where they are known and do not cross."""
    widest = float(np.finfo(np.float32).max)
    if any(bound is not None and bound.value is None for bound in (lower, upper)):
        return None
    low = -widest if lower is None or lower.value is None else float(lower.value.reshape(-1)[0])
    high = widest if upper is None or upper.value is None else float(upper.value.reshape(-1)[0])
    return (low, high) if low < high else None


operator("Clip", reference=clip_by_attributes, gradient=_clip_by_attributes_gradient, infer=same_type)
operator("Clip", since=11, reference=clip, gradient=_clip_gradient)
