"""Two liberties that real files take and other engines allow, brought under the law of one producer for each name.

- a graph lists one value as several outputs: each further one becomes the output of an added Identity
- several Constant nodes have the same output: as in onnxruntime the last counts; the others get names nobody reads

Both leave a record, so that the exporter writes what the file had.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from importers.onnx.origin import NodeOrigin, ValueOrigin
from toolkit.graph import Graph, Leaf, Value


def add_outputs(graph: Graph, outputs: Iterable[Value], identity_version: int) -> None:
    """Fill ``graph.outputs``; leaves, inputs and parameters are there already."""
    names: _FreeNames | None = None
    paths: _FreeNames | None = None
    for value in outputs:
        if value.name in graph.outputs:
            names = names or _FreeNames(_names(graph))
            paths = paths or _FreeNames({leaf.path for leaf in graph.leaves})
            original = value.name
            value.name = names.take(original)
            residue = value.origin if value.origin is not None else ValueOrigin()
            value.origin = residue._replace(name=original)
            leaf = Leaf("Identity", [original], [value.name], version=identity_version, path=paths.take("Identity"))
            leaf.origin = NodeOrigin(synthetic=True)
            graph.leaves.append(leaf)
        graph.outputs[value.name] = value


def rename_shadowed_constants(graph: Graph) -> None:
    """Give the outputs of Constant nodes that a later Constant overrides names of their own."""
    seen: set[str] = set()
    names: _FreeNames | None = None
    for leaf in reversed(graph.leaves):
        if leaf.op_type != "Constant" or leaf.domain or len(leaf.outputs) != 1 or not leaf.outputs[0]:
            continue
        name = leaf.outputs[0]
        if name in seen:
            names = names or _FreeNames(_names(graph))
            leaf.outputs[0] = names.take(name)
            leaf.origin = replace(leaf.origin, renamed={leaf.outputs[0]: name})
        seen.add(name)


class _FreeNames:
    """Hands out names that nothing bears yet: ``name#2``, ``name#3`` and so on."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken
        self.numbers: dict[str, int] = {}

    def take(self, name: str) -> str:
        number = self.numbers.get(name, 1) + 1
        while f"{name}#{number}" in self.taken:
            number += 1
        self.numbers[name] = number
        self.taken.add(f"{name}#{number}")
        return f"{name}#{number}"


def _names(graph: Graph) -> set[str]:
    names = set(graph.inputs) | set(graph.outputs) | set(graph.parameters)
    names.update(*((*leaf.inputs, *leaf.outputs) for leaf in graph.walk()))
    return names
