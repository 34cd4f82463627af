"""Statistics in the graph: what a value is the mean, sum or maximum of, whatever way an exporter wrote it.

A mean may be a ReduceMean, or a ReduceSum times the reciprocal of how many it adds. Reduced axes may have been dropped
and put back by a Reshape, Squeeze or Unsqueeze. A value that is to be applied to what it was taken of has to be
``kept``: of the same rank, with size one on the reduced axes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from toolkit.compiler.passes.polynomials import number
from toolkit.compiler.program import Node, Variable

VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")  # they leave the elements in their order


class Reduced(NamedTuple):
    """What was reduced, over which axes."""

    x: Variable
    axes: tuple[int, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """The shape in which the result meets ``x`` again."""
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(self.x.shape))

    @property
    def elements(self) -> int:
        """How many elements each result is made of."""
        return math.prod(self.x.shape[axis] for axis in self.axes)


def made_by(variable: Variable | None, *op_types: str) -> Node | None:
    """The node of one of these types of ai.onnx that computes a variable."""
    node = None if variable is None else variable.producer
    return node if node is not None and not node.domain and node.op_type in op_types else None


def behind(variable: Variable | None, *op_types: str) -> Node | None:
    """The same, looking through what only gives the elements another shape."""
    return None if variable is None else made_by(unviewed(variable), *op_types)


def unviewed(variable: Variable) -> Variable:
    """A variable before its elements were given another shape."""
    while (node := made_by(variable, *VIEWS)) is not None:
        variable = node.x
    return variable


def pairs(node: Node) -> list[tuple[Variable, Variable]]:
    """The two operands, in both orders where the operator commutes."""
    left, right = node.inputs[:2]
    assert left is not None and right is not None
    return [(left, right)] if node.op_type in ("Div", "Sub") else [(left, right), (right, left)]


def reduced(variable: Variable | None, op_type: str) -> Reduced | None:
    """What a variable is the ReduceSum, ReduceMax or ReduceMean of."""
    node = behind(variable, op_type)
    axes = None if node is None else _axes(node)
    return None if node is None or not axes else Reduced(node.x, axes)


def mean_of(variable: Variable | None) -> Reduced | None:
    """What a variable is the mean of."""
    found = reduced(variable, "ReduceMean")
    product = behind(variable, "Mul", "Div")
    if found is not None or product is None or "axis" in product.attributes:
        return found
    for total, other in pairs(product):
        factor, found = number(other), reduced(total, "ReduceSum")
        if factor is None or found is None or total.size != product.y.size:
            continue
        count = factor if product.op_type == "Div" else 1.0 / factor if factor else 0.0
        if math.isclose(count, found.elements, rel_tol=1e-5):
            return found
    return None


def square_of(variable: Variable | None) -> Variable | None:
    """What a variable is the square of."""
    node = behind(variable, "Pow", "Mul")
    if node is None:
        return None
    is_square = number(node.inputs[1]) == 2.0 if node.op_type == "Pow" else node.inputs[0] is node.inputs[1]
    return node.x if is_square else None


def variance_of(variable: Variable | None) -> Reduced | None:
    """What a variable is the variance of: the mean of (x - mean)^2, or mean of x^2 - mean^2, perhaps no less than 0."""
    floor = behind(variable, "Max", "Relu")
    if floor is not None:
        inner = floor.inputs[:1] if floor.op_type == "Relu" else [a for a, b in pairs(floor) if number(b) == 0.0]
        return variance_of(inner[0]) if inner and len(floor.inputs) <= 2 else None
    of_squares = mean_of(variable)
    centred = None if of_squares is None else made_by(square_of(of_squares.x), "Sub")
    if centred is not None and of_squares is not None:
        found = centre_of(centred)
        return found if found is not None and found.axes == of_squares.axes else None
    difference = behind(variable, "Sub")
    if difference is None:
        return None
    of_squares, mean = mean_of(difference.inputs[0]), mean_of(square_of(difference.inputs[1]))
    if of_squares is None or mean is None or square_of(of_squares.x) is not mean.x or of_squares.axes != mean.axes:
        return None
    return mean if difference.x.size == difference.y.size else None


def centre_of(node: Node | None) -> Reduced | None:
    """What a node subtracts from: x and the axes of its mean, for x - mean."""
    if node is None or node.op_type != "Sub" or node.domain or "axis" in node.attributes:
        return None
    found, mean = mean_of(node.inputs[1]), node.inputs[1]
    assert mean is not None
    return found if found is not None and found.x is node.x and mean.shape == found.kept else None


def _axes(node: Node) -> tuple[int, ...] | None:
    axes = node.attributes.get("axes")
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        axes = None if node.inputs[1].constant is None else node.inputs[1].constant.reshape(-1).tolist()
    rank = len(node.x.shape)
    return None if not axes else tuple(sorted({int(axis) % rank for axis in axes}))
