"""Elementwise work: what a node, or a region of nodes, computes for each element of one shape, said without a language.

Backends that write such kernels themselves read it here: the values by number, their types, and how each input
broadcasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.elementwise_region import REGION, Line
from toolkit.operators.standard.quantization import scaled_axis

Shape = tuple[int, ...]
QUANTISED = ("QuantizeLinear", "DequantizeLinear", "QuantizeStraightThrough", "DequantizeStraightThrough")


class Operand(NamedTuple):
    """An input of the work: its type, the shape in which it broadcasts, its content if that is one known number."""

    dtype: np.dtype
    shape: Shape
    constant: np.ndarray | None = None


class Work(NamedTuple):
    """What is computed for each element of ``shape``: ``lines`` on values, of which ``results`` are stored."""

    lines: Sequence[Line]
    operands: Sequence[Operand | None]
    results: Sequence[int]
    shape: Shape

    def types(self) -> list[np.dtype | None]:
        """The element types of all values."""
        made = [None if kind is None else kind[0] for line in self.lines for kind in line.types]
        return [*(None if item is None else item.dtype for item in self.operands), *made]


def is_region(node: Node) -> bool:
    """Whether the node is a region of several."""
    return node.op_type == REGION and node.domain == TOOLKIT_DOMAIN


def broadcast_shapes(node: Node) -> list[Shape | None] | None:
    """The shapes in which the inputs of an elementwise node broadcast with its output; ``None`` where they do not.

    An input whose content does not matter has none either.
    """
    shape = node.y.shape
    if node.op_type in QUANTISED:
        aligned = aligned_shapes(node)
        return None if aligned is None else list(aligned)
    if node.op_type == "BatchNormalization":
        return [shape, *((item.size, *(1,) * (len(shape) - 2)) for item in node.inputs[1:] if item is not None)]
    found: list[Shape | None] = []
    for index, item in enumerate(node.inputs):
        if item is None or (node.op_type == "CastLike" and index == 1):
            found.append(None)
        else:
            found.append(() if item.size == 1 else item.shape)
    present = [item for item in found if item is not None]
    fits = all(_broadcasts(item, shape) for item in present)
    return found if fits and all(item is not None and item.shape == shape for item in node.outputs) else None


def _broadcasts(shape: Shape, target: Shape) -> bool:
    aligned = target[len(target) - len(shape) :]
    pairs = zip(shape, aligned, strict=True) if len(shape) <= len(target) else ()
    return len(shape) <= len(target) and all(size in (1, wanted) for size, wanted in pairs)


def aligned_shapes(node: Node) -> Sequence[tuple[int, ...] | None] | None:
    """The shapes in which scale and zero point broadcast with the tensor; ``None`` where they come in blocks."""
    if node.attributes.get("block_size", 0):
        return None
    shape, axis = node.x.shape, int(node.attributes.get("axis", 1))
    found: list[tuple[int, ...] | None] = [shape]
    for item in node.inputs[1:]:
        if item is None:
            found.append(None)
            continue
        place = scaled_axis(item.shape, shape, axis)
        found.append(tuple(size if place == number else 1 for number, size in enumerate(shape)))
    return found


def is_modern(node: Node) -> bool:
    """Before version 7 operands broadcast otherwise, and are replaced by those that do not."""
    return bool(node.domain) or node.version >= 7


def has_one_type(node: Node) -> bool:
    """Whether all inputs are of one element type."""
    return len({item.dtype for item in node.inputs if item is not None}) == 1


def is_uniform(node: Node) -> bool:
    """Both."""
    return is_modern(node) and has_one_type(node)


def work_of(node: Node) -> Work:
    """The work of a node: the lines of a region, or the node as the only one."""
    if is_region(node):
        lines, results, shapes = (node.attributes[name] for name in ("lines", "results", "shapes"))
    else:
        shapes = broadcast_shapes(node)
        assert shapes is not None
        operands = tuple(None if shape is None else index for index, shape in enumerate(shapes))
        types = tuple(None if item is None else (item.dtype, item.shape) for item in node.outputs)
        lines = [Line(node.op_type, node.domain, node.version, node.attributes, operands, types)]
        results = [len(node.inputs) + index for index, item in enumerate(node.outputs) if item is not None]
    given: list[Operand | None] = []
    for item, shape in zip(node.inputs, shapes, strict=True):
        if item is None or shape is None:
            given.append(None)
        else:
            given.append(Operand(item.dtype, shape, item.constant if item.size == 1 else None))
    return Work(lines, given, results, node.y.shape)
