"""Which tensors are wanted as bytes, and by which products: what ``bytes`` knows before it begins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolkit.compiler.passes.quantised.tensors import MOVEMENT, Factor, factor_of
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.standard.convolution import GEOMETRY

INT8 = np.dtype(np.int8)
LOWEST = -128
CONVOLUTIONS, PRODUCTS = ("GridConv", "FusedConv"), ("FusedMatMul", "MatMul")


def is_product(node: Node) -> bool:
    """Whether a node is a convolution or a product of matrices."""
    return node.op_type in (*CONVOLUTIONS, *PRODUCTS)


class Wanted(NamedTuple):
    """``variables``: what products, or what leads to them, would read as bytes.

    ``gridded`` are brought onto a grid next, ``regridded`` are so too, or what is added up for it.
    """

    variables: set[Variable]
    gridded: set[Variable]
    regridded: set[Variable]


def wanted_in(program: Program) -> Wanted:
    """What the products of a program, and the grids behind them, ask for."""
    found = Wanted(set(), set(), set())
    for node in reversed(program.nodes):
        factor = byte_factor(program, node) if is_product(node) else None
        if factor is not None:
            found.variables.update([node.x] if factor.steps is None else _multiplied(node.x))
        elif node.op_type == "Concat" or node.op_type in MOVEMENT:
            if any(item in found.variables for item in node.outputs):
                found.variables.update(item for item in node.inputs if item is not None)
        elif node.op_type == "OnGrid":
            found.gridded.add(node.x)
            found.regridded.update(_behind(node.x))
    return found


def _multiplied(x: Variable) -> list[Variable]:
    """What is multiplied to make ``x``."""
    node = x.producer
    return [item for item in node.inputs if item is not None] if node is not None and node.op_type == "Mul" else []


def _behind(x: Variable) -> list[Variable]:
    """What an addition with activations behind it, or those alone, are made of."""
    while x.producer is not None and x.producer.op_type in ("Relu", "Clip"):
        x = x.producer.x
    if x.producer is not None and x.producer.op_type == "Add":
        return [item for item in x.producer.inputs if item is not None]
    return [x]


class ByteFactor(NamedTuple):
    """A known weight of signed bytes, and the sizes of its steps where it was dequantised."""

    weight: np.ndarray
    steps: np.ndarray | None


def byte_factor(program: Program, node: Node) -> ByteFactor | None:
    """The weight of a product; ``None`` where it is no such, and where the node does more than the product."""
    weight = node.inputs[1]
    others = node.inputs[3:] if node.op_type != "GridConv" else ()
    allowed = {*GEOMETRY, "low", "high", "transB"}
    if weight is None or any(item is not None for item in others) or set(node.attributes) - allowed:
        return None
    if (node.op_type in PRODUCTS and len(weight.shape) != 2) or len(node.x.shape) < 2:
        return None
    found: Factor | None = None
    if weight.constant is None:
        found = factor_of(program, node)
        whole = None if found is None else found.integers
    else:
        whole = None if node.attributes.get("transB", 0) else weight.constant
    if whole is None or np.abs(whole).max(initial=0) > -LOWEST:
        return None
    narrow = whole.astype(INT8)
    return ByteFactor(narrow, None if found is None else found.steps) if np.array_equal(narrow, whole) else None
