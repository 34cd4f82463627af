"""Expansion: operators that say the same as some standard ones give way to these.

- ``expand_composed``: Attention, FusedConv, the forms of old opsets and others become what fusion and backends know.
- ``expand_own_operators``: operators of our own domain become standard ones, for whoever lacks them.
- ``expand_slow_operators``: those of them for which a backend has no kernel to be proud of, but for all that they say.

What comes out may be expanded again. Half-width floats are widened before and narrowed once behind, as the references
do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolkit.compiler.program import Node, Program
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.errors import UnsupportedOperatorError
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.record import Call


def expand_composed(program: Program) -> None:
    """Replace every operator outside of the toolkit's domain that has an expansion."""

    def rule(node: Node) -> Replacement | None:
        record = node.record
        if record is None or record.expansion is None or node.domain == TOOLKIT_DOMAIN:
            return None
        return _expanded_widely(program, node)

    while rewrite(program, rule):
        pass


def expand_own_operators(program: Program) -> None:
    """Replace every operator of the toolkit's domain.

    Raises ``UnsupportedOperatorError`` naming the layer of one that standard operators cannot say.
    """

    def rule(node: Node) -> Replacement | None:
        return _expanded_widely(program, node) if node.domain == TOOLKIT_DOMAIN else None

    while any(node.domain == TOOLKIT_DOMAIN for node in program.nodes):
        rewrite(program, rule)


def expand_slow_operators(program: Program, backend: str, is_fast: Callable[[Node], bool]) -> None:
    """Replace the operators of the toolkit's domain that a backend was given and has no fast kernel for.

    One that says anything for which there is no fast kernel either stays as it is.
    """

    def rule(node: Node) -> Replacement | None:
        record, first = node.record, len(program.nodes)
        is_own = node.domain == TOOLKIT_DOMAIN and record is not None and record.expansion is not None
        if node.backend != backend or not is_own or is_fast(node):
            return None
        try:
            made = _expanded_widely(program, node)
        except UnsupportedOperatorError:  # this node's settings have none
            made = None
        nodes = program.nodes[first:]
        if made is None or not all(map(is_fast, nodes)):
            del program.nodes[first:]
            return None
        for item in nodes:
            item.backend, item.fused = backend, node.fused
        return made

    rewrite(program, rule)


def _expanded_widely(program: Program, node: Node) -> Replacement:
    made = expanded(
        program, node, [None if item is None else _widened(program.expression(item)) for item in node.inputs]
    )
    return [
        None if item is None or wanted is None else cast(program.expression(item), wanted.dtype).variable
        for item, wanted in zip(made, node.outputs, strict=False)
    ]


def expanded(program: Program, node: Node, inputs: list[Expression | None] | None = None) -> Replacement:
    """Append the expansion of a node, for other ``inputs`` if they are given; returns what stands for its outputs."""
    record = node.record
    if record is None or record.expansion is None:
        raise UnsupportedOperatorError(
            f"{node.operator} {node.layer!r} cannot be said in standard operators, so a program with it cannot be "
            "exported. Freeze the layer and what lies before it: then it is not needed."
        )
    if inputs is None:
        inputs = [None if item is None else program.expression(item) for item in node.inputs]
    outputs = [None if item is None else program.expression(item) for item in node.outputs]
    try:
        made = record.expansion(Call(inputs, outputs, node.attributes, [False] * len(inputs), node.version))
    except ValueError as error:
        raise UnsupportedOperatorError(
            f"{node.operator} {node.layer!r} cannot be said in standard operators: {error}."
        ) from error
    return [None if item is None else item.variable for item in made]


def _widened(x: Expression) -> Expression:
    """``x`` in float32 where it is of half width."""
    return cast(x, np.dtype(np.float32)) if x.dtype in HALF_WIDTH else x
