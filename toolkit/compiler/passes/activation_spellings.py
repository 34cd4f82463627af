"""Activations spelled out: the formulas that exporters write in place of Gelu, Silu, HardSwish and Mish.

Each is a polynomial of its argument x and of one function a of x, so any order and grouping of its factors is found:

- Gelu: (x + x a) / 2, a = erf(x / sqrt 2), or a = tanh(sqrt(2 / pi) (x + 0.044715 x^3)) for its approximation;
- Silu: x a, a = sigmoid(x);
- HardSwish: x a, a = HardSigmoid(x; 1/6, 1/2); or x a / 6, a = clip(x + 3, 0, 6);
- Mish: x a, a = tanh(softplus(x)).

Only float32 and float64 are taken: of half-width floats every rounding would move.
"""

from __future__ import annotations

import math

from toolkit.compiler.passes.fusion import as_activation
from toolkit.compiler.passes.polynomials import Polynomial, is_like, members, polynomial_of
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.operators.expression import OPSET, TOOLKIT_DOMAIN
from toolkit.operators.standard.activation import GELU_CUBE, GELU_SLOPE

HALF_OF_BOTH: Polynomial = {(1, 0): 0.5, (1, 1): 0.5}
PRODUCT: Polynomial = {(1, 1): 1.0}
SIXTH: Polynomial = {(1, 1): 1.0 / 6.0}
ITSELF: Polynomial = {(1,): 1.0}
CUBIC: Polynomial = {(1,): GELU_SLOPE, (3,): GELU_SLOPE * GELU_CUBE}
FUNCTIONS = ("Erf", "Tanh", "Sigmoid", "HardSigmoid", "Clip")


def recognise_activations(program: Program) -> None:
    """Put the activation in the place of the last multiplication (or division) of its formula."""

    def rule(node: Node) -> Replacement | None:
        if node.domain or node.op_type not in ("Mul", "Div") or node.y.dtype.name not in ("float32", "float64"):
            return None
        for inner in (item.producer for item in members(node.y)):
            if inner is not None and not inner.domain and inner.op_type in FUNCTIONS:
                found = _recognised(program, node.y, inner)
                if found is not None:
                    return found
        return None

    rewrite(program, rule)


def _recognised(program: Program, result: Variable, function: Node) -> Replacement | None:
    """The activation that ``result`` is, given the function in its formula."""
    argument = function.x
    softened = argument.producer
    if function.op_type == "Tanh" and softened is not None and softened.op_type == "Softplus" and not softened.domain:
        argument = softened.x
    for x in members(argument):
        whole = polynomial_of(result, (x, function.y))
        if x.shape != result.shape or whole is None:
            continue
        inner = polynomial_of(argument, (x,))
        if function.op_type == "Erf" and is_like(whole, HALF_OF_BOTH) and is_like(inner, {(1,): math.sqrt(0.5)}):
            return _standard(program, "Gelu", x)
        if function.op_type == "Sigmoid" and is_like(whole, PRODUCT) and is_like(inner, ITSELF):
            return program.append("Silu", [x], {}, domain=TOOLKIT_DOMAIN).outputs
        if function.op_type == "Tanh" and argument is not function.x and is_like(whole, PRODUCT):
            return _standard(program, "Mish", x) if is_like(inner, ITSELF) else None
        if function.op_type == "Tanh" and is_like(whole, HALF_OF_BOTH) and is_like(inner, CUBIC):
            return _standard(program, "Gelu", x, approximate="tanh")
        if _is_hard_swish(function, whole, inner):
            return _standard(program, "HardSwish", x)
    return None


def _is_hard_swish(function: Node, whole: Polynomial | None, inner: Polynomial | None) -> bool:
    said = as_activation(function)
    if said is None or function.op_type not in ("HardSigmoid", "Clip"):
        return False
    numbers = said["activation_alpha"], said["activation_beta"]
    if function.op_type == "HardSigmoid":
        is_same = math.isclose(numbers[0], 1.0 / 6.0, rel_tol=1e-5) and numbers[1] == 0.5
        return is_same and is_like(whole, PRODUCT) and is_like(inner, ITSELF)
    return numbers == (0.0, 6.0) and is_like(whole, SIXTH) and is_like(inner, {(1,): 1.0, (0,): 3.0})


def _standard(program: Program, op_type: str, x: Variable, **attributes: object) -> Replacement:
    return program.append(op_type, [x], dict(attributes), version=OPSET).outputs
