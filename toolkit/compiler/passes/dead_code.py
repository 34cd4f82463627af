"""Dead code: nodes that lead to no output and to nothing the program updates are removed."""

from __future__ import annotations

from toolkit.compiler.program import Program


def remove_dead_code(program: Program) -> None:
    """Drop what nobody reads; optional outputs that nobody reads stay, the node's position decides what they are."""
    needed = set(program.roots())
    kept = []
    for node in reversed(program.nodes):
        if any(item in needed for item in node.outputs if item is not None):
            kept.append(node)
            needed.update(item for item in node.inputs if item is not None)
    program.nodes = kept[::-1]
