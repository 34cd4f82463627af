"""Softmax spelled out, as exporters of JAX and of mathematics write it.

Cases, over one axis, where the subtraction of the largest element may be there or not:

- exp(z) / sum(exp(z)), the sum also as a reciprocal, becomes Softmax;
- z - log(sum(exp(z))) becomes LogSoftmax.

Without the subtraction large elements would overflow; Softmax gives what was meant. Only float32 and float64 are taken.
"""

from __future__ import annotations

import math

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.polynomials import number
from toolkit.compiler.passes.statistics import Reduced, behind, made_by, pairs, reduced
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite

VERSION = 13


def recognise_softmax(program: Program) -> None:
    """Put Softmax or LogSoftmax in the place of the last operator of its formula."""

    def rule(node: Node) -> Replacement | None:
        if node.domain or node.op_type not in ("Div", "Mul", "Sub") or "axis" in node.attributes:
            return None
        if node.y.dtype.name not in ("float32", "float64"):
            return None
        for left, right in pairs(node):
            found = _logarithm(left, right) if node.op_type == "Sub" else _quotient(node, left, right)
            if found is not None and len(found.axes) == 1:
                op_type = "LogSoftmax" if node.op_type == "Sub" else "Softmax"
                return program.append(op_type, [found.x], {"axis": found.axes[0]}, version=VERSION).outputs
        return None

    if rewrite(program, rule):
        remove_dead_code(program)


def _quotient(node: Node, exponential: Variable, other: Variable) -> Reduced | None:
    """z for exp(z) / sum(exp(z)), without what was subtracted from it."""
    exponent = made_by(exponential, "Exp")
    total: Variable | None = other
    if node.op_type == "Mul":
        inverse = behind(other, "Reciprocal", "Div")
        if inverse is None or (inverse.op_type == "Div" and number(inverse.inputs[0]) != 1.0):
            return None
        total = inverse.inputs[-1]
    found = reduced(total, "ReduceSum")
    if exponent is None or found is None or found.x is not exponential or other.shape != found.kept:
        return None
    return _unshifted(Reduced(exponent.x, found.axes))


def _logarithm(shifted: Variable, other: Variable) -> Reduced | None:
    """z for z - log(sum(exp(z))), without what was subtracted from it."""
    logarithm = behind(other, "Log")
    found = None if logarithm is None else reduced(logarithm.x, "ReduceSum")
    exponent = None if found is None else made_by(found.x, "Exp")
    if found is None or exponent is None or exponent.x is not shifted or other.shape != found.kept:
        return None
    return _unshifted(Reduced(shifted, found.axes))


def _unshifted(found: Reduced) -> Reduced:
    """What remains of x - max(x) over the same axes: x."""
    subtraction = made_by(found.x, "Sub")
    if subtraction is None or "axis" in subtraction.attributes:
        return found
    x, largest = subtraction.inputs[:2]
    assert x is not None and largest is not None
    is_shift = largest.shape == found.kept and _largest(largest) == Reduced(x, found.axes)
    return Reduced(x, found.axes) if is_shift else found


def _largest(variable: Variable) -> Reduced | None:
    """What a variable is the largest element of; no less than minus infinity, as JAX puts it."""
    floor = behind(variable, "Max")
    for part, other in [] if floor is None or len(floor.inputs) != 2 else pairs(floor):
        if number(other) == -math.inf:
            return reduced(part, "ReduceMax")
    return reduced(variable, "ReduceMax")
