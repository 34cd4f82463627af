"""Two liberties that real files take and other engines allow, made into a graph that keeps the law of one name, one value.

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
    for value in outputs:
        if value.name in graph.outputs:
            original = value.name
            value.name = _free_name(graph, original)
            residue = value.origin if value.origin is not None else ValueOrigin()
            value.origin = replace(residue, name=original)
            graph.leaves.append(_identity(graph, original, value.name, identity_version))
        graph.outputs[value.name] = value


def rename_shadowed_constants(graph: Graph) -> None:
    """Give the outputs of Constant nodes that a later Constant overrides names of their own."""
    last: dict[str, Leaf] = {}
    for leaf in reversed(graph.leaves):
        if leaf.op_type != "Constant" or leaf.domain or len(leaf.outputs) != 1 or not leaf.outputs[0]:
            continue
        name = leaf.outputs[0]
        if name in last:
            leaf.outputs[0] = _free_name(graph, name)
            leaf.origin = replace(leaf.origin, renamed={leaf.outputs[0]: name})
        else:
            last[name] = leaf


def _identity(graph: Graph, source: str, target: str, version: int) -> Leaf:
    paths = {leaf.path for leaf in graph.leaves}
    path = f"Identity_{len(graph.leaves)}"
    while path in paths:
        path += "_"
    return Leaf("Identity", [source], [target], version=version, path=path, origin=NodeOrigin(synthetic=True))


def _free_name(graph: Graph, name: str) -> str:
    taken = set(graph.inputs) | set(graph.outputs) | set(graph.parameters)
    taken.update(*((*leaf.inputs, *leaf.outputs) for leaf in graph.walk()))
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"
