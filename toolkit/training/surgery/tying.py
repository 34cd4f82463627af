"""Tied weights: one parameter for several layers. Its gradients add up, one update moves it, one copy is saved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toolkit.errors import GraphError
from toolkit.graph.insertion import Insertion, Names, position_of
from toolkit.graph.layer import Graph, Leaf, reads
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.training.adapters.adapter import registry_of


def tie(network: Network, first: str, *others: str, transposed: bool = False) -> Network:
    """Let every layer that reads one of the parameters ``others`` read ``first``, in place; returns the network.

    The numbers of ``first`` stay, those of the others are gone. ``transposed``: the others are matrices that hold it
    with rows and columns exchanged, as the last layer of a language model holds the embedding; a Transpose then stands
    between. Raises ``GraphError`` when a parameter is missing, or types or shapes differ.
    """
    with registry_of(network).without():
        graph = network.graph
        kept = _parameter(network, first)
        for name in others:
            _require_alike(kept, _parameter(network, name), transposed)
        names = Names(graph)
        for name in dict.fromkeys(others):
            readers = [leaf for leaf in graph.leaves if name in reads(leaf)]
            source = first
            if transposed and readers:
                insertion = Insertion(network, name, names)
                source = insertion.leaf("Transpose", [first], perm=[1, 0])
                insertion.place(position_of(graph, readers[0]))
            for leaf in readers:
                _read_instead(leaf, name, source)
            del graph.parameters[name]
            graph.inputs.pop(name, None)
            graph.values.pop(name, None)
    network.revision += 1
    return network


def _parameter(network: Network, name: str) -> Parameter:
    found = network.graph.parameters.get(name)
    if found is None or name in network.outputs:
        examples = ", ".join(map(repr, list(network.graph.parameters)[:3])) or "(none)"
        raise GraphError(
            f"tie requires parameters of the network's own graph, such as {examples}, got {name!r}. Look them up in "
            "network.parameters."
        )
    return found


def _require_alike(kept: Parameter, other: Parameter, transposed: bool) -> None:
    wanted = kept.shape[::-1] if transposed else kept.shape
    if other is kept or other.dtype != kept.dtype or other.shape != wanted or (transposed and len(wanted) != 2):
        remedy = " Pass transposed=True." if other.shape == kept.shape[::-1] and not transposed else ""
        raise GraphError(
            f"{kept.name!r} can be shared by another parameter of {kept.dtype} {wanted}, got {other.name!r} "
            f"{other.dtype} {other.shape}.{remedy}"
        )


def _read_instead(leaf: Leaf, old: str, new: str) -> None:
    leaf.inputs = [new if name == old else name for name in leaf.inputs]
    for key, value in leaf.attributes.items():
        leaf.attributes[key] = _replaced(value, old, new)


def _replaced(value: Any, old: str, new: str) -> Any:
    """Bodies of control flow read the parameter by name from outside, unless something of theirs bears the name."""
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    if not isinstance(value, Graph) or old in {*value.inputs, *value.parameters, *value.producers()}:
        return value
    for leaf in value.leaves:
        _read_instead(leaf, old, new)
    value.outputs = {
        new if key == old else key: replace(item, name=new if key == old else key)
        for key, item in value.outputs.items()
    }
    return value
