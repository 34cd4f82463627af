"""How every elementwise operator is said in CUDA C: one row each, naming a function of ``kernels/elements.h``.

A row says nothing of shapes and memory. Refused: element types below 8 bits and float8, texts, and what a row's
``accepts`` leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.backends.cuda.source import (
    ELEMENT_TYPES,
    FLOAT_TYPES,
    INTEGER_TYPES,
    NUMBER_TYPES,
    literal,
    type_name,
    wide_type,
)
from toolkit.backends.elementwise_work import has_one_type, is_modern, is_uniform
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.record import canonical_domain
from toolkit.operators.standard import activation_operators

FLOAT32 = np.dtype(np.float32)
BOOLEAN = frozenset({np.dtype(bool)})


@dataclass(frozen=True, slots=True)
class Spoken:
    """One operation to be said: the operands as C and what they are, ``""`` and ``None`` where one is left out.

    Operands are of the type that arithmetic on their element type happens in; so must the answers be.
    """

    op_type: str
    version: int
    attributes: Mapping[str, Any]
    operands: Sequence[str]
    types: Sequence[np.dtype | None]
    results: Sequence[np.dtype]

    @property
    def dtype(self) -> np.dtype:
        """The element type of the first operand."""
        first = self.types[0]
        assert first is not None
        return first

    @property
    def result(self) -> np.dtype:
        return self.results[0]

    def has(self, index: int) -> bool:
        """Whether the operand is there."""
        return index < len(self.types) and self.types[index] is not None


Say = Callable[[Spoken], Sequence[str]]


def _always(node: Node) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Spelling:
    """How to ``say`` an operator; ``types`` are those that its first input may have."""

    say: Say
    types: Collection[np.dtype] = FLOAT_TYPES
    accepts: Callable[[Node], bool] = _always


def call(function: str, *arguments: str) -> str:
    """A call of a function of the header."""
    return f"element::{function}({', '.join(arguments)})"


def converted(text: str, given: np.dtype, target: np.dtype) -> str:
    """An operand as another element type, in what arithmetic on that one happens in."""
    if given == target:
        return text
    made = f"converted<{type_name(target)}>({text})"
    return f"wide({made})" if target in HALF_WIDTH else made


def widened(text: str, given: np.dtype, target: np.dtype) -> str:
    """An operand in the type that arithmetic on ``target`` happens in, not rounded to ``target`` itself."""
    return converted(text, wide_type(given), wide_type(target))


def _function(name: str, **defaults: float) -> Say:
    """All operands, then the attributes as numbers, by their defaults in the schema."""

    def say(spoken: Spoken) -> list[str]:
        numbers = [_number(spoken, key, default) for key, default in defaults.items()]
        return [call(name, *spoken.operands, *numbers)]

    return say


def _number(spoken: Spoken, name: str, default: float = 0.0) -> str:
    return literal(float(spoken.attributes.get(name, default)), wide_type(spoken.dtype))


def _folded(name: str) -> Say:
    """Any number of operands, two at a time."""

    def say(spoken: Spoken) -> list[str]:
        text = spoken.operands[0]
        for item in spoken.operands[1:]:
            text = call(name, text, item)
        return [text]

    return say


def _mean(spoken: Spoken) -> list[str]:
    return [call("divide", *_folded("add")(spoken), literal(len(spoken.operands), wide_type(spoken.dtype)))]


def _modulo(spoken: Spoken) -> list[str]:
    return [call("remainder_of" if spoken.attributes.get("fmod", 0) else "modulo", *spoken.operands)]


def _shift(spoken: Spoken) -> list[str]:
    direction = "moved_left" if spoken.attributes["direction"] == "LEFT" else "moved_right"
    return [call(direction, *spoken.operands)]


def _infinite(spoken: Spoken) -> list[str]:
    signs = (spoken.attributes.get(name, 1) for name in ("detect_negative", "detect_positive"))
    return [call("is_infinite", spoken.operands[0], *("true" if sign else "false" for sign in signs))]


def _clip(spoken: Spoken) -> list[str]:
    text = spoken.operands[0]
    if spoken.version < 11:
        widest = float(np.finfo(np.float32).max)
        bounds = (spoken.attributes.get("min", -widest), spoken.attributes.get("max", widest))
        return [call("clip", text, *(literal(bound, spoken.dtype) for bound in bounds))]
    if spoken.has(1):
        text = call("maximum", text, spoken.operands[1])
    return [call("minimum", text, spoken.operands[2]) if spoken.has(2) else text]


def _cast(spoken: Spoken) -> list[str]:
    return [converted(spoken.operands[0], wide_type(spoken.dtype), spoken.result)]


def _gelu(spoken: Spoken) -> list[str]:
    name = "gelu_tanh" if spoken.attributes.get("approximate", "none") == "tanh" else "gelu"
    return [call(name, spoken.operands[0])]


def _selu(spoken: Spoken) -> list[str]:
    new = spoken.version >= 6
    alpha = activation_operators.SELU_ALPHA if new else activation_operators.FIRST_SELU_ALPHA
    gamma = activation_operators.SELU_GAMMA if new else activation_operators.FIRST_SELU_GAMMA
    return [call("selu", spoken.operands[0], _number(spoken, "alpha", alpha), _number(spoken, "gamma", gamma))]


SLOPES: Mapping[str, tuple[str, str, int]] = {
    # seen from the input, seen from the output, how many numbers it takes
    "Relu": ("relu_slope", "relu_slope", 0),
    "LeakyRelu": ("leaky_relu_slope", "leaky_relu_slope", 1),
    "Clip": ("between", "between", 2),
    "Sigmoid": ("sigmoid_slope", "sigmoid_slope_of_output", 0),
    "Tanh": ("tanh_slope", "tanh_slope_of_output", 0),
    "Elu": ("elu_slope", "elu_slope_of_output", 1),
    "HardSigmoid": ("hard_sigmoid_slope", "", 2),
    "HardSwish": ("hard_swish_slope", "", 0),
    "Gelu": ("gelu_slope", "", 0),
    "GeluTanh": ("gelu_tanh_slope", "", 0),
    "Silu": ("silu_slope", "", 0),
    "Softplus": ("softplus_slope", "", 0),
    "Abs": ("absolute_slope", "", 0),
    "Sqrt": ("square_root_slope", "", 0),
    "Exp": ("exponential_slope", "", 0),
    "Log": ("logarithm_slope", "", 0),
}


def _slope(spoken: Spoken) -> list[str]:
    of_input, of_output, count = SLOPES[spoken.attributes["activation"]]
    numbers = [_number(spoken, name) for name in ("activation_alpha", "activation_beta")[:count]]
    return [call(of_output if spoken.attributes.get("from_output", 0) else of_input, *spoken.operands, *numbers)]


STEPS: Mapping[str, str] = {"Round": "rounded", "Floor": "rounded_down", "Ceil": "rounded_up", "Sign": "sign"}


def _straight_through(spoken: Spoken) -> list[str]:
    return [call(STEPS[spoken.attributes["operator"]], spoken.operands[0])]


def _casts(node: Node) -> bool:
    return node.y.dtype in ELEMENT_TYPES


def _whole_number(node: Node) -> bool:
    return is_modern(node) and node.inputs[1] is not None and node.inputs[1].dtype in NUMBER_TYPES


_UNARY: dict[str, str] = {
    "Sqrt": "square_root",
    "Exp": "exponential",
    "Log": "logarithm",
    "Reciprocal": "reciprocal",
    "Sin": "sine",
    "Cos": "cosine",
    "Tan": "tangent",
    "Asin": "arc_sine",
    "Acos": "arc_cosine",
    "Atan": "arc_tangent",
    "Sinh": "hyperbolic_sine",
    "Cosh": "hyperbolic_cosine",
    "Tanh": "hyperbolic_tangent",
    "Asinh": "area_sine",
    "Acosh": "area_cosine",
    "Atanh": "area_tangent",
    "Erf": "error_function",
    "Round": "rounded",
    "Floor": "rounded_down",
    "Ceil": "rounded_up",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "HardSwish": "hard_swish",
    "Softsign": "softsign",
    "Mish": "mish",
    "IsNaN": "is_nan",
}
_COMPARISONS: dict[str, str] = {
    "Equal": "equal",
    "Greater": "greater",
    "Less": "less",
    "GreaterOrEqual": "greater_or_equal",
    "LessOrEqual": "less_or_equal",
}
_ARITHMETIC: dict[str, str] = {"Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide"}
_BITS: dict[str, str] = {
    "BitwiseAnd": "bits_of_both",
    "BitwiseOr": "bits_of_either",
    "BitwiseXor": "bits_of_one",
    "BitwiseNot": "opposite_bits",
}
_TRUTHS: dict[str, str] = {"And": "both", "Or": "either", "Xor": "one_of"}

SPELLINGS: dict[tuple[str, str], Spelling] = {
    **{("", name): Spelling(_function(function)) for name, function in _UNARY.items()},
    **{("", name): Spelling(_function(function), ELEMENT_TYPES, is_uniform) for name, function in _COMPARISONS.items()},
    **{("", name): Spelling(_function(function), NUMBER_TYPES, is_uniform) for name, function in _ARITHMETIC.items()},
    **{("", name): Spelling(_function(function), INTEGER_TYPES, has_one_type) for name, function in _BITS.items()},
    **{("", name): Spelling(_function(function), BOOLEAN, is_modern) for name, function in _TRUTHS.items()},
    ("", "Not"): Spelling(_function("opposite"), BOOLEAN),
    ("", "Neg"): Spelling(_function("negative"), NUMBER_TYPES),
    ("", "Abs"): Spelling(_function("absolute"), NUMBER_TYPES),
    ("", "Sign"): Spelling(_function("sign"), NUMBER_TYPES),
    ("", "Relu"): Spelling(_function("relu"), NUMBER_TYPES),
    ("", "Mod"): Spelling(_modulo, NUMBER_TYPES, has_one_type),
    ("", "Pow"): Spelling(_function("power"), NUMBER_TYPES, _whole_number),
    ("", "Sum"): Spelling(_folded("add"), NUMBER_TYPES, has_one_type),
    ("", "Mean"): Spelling(_mean, FLOAT_TYPES, has_one_type),
    ("", "Max"): Spelling(_folded("maximum"), NUMBER_TYPES, has_one_type),
    ("", "Min"): Spelling(_folded("minimum"), NUMBER_TYPES, has_one_type),
    ("", "BitShift"): Spelling(_shift, INTEGER_TYPES, has_one_type),
    ("", "IsInf"): Spelling(_infinite),
    ("", "Where"): Spelling(_function("chosen"), BOOLEAN, lambda node: node.y.dtype in ELEMENT_TYPES),
    ("", "Clip"): Spelling(_clip, NUMBER_TYPES, has_one_type),
    ("", "Cast"): Spelling(_cast, ELEMENT_TYPES, _casts),
    ("", "CastLike"): Spelling(_cast, ELEMENT_TYPES, _casts),
    ("", "LeakyRelu"): Spelling(_function("leaky_relu", alpha=0.01)),
    ("", "Elu"): Spelling(_function("elu", alpha=1.0)),
    ("", "HardSigmoid"): Spelling(_function("hard_sigmoid", alpha=0.2, beta=0.5)),
    ("", "Selu"): Spelling(_selu),
    ("", "Celu"): Spelling(_function("celu", alpha=1.0)),
    ("", "ThresholdedRelu"): Spelling(_function("thresholded_relu", alpha=1.0)),
    ("", "Shrink"): Spelling(_function("shrink", bias=0.0, lambd=0.5)),
    ("", "Swish"): Spelling(_function("swish", alpha=1.0)),
    ("", "PRelu"): Spelling(_function("parametric_relu"), NUMBER_TYPES, is_uniform),
    ("", "Gelu"): Spelling(_gelu),
    (TOOLKIT_DOMAIN, "Silu"): Spelling(_function("silu")),
    (TOOLKIT_DOMAIN, "GeluTanh"): Spelling(_function("gelu_tanh")),
    (TOOLKIT_DOMAIN, "ActivationGradient"): Spelling(_slope, FLOAT_TYPES, has_one_type),
    (TOOLKIT_DOMAIN, "MaskedScale"): Spelling(_function("masked", scale=1.0)),
    (TOOLKIT_DOMAIN, "StraightThrough"): Spelling(_straight_through),
}


def spelling_of(node: Node) -> Spelling | None:
    """The row of an operator; ``None`` where there is none, or none for the node's element types."""
    found = SPELLINGS.get((canonical_domain(node.domain), node.op_type))
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    if found is None or not node.inputs or node.inputs[0] is None or node.outputs[0] is None:
        return None
    fits = all(item.dtype in ELEMENT_TYPES for item in present)
    return found if fits and node.x.dtype in found.types and found.accepts(node) else None
