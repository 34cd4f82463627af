"""Insertion: new leaves and parameters for one place of a graph, under names that nothing there has yet.

It knows in which opset the network is written and declares nothing about values, so that what a file gains by it is
the leaves and their tensors, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from toolkit.graph.layer import Graph, Leaf, reads
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.value import Value

LISTED = 4  # files of an IR version before this one list every initializer among the inputs


class Names:
    """The names that a graph uses, for values, parameters and leaves alike."""

    def __init__(self, graph: Graph) -> None:
        self.taken = set(graph.inputs) | set(graph.outputs) | set(graph.parameters) | set(graph.values)
        for leaf in graph.walk():
            self.taken.update((leaf.path, leaf.name, *leaf.outputs, *reads(leaf)))

    def fresh(self, stem: str) -> str:
        """``stem``, numbered if something bears that name; taken from now on."""
        name, count = stem, 1
        while name in self.taken:
            name, count = f"{stem}_{count}", count + 1
        self.taken.add(name)
        return name


def opset_of(network: Network) -> int:
    """The version of ai.onnx that a network is written in."""
    return network.opsets.get("", network.opsets.get("ai.onnx", 1))


class Insertion:
    """What one edit adds: ``leaves`` in order, and the names of ``parameters`` that it has put into the graph.

    ``scope`` is what the names of the new leaves and parameters begin with.
    """

    def __init__(self, network: Network, scope: str, names: Names) -> None:
        self.network, self.graph, self.scope, self.names = network, network.graph, scope.strip("/"), names
        self.opset = opset_of(network)
        self.leaves: list[Leaf] = []
        self.parameters: list[str] = []

    def leaf(
        self, op_type: str, inputs: Sequence[str], *, output: str = "", outputs: Iterable[str] = (), **attributes: Any
    ) -> str:
        """Add one operator of ai.onnx; returns the name of its first output, ``output`` if that is given."""
        path = self.names.fresh(f"{self.scope}/{op_type}")
        first = output or self.names.fresh(f"{path}_output")
        self.leaves.append(
            Leaf(op_type, list(inputs), [first, *outputs], attributes, version=self.opset, name=path, path=path)
        )
        return first

    def parameter(
        self, name: str, array: np.ndarray, *, requires_grad: bool | None = None, role: str = "", exact: bool = False
    ) -> str:
        """Put a tensor into the graph; returns its name, which with ``exact`` is the one that was asked for."""
        stem = f"{self.scope}/{name}"
        array = np.array(array, order="C")
        array.flags.writeable = False
        item = Parameter(stem if exact else self.names.fresh(stem), array, requires_grad=requires_grad)
        item.role = role
        return self.add(item)

    def add(self, item: Parameter) -> str:
        """Put a parameter that exists into the graph, under the name that it has."""
        self.names.taken.add(item.name)
        self.graph.parameters[item.name] = item
        self.parameters.append(item.name)
        if self.network.ir_version < LISTED:
            self.graph.inputs.setdefault(item.name, Value(item.name, item.dtype, item.shape))
        return item.name

    def integers(self, name: str, numbers: Sequence[int]) -> str:
        """A constant of int64 as an input of a leaf."""
        return self.parameter(name, np.array(numbers, np.int64), requires_grad=False)

    def place(self, position: int) -> None:
        """Put the leaves before the leaf at ``position``."""
        self.graph.leaves[position:position] = self.leaves


def position_of(graph: Graph, leaf: Leaf) -> int:
    """Where a leaf stands in the order of execution."""
    return next(index for index, item in enumerate(graph.leaves) if item is leaf)
