"""Functions of one number spelled out in arithmetic, of which ``activation_spellings`` are made, and fusion knows.

- Sigmoid: 1 / (1 + exp(-x)), also as a reciprocal; z / (1 + exp(-x)) becomes z times a Sigmoid;
- Softplus: log(1 + exp(x));
- Relu: max(x, 0); LeakyRelu: max(x, a x) for a between 0 and 1;
- Clip: min(max(x, a), b) for a below b, in either order, where Relu is a maximum with 0;
- HardSigmoid: clip(x + 3, 0, 6) / 6, or clip(a x + b, 0, 1).

Numbers are constants of one element. Only float32 and float64 are taken.
"""

from __future__ import annotations

import numpy as np

from toolkit.compiler.passes.fusion import as_activation
from toolkit.compiler.passes.polynomials import is_like, members, number, polynomial_of
from toolkit.compiler.passes.statistics import made_by, pairs
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.operators.expression import OPSET


def recognise_functions(program: Program) -> None:
    """Put the function in the place of the last operator of its formula."""

    def rule(node: Node) -> Replacement | None:
        if node.domain or node.op_type not in RULES or "axis" in node.attributes or node.outputs[0] is None:
            return None
        if node.y.dtype.name not in ("float32", "float64"):
            return None
        if node.op_type in ("Max", "Min") and len(node.inputs) != 2:
            return None
        found = RULES[node.op_type](program, node)
        return None if found is None or found.shape != node.y.shape else [found]

    rewrite(program, rule)


def _standard(program: Program, op_type: str, x: Variable, *more: Variable, **attributes: float) -> Variable:
    return program.append(op_type, [x, *more], dict(attributes), version=OPSET).y


def _reciprocal(program: Program, node: Node) -> Variable | None:
    argument = _one_and_exponential(node.x, -1.0)
    return None if argument is None else _standard(program, "Sigmoid", argument)


def _quotient(program: Program, node: Node) -> Variable | None:
    numerator, denominator = node.inputs
    assert denominator is not None and numerator is not None
    argument = _one_and_exponential(denominator, -1.0)
    if argument is None:
        return _hard_sigmoid(program, node)
    sigmoid = _standard(program, "Sigmoid", argument)
    return sigmoid if number(numerator) == 1.0 else _standard(program, "Mul", numerator, sigmoid)


def _logarithm(program: Program, node: Node) -> Variable | None:
    argument = _one_and_exponential(node.x, 1.0)
    return None if argument is None else _standard(program, "Softplus", argument)


def _one_and_exponential(variable: Variable, sign: float) -> Variable | None:
    """x, if a variable is 1 + exp(sign x)."""
    total = made_by(variable, "Add")
    for part, other in [] if total is None else pairs(total):
        exponential = made_by(part, "Exp") if number(other) == 1.0 else None
        if exponential is None or exponential.y.shape != variable.shape:
            continue
        if sign > 0:
            return exponential.x
        negated = made_by(exponential.x, "Neg", "Mul", "Div")
        for x in [] if negated is None else [item for item in negated.inputs if item is not None]:
            if x.shape == variable.shape and is_like(polynomial_of(exponential.x, (x,)), {(1,): sign}):
                return x
    return None


def _maximum(program: Program, node: Node) -> Variable | None:
    for x, other in pairs(node):
        bound = number(other)
        if bound is not None:
            upper = _bounded(x, "Min")
            if upper is not None and bound < upper[1]:
                return _clip(program, upper[0], bound, upper[1])
            if bound == 0.0:
                return _standard(program, "Relu", x)
        slope = (polynomial_of(other, (x,)) or {}).get((1,), 0.0) if made_by(other, "Mul", "Div") else 0.0
        if 0.0 < slope < 1.0 and is_like(polynomial_of(other, (x,)), {(1,): slope}):
            return _standard(program, "LeakyRelu", x, alpha=slope)
    return None


def _minimum(program: Program, node: Node) -> Variable | None:
    for x, other in pairs(node):
        bound, lower = number(other), _bounded(x, "Max")
        if bound is not None and lower is not None and lower[1] < bound:
            return _clip(program, lower[0], lower[1], bound)
    return None


def _bounded(variable: Variable, op_type: str) -> tuple[Variable, float] | None:
    """x and the number, if a variable is the Max (or Min) of both."""
    node = made_by(variable, op_type, *(["Relu"] if op_type == "Max" else []))
    if node is None or len(node.inputs) > 2:
        return None
    if node.op_type == "Relu":
        return node.x, 0.0
    for x, other in pairs(node) if len(node.inputs) == 2 else []:
        bound = number(other)
        if bound is not None:
            return x, bound
    return None


def _clip(program: Program, x: Variable, low: float, high: float) -> Variable:
    bounds = [program.constant(np.asarray(bound, x.dtype)).variable for bound in (low, high)]
    return _standard(program, "Clip", x, *bounds)


def _hard_sigmoid(program: Program, node: Node) -> Variable | None:
    for bounded, other in pairs(node):
        clip, factor = made_by(bounded, "Clip"), number(other)
        said = None if clip is None else as_activation(clip)
        if clip is None or said is None or not factor:
            continue
        share = factor if node.op_type == "Mul" else 1.0 / factor
        numbers = said["activation_alpha"], said["activation_beta"]
        if numbers != (0.0, 6.0) or not np.isclose(share * 6.0, 1.0, rtol=1e-5, atol=0.0):
            continue
        shifted = made_by(clip.x, "Add")
        for x, three in [] if shifted is None else pairs(shifted):
            if number(three) == 3.0:
                return _standard(program, "HardSigmoid", x, alpha=1.0 / 6.0, beta=0.5)
    return None


def _clipped_line(program: Program, node: Node) -> Variable | None:
    said = as_activation(node)
    if said is None or (said["activation_alpha"], said["activation_beta"]) != (0.0, 1.0):
        return None
    for x in reversed([item for item in members(node.x) if item is not node.x and item.shape == node.y.shape]):
        line = polynomial_of(node.x, (x,)) or {}
        if {(1,)} <= line.keys() <= {(0,), (1,)}:
            return _standard(program, "HardSigmoid", x, alpha=line[1,], beta=line.get((0,), 0.0))
    return None


RULES = {
    "Clip": _clipped_line,
    "Div": _quotient,
    "Log": _logarithm,
    "Max": _maximum,
    "Min": _minimum,
    "Mul": _hard_sigmoid,
    "Reciprocal": _reciprocal,
}
