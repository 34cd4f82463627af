"""Layer normalisation spelled out, as exporters below opset 17 write it.

Cases, where mean and variance are ReduceMean over the same last axes, kept as axes of size one:

- (x - mean) / sqrt(variance + epsilon), the root also as a reciprocal or as a power, becomes LayerNormalization;
- a product of that with a vector over the normalised axes becomes its scale, a sum its bias;
- x * (scale / root) + (bias - mean * (scale / root)), TensorFlow's spelling, becomes all of it at once.

The variance is the mean of the square (Pow, or a product with itself) of x - mean. Only float32 and float64 are taken.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.polynomials import number
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts

VERSION = 17


class _Statistics(NamedTuple):
    """What an inverse standard deviation was computed of: x, its mean, the first normalised axis, epsilon."""

    x: Variable
    mean: Variable
    axis: int
    epsilon: float


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

    if rewrite(program, rule):
        remove_dead_code(program)


def _made_by(variable: Variable | None, *op_types: str) -> Node | None:
    node = None if variable is None else variable.producer
    return node if node is not None and not node.domain and node.op_type in op_types else None


def _pairs(node: Node) -> list[tuple[Variable, Variable]]:
    left, right = node.inputs[:2]
    assert left is not None and right is not None
    return [(left, right)] if node.op_type in ("Div", "Sub") else [(left, right), (right, left)]


def _normalised(program: Program, node: Node) -> Replacement | None:
    """(x - mean) times the inverse deviation, or divided by the deviation."""
    for centred, factor in _pairs(node):
        found = _deviation(factor) if node.op_type == "Div" else _inverse_deviation(factor)
        if found is None or not _is_centred(centred, found):
            continue
        ones = program.constant(np.ones(found.x.shape[found.axis :], found.x.dtype)).variable
        return _append(program, found, [found.x, ones])
    return None


def _append(program: Program, found: _Statistics, inputs: list[Variable | None]) -> Replacement:
    attributes = {"axis": found.axis - len(found.x.shape), "epsilon": found.epsilon}
    return program.append("LayerNormalization", inputs, attributes, version=VERSION).outputs


def _affine(program: Program, node: Node, uses: Counter[Variable]) -> Replacement | None:
    """A scale in the place of the ones, or a bias in the place of none."""
    if node.op_type == "Div":
        return None
    for normal, vector in _pairs(node):
        made = _made_by(normal, "LayerNormalization")
        if made is None or uses[normal] > 1 or len(made.inputs) > 2 or vector.dtype != normal.dtype:
            continue
        scale = made.inputs[1]
        assert scale is not None
        if vector.shape != scale.shape or node.y.shape != made.y.shape:
            continue
        if node.op_type == "Add":
            inputs: list[Variable | None] = [made.x, scale, vector]
        elif scale.constant is not None and scale.constant.min() == scale.constant.max() == 1:
            inputs = [made.x, vector]
        else:
            continue
        return program.append("LayerNormalization", inputs, made.attributes, version=VERSION).outputs
    return None


def _shifted_line(program: Program, node: Node) -> Replacement | None:
    """x * (scale / root) + (bias - mean * (scale / root))."""
    for product, shift in _pairs(node):
        line, moved = _made_by(product, "Mul"), _made_by(shift, "Sub")
        if line is None or moved is None:
            continue
        bias, taken = moved.inputs[:2]
        for x, factor in _pairs(line):
            slope, mean = _made_by(factor, "Mul"), _made_by(taken, "Mul")
            if slope is None or mean is None or bias is None or factor not in mean.inputs:
                continue
            for inverse, scale in _pairs(slope):
                found = _inverse_deviation(inverse)
                if found is None or found.x is not x or found.mean not in mean.inputs:
                    continue
                if scale.shape == bias.shape == x.shape[found.axis :]:
                    return _append(program, found, [x, scale, bias])
    return None


def _inverse_deviation(variable: Variable) -> _Statistics | None:
    """What 1 / sqrt(variance + epsilon) is of."""
    node = _made_by(variable, "Reciprocal", "Div", "Pow")
    if node is None:
        return None
    if node.op_type == "Pow":
        return _variance(node.x) if number(node.inputs[1]) == -0.5 else None
    if node.op_type == "Div":
        return _deviation(node.inputs[1]) if number(node.inputs[0]) == 1.0 else None
    return _deviation(node.x)


def _deviation(variable: Variable | None) -> _Statistics | None:
    """What sqrt(variance + epsilon) is of."""
    node = _made_by(variable, "Sqrt", "Pow")
    if node is None or (node.op_type == "Pow" and number(node.inputs[1]) != 0.5):
        return None
    return _variance(node.x)


def _variance(variable: Variable) -> _Statistics | None:
    """What variance + epsilon is of."""
    total = _made_by(variable, "Add")
    for part, other in [] if total is None else _pairs(total):
        epsilon, mean = number(other), _made_by(part, "ReduceMean")
        square = None if mean is None else _made_by(mean.x, "Pow", "Mul")
        if epsilon is None or mean is None or square is None:
            continue
        is_square = number(square.inputs[1]) == 2.0 if square.op_type == "Pow" else square.inputs[0] is square.inputs[1]
        centred = _made_by(square.x, "Sub")
        axis = _last_axes(mean)
        if not is_square or centred is None or axis is None:
            continue
        inner = _made_by(centred.inputs[1], "ReduceMean")
        if inner is not None and inner.x is centred.x and _last_axes(inner) == axis:
            return _Statistics(centred.x, inner.y, axis, epsilon)
    return None


def _is_centred(variable: Variable, found: _Statistics) -> bool:
    node = _made_by(variable, "Sub")
    return node is not None and node.x is found.x and node.inputs[1] is found.mean


def _last_axes(node: Node) -> int | None:
    """The first of the axes of a mean, if they are the last ones and stay; else ``None``."""
    axes = node.attributes.get("axes")
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        axes = None if node.inputs[1].constant is None else node.inputs[1].constant.reshape(-1).tolist()
    rank = len(node.x.shape)
    if not axes or not node.attributes.get("keepdims", 1):
        return None
    first = rank - len(axes)
    return first if sorted(axis % rank for axis in axes) == list(range(first, rank)) else None
