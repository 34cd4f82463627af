"""Constant folding: a node whose inputs are all constants is computed now."""

from __future__ import annotations

from toolkit.compiler.folding import evaluate
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite

WIDEST = 1 << 20  # elements; what is larger is cheaper to compute once in the plan than to keep in every program


def fold_constants(program: Program) -> None:
    """Replace by constants: nodes of constants only, whose outputs stay small. Random operators are left alone."""

    def rule(node: Node) -> Replacement | None:
        if not node.inputs or any(item is not None and item.constant is None for item in node.inputs):
            return None
        if any(item is not None and item.size > WIDEST for item in node.outputs):
            return None
        arrays = evaluate(node.domain, node.op_type, node.version, node.inputs, node.attributes, node.layer)
        if arrays is None:
            return None
        return [
            None if item is None else Variable(item.name, array.dtype, array.shape, constant=array)
            for item, array in zip(node.outputs, arrays, strict=False)
        ]

    rewrite(program, rule)
