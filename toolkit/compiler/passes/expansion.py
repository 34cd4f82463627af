"""Expansion: operators of our own domain become the standard operators that they stand for, for whoever lacks them."""

from __future__ import annotations

from toolkit.compiler.program import Node, Program
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.errors import UnsupportedOperatorError
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.record import Call


def expand_own_operators(program: Program) -> None:
    """Replace every operator of the toolkit's domain; an expansion may itself contain some.

    Raises ``UnsupportedOperatorError`` naming the layer of one that standard operators cannot say.
    """

    def rule(node: Node) -> Replacement | None:
        return expanded(program, node) if node.domain == TOOLKIT_DOMAIN else None

    while any(node.domain == TOOLKIT_DOMAIN for node in program.nodes):
        rewrite(program, rule)


def expanded(program: Program, node: Node) -> Replacement:
    """Append the expansion of a node; returns what stands for its outputs."""
    record = node.record
    if record is None or record.expansion is None:
        raise UnsupportedOperatorError(
            f"{node.operator} {node.layer!r} cannot be said in standard operators, so a program with it cannot be "
            "exported. Freeze the layer and what lies before it: then it is not needed."
        )
    inputs = [None if item is None else program.expression(item) for item in node.inputs]
    outputs = [None if item is None else program.expression(item) for item in node.outputs]
    made = record.expansion(Call(inputs, outputs, node.attributes, [False] * len(inputs), node.version))
    return [None if item is None else item.variable for item in made]
