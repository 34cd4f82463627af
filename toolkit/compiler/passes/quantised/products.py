"""Quantised products in floats, so that straight-through estimators lead gradients through them.

Where a training asked for these, MatMulInteger, ConvInteger, QLinearMatMul, QLinearConv, QGemm and
DynamicQuantizeMatMul become DequantizeLinear, the product of floats, and QuantizeLinear where they had integers as
result. Weights stay the integers that they are. Integer sums that something else than Cast reads stay as well, and
scales for each row of the first factor are left alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, emit, expand, reshape, transpose

VERSION = 13  # of QuantizeLinear and DequantizeLinear: the first with an axis, and all that such products need
DYNAMIC_VERSION = 11
MICROSOFT = "com.microsoft"


class _Operands:
    """The inputs of a node as expressions."""

    def __init__(self, program: Program, node: Node) -> None:
        self.program = program
        self.items = [None if item is None else program.expression(item) for item in node.inputs]

    def __getitem__(self, index: int) -> Expression | None:
        return self.items[index] if index < len(self.items) else None

    def floats(self, value: int, scale: int | None, zero_point: int, axis: int) -> Expression | None:
        """A quantised input as floats, with the scale 1 where it has none; ``None`` where scales are not of an axis."""
        x, centre = self[value], self[zero_point]
        assert x is not None
        step = self.program.constant(np.ones((), np.float32)) if scale is None else self[scale]
        assert step is not None
        if axis < 0 and any(item is not None and item.variable.size > 1 for item in (step, centre)):
            return None
        grid = [None if item is None else _alone(item) for item in (step, centre)]
        if any(item is not None and item.ndim > 1 for item in grid):
            return None
        if grid[1] is not None and grid[0] is not None and grid[0].shape != grid[1].shape:
            shape = max(grid[0].shape, grid[1].shape)
            grid = [item if item is None or item.shape == shape else expand(item, shape) for item in grid]
        operands = [item for item in grid if item is not None]
        return emit("DequantizeLinear", x, *operands, version=VERSION, axis=max(axis, 0))


def unfold_quantised_products(program: Program) -> None:
    """Apply the rules above."""
    sums: dict[Variable, Expression] = {}  # the floats of integer sums

    def rule(node: Node) -> Replacement | None:
        key = (node.domain, node.op_type)
        if key in (("", "MatMulInteger"), ("", "ConvInteger")):
            found = _integer_sums(_Operands(program, node), node)
            if found is not None:
                sums[node.y] = found
        elif key == ("", "Cast") and node.x in sums and node.y.dtype.kind == "f":
            return [cast(sums[node.x], node.y.dtype).variable]
        elif key in RULES:
            made = RULES[key](_Operands(program, node), node)
            return None if made is None else [made.variable]
        return None

    rewrite(program, rule)
    remove_dead_code(program)


def _integer_sums(given: _Operands, node: Node) -> Expression | None:
    weight = node.inputs[1]
    assert weight is not None
    is_convolution = node.op_type == "ConvInteger"
    x = given.floats(0, None, 2, -1)
    w = given.floats(1, None, 3, 0 if is_convolution else len(weight.shape) - 1)
    if x is None or w is None:
        return None
    return emit("Conv", x, w, **_geometry(node)) if is_convolution else x @ w


def _matmul(given: _Operands, node: Node) -> Expression | None:
    weight = node.inputs[3]
    assert weight is not None
    a, b = given.floats(0, 1, 2, -1), given.floats(3, 4, 5, len(weight.shape) - 1)
    return None if a is None or b is None else _quantised(a @ b, given, 6, 7)


def _convolution(given: _Operands, node: Node) -> Expression | None:
    x, w, bias = given.floats(0, 1, 2, -1), given.floats(3, 4, 5, 0), given[8]
    if x is None or w is None:
        return None
    operands = [x, w]
    if bias is not None:
        operands.append(cast(bias, x.dtype) * _alone(given.items[1]) * _alone(given.items[4]))
    return _quantised(emit("Conv", *operands, **_geometry(node)), given, 6, 7)


def _gemm(given: _Operands, node: Node) -> Expression | None:
    turned = node.attributes.get("transB", 0)
    a, b, c = given.floats(0, 1, 2, -1), given.floats(3, 4, 5, 0 if turned else 1), given[6]
    if a is None or b is None:
        return None
    a = transpose(a, (1, 0)) if node.attributes.get("transA", 0) else a
    alpha = float(node.attributes.get("alpha", 1.0))
    y = (a @ (transpose(b, (1, 0)) if turned else b)) * alpha
    if c is not None:
        y = y + cast(c, y.dtype) * _alone(given.items[1]) * _alone(given.items[4]) * alpha
    return y if given[7] is None else _quantised(y, given, 7, 8)


def _dynamic(given: _Operands, node: Node) -> Expression | None:
    x, weight, bias = given[0], node.inputs[1], given[4]
    assert x is not None and weight is not None
    b = given.floats(1, 2, 3, len(weight.shape) - 1)
    if b is None:
        return None
    made = given.program.append(
        "DynamicQuantizeLinear", [x.variable], {}, version=DYNAMIC_VERSION, outputs=3, layer=node.layer
    )
    quantised = [given.program.expression(item) for item in made.outputs if item is not None]
    y = emit("DequantizeLinear", *quantised, version=VERSION) @ b
    return y if bias is None else y + bias


def _quantised(y: Expression, given: _Operands, scale: int, zero_point: int) -> Expression:
    return emit("QuantizeLinear", y, _alone(given.items[scale]), _alone(given.items[zero_point]), version=VERSION)


def _geometry(node: Node) -> dict[str, Any]:
    return {**node.attributes, "version": 11}


def _alone(item: Expression | None) -> Expression:
    """A vector of one number as that number."""
    assert item is not None
    return reshape(item, ()) if item.shape == (1,) else item


RULES = {
    ("", "QLinearMatMul"): _matmul,
    ("", "QLinearConv"): _convolution,
    (MICROSOFT, "QGemm"): _gemm,
    (MICROSOFT, "DynamicQuantizeMatMul"): _dynamic,
}
