"""How every elementwise operator is computed on numbers in registers: one row each.

A row says nothing of shapes and memory, and takes bfloat16, as float32, where it takes that. Refused: other element
types of half width and less, texts, whole numbers where their arithmetic may fail (quotients, powers), casts of floats
to anything but int32 and int64, and those to bfloat16 that would round twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from toolkit.backends.elementwise_work import is_modern
from toolkit.backends.native.assembly import functions
from toolkit.backends.native.assembly.number import BFLOAT16, BOOLEAN, FLOAT32, FLOATS, NUMBERS, Number, computed
from toolkit.backends.native.elementwise.slopes import through_activation
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.record import canonical_domain
from toolkit.operators.standard import activation_operators

INTEGER_TARGETS = frozenset(map(np.dtype, ("int32", "int64")))
ELEMENTS = frozenset({*NUMBERS, BOOLEAN, BFLOAT16})
LARGE = 20.0  # from here on tanh(softplus(x)) is 1 in float32


class Asked(NamedTuple):
    """One operation: its ``operands``, ``None`` where one is left out, and the type of the answer."""

    version: int
    attributes: Mapping[str, Any]
    operands: Sequence[Number | None]
    result: np.dtype

    @property
    def x(self) -> Number:
        first = self.operands[0]
        assert first is not None
        return first

    @property
    def present(self) -> list[Number]:
        return [item for item in self.operands if item is not None]

    def number(self, name: str, default: float) -> float:
        return float(self.attributes.get(name, default))


Say = Callable[[Asked], Number]


class Spelling(NamedTuple):
    """How to ``say`` an operator; ``types`` are those that its first input may have."""

    say: Say
    types: Collection[np.dtype] = tuple(FLOATS)
    accepts: Callable[[Node], bool] = lambda node: True


def _unary(function: Callable[[Number], Number]) -> Say:
    return lambda asked: function(asked.x)


def _binary(function: Callable[[Number, Number], Number]) -> Say:
    return lambda asked: function(*asked.present)


def _folded(function: Callable[[Number, Number], Number]) -> Say:
    return lambda asked: reduce(function, asked.present)


def _mean(asked: Asked) -> Number:
    return reduce(lambda one, other: one + other, asked.present) / float(len(asked.present))


def _clip(asked: Asked) -> Number:
    if asked.version < 11:
        widest = float(np.finfo(np.float32).max)
        return asked.x.larger(asked.number("min", -widest)).smaller(asked.number("max", widest))
    low, high = (*asked.operands[1:], None, None)[:2]
    found = asked.x if low is None else asked.x.larger(low)
    return found if high is None else found.smaller(high)


def _leaky_relu(asked: Asked) -> Number:
    x = asked.x
    return (x < 0.0).choose(x * asked.number("alpha", 0.01), x)


def elu(x: Number, alpha: float) -> Number:
    return (x > 0.0).choose(x, functions.exponential_less_one(x.smaller(0.0)) * alpha)


def _selu(asked: Asked) -> Number:
    new = asked.version >= 6
    alpha = activation_operators.SELU_ALPHA if new else activation_operators.FIRST_SELU_ALPHA
    gamma = activation_operators.SELU_GAMMA if new else activation_operators.FIRST_SELU_GAMMA
    return elu(asked.x, asked.number("alpha", alpha)) * asked.number("gamma", gamma)


def hard_sigmoid(x: Number, alpha: float, beta: float) -> Number:
    return (x * alpha + beta).larger(0.0).smaller(1.0)


def hard_swish(x: Number) -> Number:
    return x * hard_sigmoid(x, 1 / 6, 0.5)


def silu(x: Number) -> Number:
    return x * functions.sigmoid(x)


def gelu(x: Number) -> Number:
    return x * functions.normal_distribution(x)


def gelu_tanh(x: Number) -> Number:
    """Half of ``1 + tanh(u)`` is the sigmoid of ``2 u``, which takes one exponential and loses no digits below zero."""
    factor = -2.0 * math.sqrt(2 / math.pi)
    return x / (functions.exponential((x * x).times_plus(0.044715 * factor, factor) * x) + 1.0)


def mish(x: Number) -> Number:
    """With ``n = e (e + 2)`` for ``e = exp(x)``, the tangent of softplus is ``n / (n + 2)``."""
    share = functions.exponential(x.smaller(LARGE))
    ratio = share * (share + 2.0)
    return (x > LARGE).choose(x, x * (ratio / (ratio + 2.0)))


def _gelu(asked: Asked) -> Number:
    return gelu_tanh(asked.x) if asked.attributes.get("approximate", "none") == "tanh" else gelu(asked.x)


def _parametric_relu(asked: Asked) -> Number:
    x, slope = asked.present
    return (x < 0).choose(x * slope, x)


def _power(asked: Asked) -> Number:
    x, exponent = asked.present
    if exponent.name == x.like(2.0).name:
        return x * x
    if exponent.name == x.like(1.0).name:
        return x
    if exponent.name == x.like(3.0).name:
        return x * x * x
    return x.of_c_library("pow", exponent.converted(x.dtype))


def _chosen(asked: Asked) -> Number:
    condition, yes, no = asked.present
    return condition.choose(yes, no)


def _cast(asked: Asked) -> Number:
    return asked.x.converted(asked.result)


def _on_grid(asked: Asked) -> Number:
    x, scale = asked.present
    steps = x * scale if asked.attributes.get("is_multiplied", 0) else x / scale
    low, high = (x.like(asked.attributes[name]) for name in ("low", "high"))
    above = (steps > low).choose(steps, low)  # NaN becomes the lower limit
    return (above < high).choose(above, high).rounded()


def _shrink(asked: Asked) -> Number:
    x, bias, bound = asked.x, asked.number("bias", 0.0), asked.number("lambd", 0.5)
    return (x < -bound).choose(x + bias, (x > bound).choose(x - bias, 0.0))


def _thresholded(asked: Asked) -> Number:
    return (asked.x > asked.number("alpha", 1.0)).choose(asked.x, 0.0)


def _swish(asked: Asked) -> Number:
    return asked.x * functions.sigmoid(asked.x * asked.number("alpha", 1.0))


def _masked_scale(asked: Asked) -> Number:
    x, mask = asked.present
    return mask.choose(x * asked.number("scale", 1.0), 0.0)


def _slope(asked: Asked) -> Number:
    """What is known of an activation is its input or its output."""
    g, value = asked.present
    alpha, beta = asked.number("activation_alpha", 0.0), asked.number("activation_beta", 0.0)
    name, from_output = str(asked.attributes["activation"]), bool(asked.attributes.get("from_output", 0))
    return through_activation(g, value, name, alpha, beta, from_output)


def _batch_normalization(asked: Asked) -> Number:
    x, scale, shift, mean, variance = asked.present
    factor = scale / (variance + asked.number("epsilon", 1e-5)).square_root()
    return x * factor + (shift - mean * factor)


ACTIVATIONS: Mapping[str, Callable[[Number, float, float], Number]] = {
    # what fused operators may end in: the number, and the two parameters of the activation
    "": lambda x, alpha, beta: x,
    "Relu": lambda x, alpha, beta: x.larger(0.0),
    "LeakyRelu": lambda x, alpha, beta: (x < 0.0).choose(x * alpha, x),
    "Clip": lambda x, alpha, beta: x.larger(alpha).smaller(beta),
    "Sigmoid": lambda x, alpha, beta: functions.sigmoid(x),
    "Tanh": lambda x, alpha, beta: functions.hyperbolic_tangent(x),
    "Elu": lambda x, alpha, beta: elu(x, alpha),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda x, alpha, beta: hard_swish(x),
    "Gelu": lambda x, alpha, beta: gelu(x),
    "GeluTanh": lambda x, alpha, beta: gelu_tanh(x),
    "Silu": lambda x, alpha, beta: silu(x),
}


def has_one_type(node: Node) -> bool:
    """Whether all inputs are computed with in one element type."""
    return len({computed(item.dtype) for item in node.inputs if item is not None}) == 1


def is_uniform(node: Node) -> bool:
    """As before, of operands that broadcast."""
    return is_modern(node) and has_one_type(node)


def _by_channel(node: Node) -> bool:
    """Whether a normalisation is by channels whose statistics are given."""
    is_fixed = node.version >= 9 and not node.attributes.get("training_mode", 0)
    return is_fixed and len(node.x.shape) >= 2 and has_one_type(node)


def _casts(node: Node) -> bool:
    source, target = node.x.dtype, computed(node.y.dtype)
    if node.y.dtype == BFLOAT16 and source not in (FLOAT32, BFLOAT16):
        return False
    if computed(source) in FLOATS:
        return target in FLOATS or target in INTEGER_TARGETS or target == BOOLEAN
    return target in ELEMENTS


_C_LIBRARY = {
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "Asin": "asin",
    "Acos": "acos",
    "Atan": "atan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Asinh": "asinh",
    "Acosh": "acosh",
    "Atanh": "atanh",
}
_UNARY: dict[str, Callable[[Number], Number]] = {
    "Sqrt": Number.square_root,
    "Exp": functions.exponential,
    "Log": functions.logarithm,
    "Reciprocal": lambda x: 1.0 / x,
    "Tanh": functions.hyperbolic_tangent,
    "Erf": functions.error_function,
    "Round": Number.rounded,
    "Floor": Number.rounded_down,
    "Ceil": Number.rounded_up,
    "Sigmoid": functions.sigmoid,
    "Softplus": functions.softplus,
    "HardSwish": hard_swish,
    "Softsign": lambda x: x / (x.absolute() + 1.0),
    "Mish": mish,
    "IsNaN": lambda x: x.differs(x),
}
_COMPARISONS: dict[str, Callable[[Number, Number], Number]] = {
    "Equal": Number.equals,
    "Greater": lambda one, other: one > other,
    "Less": lambda one, other: one < other,
    "GreaterOrEqual": lambda one, other: one >= other,
    "LessOrEqual": lambda one, other: one <= other,
}
_ARITHMETIC: dict[str, Callable[[Number, Number], Number]] = {
    "Add": lambda one, other: one + other,
    "Sub": lambda one, other: one - other,
    "Mul": lambda one, other: one * other,
}
_TRUTHS: dict[str, Callable[[Number, Number], Number]] = {
    "And": lambda one, other: one & other,
    "Or": lambda one, other: one | other,
    "Xor": lambda one, other: one ^ other,
}
_OF_ONE_TYPE = tuple(NUMBERS)

SPELLINGS: dict[tuple[str, str], Spelling] = {
    **{("", name): Spelling(_unary(function)) for name, function in _UNARY.items()},
    **{
        ("", name): Spelling(lambda asked, function=function: asked.x.of_c_library(function))  # type: ignore[misc]
        for name, function in _C_LIBRARY.items()
    },
    **{
        ("", name): Spelling(_binary(function), _OF_ONE_TYPE, is_uniform)
        for name, function in {**_COMPARISONS, **_ARITHMETIC}.items()
    },
    **{("", name): Spelling(_binary(function), (BOOLEAN,), is_modern) for name, function in _TRUTHS.items()},
    ("", "Div"): Spelling(_binary(lambda one, other: one / other), accepts=is_uniform),
    ("", "Not"): Spelling(_unary(lambda x: ~x), (BOOLEAN,)),
    ("", "Neg"): Spelling(_unary(lambda x: -x), _OF_ONE_TYPE),
    ("", "Abs"): Spelling(_unary(Number.absolute), _OF_ONE_TYPE),
    ("", "Sign"): Spelling(_unary(functions.sign)),
    ("", "Relu"): Spelling(_unary(lambda x: x.larger(0)), _OF_ONE_TYPE),
    ("", "Pow"): Spelling(_power, accepts=is_uniform),
    ("", "Sum"): Spelling(_folded(lambda one, other: one + other), accepts=is_uniform),
    ("", "Mean"): Spelling(_mean, accepts=is_uniform),
    ("", "Max"): Spelling(_folded(Number.larger), _OF_ONE_TYPE, has_one_type),
    ("", "Min"): Spelling(_folded(Number.smaller), _OF_ONE_TYPE, has_one_type),
    ("", "Where"): Spelling(_chosen, (BOOLEAN,), lambda node: node.y.dtype in ELEMENTS),
    ("", "Clip"): Spelling(_clip, accepts=has_one_type),
    ("", "Cast"): Spelling(_cast, ELEMENTS, _casts),
    ("", "CastLike"): Spelling(_cast, ELEMENTS, _casts),
    ("", "LeakyRelu"): Spelling(_leaky_relu),
    ("", "Elu"): Spelling(lambda asked: elu(asked.x, asked.number("alpha", 1.0))),
    ("", "HardSigmoid"): Spelling(
        lambda asked: hard_sigmoid(asked.x, asked.number("alpha", 0.2), asked.number("beta", 0.5))
    ),
    ("", "Selu"): Spelling(_selu),
    ("", "ThresholdedRelu"): Spelling(_thresholded),
    ("", "Shrink"): Spelling(_shrink),
    ("", "Swish"): Spelling(_swish),
    ("", "PRelu"): Spelling(_parametric_relu, accepts=is_uniform),
    ("", "Gelu"): Spelling(_gelu),
    ("", "BatchNormalization"): Spelling(_batch_normalization, accepts=_by_channel),
    (TOOLKIT_DOMAIN, "Silu"): Spelling(_unary(silu)),
    (TOOLKIT_DOMAIN, "GeluTanh"): Spelling(_unary(gelu_tanh)),
    (TOOLKIT_DOMAIN, "OnGrid"): Spelling(_on_grid),
    (TOOLKIT_DOMAIN, "MaskedScale"): Spelling(_masked_scale),
    (TOOLKIT_DOMAIN, "ActivationGradient"): Spelling(_slope, accepts=is_uniform),
}


def spelling_of(node: Node) -> Spelling | None:
    """The row of an operator; ``None`` where there is none, or none for the node's element types."""
    found = SPELLINGS.get((canonical_domain(node.domain), node.op_type))
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    if found is None or not node.inputs or node.inputs[0] is None or len(node.outputs) != 1:
        return None
    fits = all(item.dtype in ELEMENTS for item in present)
    return found if fits and computed(node.x.dtype) in found.types and found.accepts(node) else None
