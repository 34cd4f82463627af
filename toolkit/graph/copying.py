"""Copies of networks for edits that leave the original alone, and copies in which everything bears another name.

Leaves, bodies and declarations are new objects; what holds numbers (attributes, parameters) is shared, because nobody
writes into an array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toolkit.graph.layer import Graph, Leaf
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.value import Value


def copied(network: Network) -> Network:
    """A network of the same layers over the same parameters; its structure can be edited on its own."""
    graph = renamed(network.graph, {}, network.graph.parameters)
    return replace(
        network,
        graph=graph,
        opsets=dict(network.opsets),
        functions=dict(network.functions),
        metadata=dict(network.metadata),
        training=list(network.training),
        contexts=None,
        adapters=None,
    )


def renamed(graph: Graph, names: Mapping[str, str], parameters: Mapping[str, Parameter], prefix: str = "") -> Graph:
    """A copy of a graph in which values and parameters bear the new ``names`` and paths begin with ``prefix``.

    ``parameters`` are those of the copy, by their new names.
    """
    made = Graph(graph.name, origin=graph.origin, attributes=dict(graph.attributes))
    made.inputs = _values(graph.inputs, names)
    made.outputs = _values(graph.outputs, names)
    made.values = _values(graph.values, names)
    made.parameters = dict(parameters)
    made.leaves = [_leaf(leaf, names, prefix) for leaf in graph.leaves]
    return made


def _leaf(leaf: Leaf, names: Mapping[str, str], prefix: str) -> Leaf:
    return replace(
        leaf,
        inputs=[names.get(name, name) for name in leaf.inputs],
        outputs=[names.get(name, name) for name in leaf.outputs],
        attributes={name: _attribute(value, names) for name, value in leaf.attributes.items()},
        name=prefix + leaf.name if leaf.name else "",
        path=prefix + leaf.path.strip("/") if prefix else leaf.path,
    )


def _attribute(value: Any, names: Mapping[str, str]) -> Any:
    """Bodies of control flow read values from outside by name; what they call their own keeps its name."""
    if isinstance(value, Graph):
        own = set(value.inputs) | set(value.parameters) | set(value.producers())
        outer = {old: new for old, new in names.items() if old not in own}
        return renamed(value, outer, value.parameters)
    if isinstance(value, list):
        return [_attribute(item, names) for item in value]
    return value


def _values(values: Mapping[str, Value], names: Mapping[str, str]) -> dict[str, Value]:
    new = [replace(value, name=names.get(name, name)) for name, value in values.items()]
    return {value.name: value for value in new}
