"""Rows of tables: what is looked up in a table that inputs have no part in is computed of the table, once.

Cases, for inference:

- a matrix product whose rows are all zero but for a one, written as ``Cast(Equal(positions, 0 1 2 ...))`` by exporters
  of JAX, becomes a Gather; a position outside of the matrix looks up a row of zeros, which is what the product gives;
- an activation of what a Gather picks along the first axis, or its sum, product, ... with a number or with a vector of
  the last axis, is that of the table, where nobody else reads the rows and the table is no larger than they are.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.fusion import as_activation
from toolkit.compiler.passes.operand_views import is_product
from toolkit.compiler.passes.statistics import made_by, pairs
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite, use_counts
from toolkit.operators.derivative import cast
from toolkit.operators.expression import OPSET, emit, reshape

POSITION = np.dtype(np.int64)
ARITHMETIC = ("Add", "Div", "Mul", "Sub")


def use_tables(program: Program) -> None:
    """Apply the cases above."""
    uses, fixed = use_counts(program), _fixed(program)

    def rule(node: Node) -> Replacement | None:
        if node.role != "forward" or node.outputs[0] is None:
            return None
        found = _looked_up(program, node, fixed) if is_product(node) else _of_table(program, node, uses, fixed)
        if found is not None:
            uses[found.y] = uses[node.y]
            fixed.add(found.x)
        return None if found is None else [found.y]

    if rewrite(program, rule):
        remove_dead_code(program)


def _fixed(program: Program) -> set[Variable]:
    """What inputs have no part in."""
    fixed: set[Variable] = set()
    for node in program.nodes:
        is_random = node.record is not None and node.record.is_random
        given = [item for item in node.inputs if item is not None]
        fixed.update(item for item in given if item.constant is not None or item.parameter is not None)
        if given and not is_random and all(item in fixed for item in given):
            fixed.update(item for item in node.outputs if item is not None)
    return fixed


def _looked_up(program: Program, node: Node, fixed: set[Variable]) -> Node | None:
    """A Gather in the place of a product with one-hot rows."""
    hot, matrix = node.inputs[:2]
    if hot is None or matrix is None or len(node.inputs) > 2 or len(matrix.shape) != 2 or matrix not in fixed:
        return None
    if any(value for name, value in node.attributes.items() if name not in ("alpha", "transB")):
        return None
    positions = _hot_positions(hot)
    if positions is None:
        return None
    rows = program.expression(matrix)
    if node.attributes.get("transB"):
        rows = emit("Transpose", rows, perm=[1, 0])
    alpha = float(node.attributes.get("alpha", 1.0))
    rows = rows * alpha if alpha != 1.0 else rows
    count, width = rows.shape
    nothing = program.constant(np.zeros((1, width), matrix.dtype))
    position = cast(reshape(program.expression(positions), positions.shape[:-1]), POSITION)
    first, behind = (program.constant(np.asarray(number, POSITION)) for number in (0, count))
    is_row = emit("And", emit("GreaterOrEqual", position, first), emit("Less", position, behind))
    table, chosen = emit("Concat", rows, nothing, axis=0), emit("Where", is_row, position, behind)
    return program.append("Gather", [table.variable, chosen.variable], {"axis": 0}, version=OPSET)


def _hot_positions(hot: Variable) -> Variable | None:
    """The positions of the ones in the rows of a tensor, with a last axis of size one; ``None`` for other tensors."""
    conversion = made_by(hot, "Cast")
    equality = None if conversion is None else made_by(conversion.x, "Equal")
    if equality is None or "axis" in equality.attributes:
        return None
    for positions, counted in pairs(equality):
        if counted.constant is None or positions.dtype.kind not in "iu":
            continue
        size = hot.shape[-1] if hot.shape else 0
        is_count = counted.size == size and np.array_equal(counted.constant.reshape(-1), np.arange(size))
        if is_count and counted.shape[-1:] == (size,) and positions.shape == (*hot.shape[:-1], 1):
            return positions
    return None


def _of_table(program: Program, node: Node, uses: Counter[Variable], fixed: set[Variable]) -> Node | None:
    """A Gather from a table on which a node has been computed."""
    operands = [item for item in node.inputs if item is not None]
    moving = [item for item in operands if item not in fixed]
    rows = made_by(moving[0], "Gather") if len(moving) == 1 else None
    if rows is None or rows.attributes.get("axis", 0) != 0 or uses[rows.y] != 1 or rows.y.shape != node.y.shape:
        return None
    table, positions = rows.inputs
    if table is None or table not in fixed or len(table.shape) < 2 or table.size > rows.y.size:
        return None
    is_arithmetic = not node.domain and node.op_type in ARITHMETIC and "axis" not in node.attributes
    if not is_arithmetic and as_activation(node) is None:
        return None
    inputs: list[Variable | None] = []
    for item in node.inputs:
        inputs.append(table if item is moving[0] else None if item is None else _against(program, item, table))
        if item is not None and inputs[-1] is None:
            return None
    made = program.append(node.op_type, inputs, dict(node.attributes), domain=node.domain, version=node.version)
    return program.append("Gather", [made.y, positions], {"axis": 0}, version=OPSET)


def _against(program: Program, item: Variable, table: Variable) -> Variable | None:
    """A number, or a vector of the last axis, in a shape in which it meets the table as it met the rows."""
    if item.size != 1 and (item.size != item.shape[-1] or item.shape[-1] != table.shape[-1]):
        return None
    found: Variable = reshape(program.expression(item), (item.shape[-1],) if item.size != 1 else ()).variable
    return found
