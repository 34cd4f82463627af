"""Layer normalisation spelled out, as exporters below opset 17 write it.

Cases, where mean and variance are taken over the same last axes:

- (x - mean) / sqrt(variance + epsilon), the root also as a reciprocal or as a power, becomes LayerNormalization;
- a product of that, or of the inverse root, with a vector over the normalised axes becomes its scale, a sum its bias;
- x * (scale / root) + (bias - mean * (scale / root)), TensorFlow's spelling, becomes all of it at once;
- LayerNormalization over several axes, however it came about, becomes one over a single axis, which backends know.

``statistics`` tells what counts as mean and variance. Only float32 and float64 are taken.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.polynomials import number
from toolkit.compiler.passes.statistics import Reduced, behind, centre_of, made_by, mean_of, pairs, variance_of
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.operators.expression import reshape

VERSION = 17


class _Deviation(NamedTuple):
    """What a standard deviation is of, over axes that are the last ones, and the epsilon in its root."""

    of: Reduced
    epsilon: float

    @property
    def x(self) -> Variable:
        return self.of.x

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the normalised axes."""
        return self.x.shape[self.of.axes[0] :]


def recognise_layer_normalization(program: Program) -> None:
    """Apply the cases above."""
    uses = use_counts(program)

    def rule(node: Node) -> Replacement | None:
        if node.domain or node.op_type not in ("Mul", "Div", "Add") or "axis" in node.attributes:
            return None
        if node.y.dtype.name not in ("float32", "float64"):
            return None
        found = _normalised(program, node) if node.op_type != "Add" else _shifted_line(program, node)
        found = found or _affine(program, node, uses)
        if found is not None and found[0] is not None:
            uses[found[0]] = uses[node.y]
        return found

    is_changed = rewrite(program, rule)
    if rewrite(program, lambda node: _over_one_axis(program, node)) or is_changed:
        remove_dead_code(program)


def _over_one_axis(program: Program, node: Node) -> Replacement | None:
    """The same with its normalised axes joined, where scale and bias have their very shape."""
    if node.op_type != "LayerNormalization" or node.domain or any(item is not None for item in node.outputs[1:]):
        return None
    axis = int(node.attributes.get("axis", -1)) % len(node.x.shape)
    lead, joined = node.x.shape[:axis], node.x.shape[axis:]
    vectors = [item for item in node.inputs[1:] if item is not None]
    if len(joined) == 1 or any(item.shape != joined for item in vectors):
        return None
    size = math.prod(joined)
    x, *flat = (
        reshape(program.expression(item), shape).variable
        for item, shape in [(node.x, (*lead, size)), *((item, (size,)) for item in vectors)]
    )
    made = program.append("LayerNormalization", [x, *flat], {**node.attributes, "axis": -1}, version=VERSION)
    return [reshape(program.expression(made.y), node.y.shape).variable]


def _normalised(program: Program, node: Node) -> Replacement | None:
    """(x - mean) times the inverse deviation, perhaps times a scale, or divided by the deviation."""
    for centred, factor in pairs(node):
        subtraction = made_by(centred, "Sub")
        of = None if subtraction is None else centre_of(subtraction)
        if of is None:
            continue
        found = _deviation(factor) if node.op_type == "Div" else _inverse_deviation(factor)
        scale = None
        if found is None and node.op_type == "Mul":
            found, scale = _scaled_inverse(program, factor)
        elif factor.shape != of.kept:
            continue
        if found is not None and found.of == of:
            ones = program.constant(np.ones(found.shape, found.x.dtype)).variable
            return _append(program, found, [found.x, ones if scale is None else scale])
    return None


def _append(program: Program, found: _Deviation, inputs: list[Variable | None]) -> Replacement:
    attributes = {"axis": -len(found.shape), "epsilon": found.epsilon}
    return program.append("LayerNormalization", inputs, attributes, version=VERSION).outputs


def _affine(program: Program, node: Node, uses: Counter[Variable]) -> Replacement | None:
    """A scale in the place of the ones, or a bias in the place of none."""
    if node.op_type == "Div":
        return None
    for normal, other in pairs(node):
        made = made_by(normal, "LayerNormalization")
        if made is None or uses[normal] > 1 or len(made.inputs) > 2 or node.y.shape != made.y.shape:
            continue
        scale = made.inputs[1]
        assert scale is not None
        vector = _as_vector(program, other, scale.shape)
        if vector is None or vector.dtype != normal.dtype:
            continue
        if node.op_type == "Add":
            inputs: list[Variable | None] = [made.x, scale, vector]
        elif scale.constant is not None and scale.constant.min() == scale.constant.max() == 1:
            inputs = [made.x, vector]
        else:
            continue
        return program.append("LayerNormalization", inputs, made.attributes, version=VERSION).outputs
    return None


def _as_vector(program: Program, variable: Variable, shape: tuple[int, ...]) -> Variable | None:
    """A variable in the shape of the normalised axes, if axes of size one are all that it has besides."""
    leading = variable.shape[: len(variable.shape) - len(shape)]
    if any(size != 1 for size in leading) or variable.shape[len(leading) :] != shape:
        return None
    found: Variable = reshape(program.expression(variable), shape).variable
    return found


def _shifted_line(program: Program, node: Node) -> Replacement | None:
    """x * (scale / root) + (bias - mean * (scale / root))."""
    for product, shift in pairs(node):
        line, moved = made_by(product, "Mul"), made_by(shift, "Sub")
        if line is None or moved is None:
            continue
        bias, taken = moved.inputs[:2]
        moving = made_by(taken, "Mul")
        for x, factor in pairs(line):
            if moving is None or bias is None or factor not in moving.inputs:
                continue
            found, scale = _scaled_inverse(program, factor)
            mean = next((item for item in moving.inputs if item is not factor), None)
            if found is None or scale is None or found.x is not x or mean is None or mean.shape != found.of.kept:
                continue
            vector = _as_vector(program, bias, found.shape)
            if vector is not None and mean_of(mean) == found.of:
                return _append(program, found, [x, scale, vector])
    return None


def _scaled_inverse(program: Program, variable: Variable) -> tuple[_Deviation, Variable] | tuple[None, None]:
    """What the product of an inverse deviation and a scale is of, and that scale."""
    product = made_by(variable, "Mul")
    for inverse, other in [] if product is None else pairs(product):
        found = _inverse_deviation(inverse)
        scale = None if found is None else _as_vector(program, other, found.shape)
        if found is not None and scale is not None and inverse.shape == found.of.kept and scale.dtype == found.x.dtype:
            return found, scale
    return None, None


def _inverse_deviation(variable: Variable) -> _Deviation | None:
    """What 1 / sqrt(variance + epsilon) is of."""
    node = behind(variable, "Reciprocal", "Div", "Pow")
    if node is None:
        return None
    if node.op_type == "Pow":
        return _with_epsilon(node.x) if number(node.inputs[1]) == -0.5 else None
    if node.op_type == "Div":
        return _deviation(node.inputs[1]) if number(node.inputs[0]) == 1.0 else None
    return _deviation(node.x)


def _deviation(variable: Variable | None) -> _Deviation | None:
    """What sqrt(variance + epsilon) is of."""
    node = behind(variable, "Sqrt", "Pow")
    if node is None or (node.op_type == "Pow" and number(node.inputs[1]) != 0.5):
        return None
    return _with_epsilon(node.x)


def _with_epsilon(variable: Variable) -> _Deviation | None:
    """What variance + epsilon is of."""
    total = behind(variable, "Add")
    for part, other in [] if total is None else pairs(total):
        epsilon = number(other)
        found = None if epsilon is None else variance_of(part)
        if epsilon is not None and found is not None and _are_last(found):
            return _Deviation(found, epsilon)
    return None


def _are_last(found: Reduced) -> bool:
    rank = len(found.x.shape)
    return found.axes == tuple(range(rank - len(found.axes), rank))
