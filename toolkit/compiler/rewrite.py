"""Rewriting: one walk over a program in which a rule may put other nodes in the place of a node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from toolkit.compiler.program import Node, Program, Variable
from toolkit.errors import malformed, naming

Replacement = Sequence[Variable | None]
Rule = Callable[[Node], Replacement | None]


def rewrite(program: Program, rule: Rule) -> bool:
    """Offer every node to ``rule`` in order; returns whether anything changed.

    The rule either returns ``None`` to keep the node, or appends nodes to the program (they land in the node's place)
    and returns the variables that stand for the node's outputs from now on. Inputs are substituted before the node is
    offered, so a rule always sees the current graph.
    """
    nodes, program.nodes = program.nodes, []
    stands_for: dict[Variable, Variable] = {}
    layer, role = program.layer, program.role
    with naming(lambda why: malformed(f"{node.operator}-{node.version}", node.layer, why)):
        for node in nodes:
            node.inputs = [None if item is None else stands_for.get(item, item) for item in node.inputs]
            program.layer, program.role = node.layer, node.role
            replacement = rule(node)
            if replacement is None:
                program.nodes.append(node)
                continue
            pairs = zip(node.outputs, replacement, strict=False)
            stands_for.update(
                (old, new) for old, new in pairs if old is not None and new is not None and old is not new
            )
    program.layer, program.role = layer, role
    program.outputs = {name: stands_for.get(item, item) for name, item in program.outputs.items()}
    program.assignments = [(target, stands_for.get(item, item)) for target, item in program.assignments]
    return bool(stands_for)


def use_counts(program: Program) -> Counter[Variable]:
    """How often each variable is read, a program output or assignment counting as one more reader."""
    counts: Counter[Variable] = Counter()
    for node in program.nodes:
        counts.update(item for item in node.inputs if item is not None)
    counts.update(program.roots())
    return counts
