"""Layers: a leaf applies one operator, a container groups layers. Neither owns a buffer.

A ``Graph`` is the container with an interface of its own: the body of a network, of an ONNX function, or of If, Loop
and Scan. It holds its leaves in execution order. Scopes (``Scope``) are containers derived from the leaves' paths; they
carry no state, so that grouping can never disagree with the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from toolkit.graph.parameter import Parameter
from toolkit.graph.value import Value


@dataclass(frozen=True, slots=True)
class AttributeReference:
    """An attribute whose value the caller of an ONNX function supplies under ``name``."""

    name: str
    type: int


@dataclass(eq=False, slots=True)
class Leaf:
    """One operator applied to named values.

    ``inputs`` and ``outputs`` are value names, ``""`` for one left out. ``version`` is the opset version of ``domain``
    that the leaf was written for. ``attributes`` are plain Python values: int, float, str, bytes, numpy arrays,
    ``SparseTensor``, ``Value`` for a type, ``Graph`` for bodies, ``AttributeReference`` inside functions, and lists of
    these. ``path`` is unique in its graph
    and stable: made from the leaf's name, or from its operator and position. ``origin`` as in ``Value``.
    ``overload`` picks among the functions of one domain and name. ``statistics`` is what a training is told about a
    BatchNormalization: ``"batch"`` or ``"running"``, ``""`` for what the training says.
    """

    op_type: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    version: int = 1
    name: str = ""
    path: str = ""
    origin: Any = None
    overload: str = ""
    statistics: str = ""

    @property
    def operator(self) -> str:
        """``Conv``, or ``com.microsoft::FusedConv`` outside ONNX's default domain."""
        return f"{self.domain}::{self.op_type}" if self.domain else self.op_type

    @property
    def bodies(self) -> Iterator[Graph]:
        """The graphs among the attributes (branches of If, bodies of Loop and Scan)."""
        for attribute in self.attributes.values():
            candidates = attribute if isinstance(attribute, (list, tuple)) else (attribute,)
            yield from (candidate for candidate in candidates if isinstance(candidate, Graph))

    def __repr__(self) -> str:
        return f"Leaf({self.operator} {self.path!r})"


@dataclass(eq=False, slots=True)
class Graph:
    """A container with named inputs and outputs; the order of every mapping is the file's.

    ``values`` holds what is declared about values in between. ``parameters`` are the initializers by name.
    ``attributes`` names what the caller of an ONNX function may set: the default, or ``None`` where there is none.
    """

    name: str = ""
    inputs: dict[str, Value] = field(default_factory=dict)
    outputs: dict[str, Value] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    origin: Any = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def producers(self) -> dict[str, Leaf]:
        """The leaf that produces each value."""
        return {name: leaf for leaf in self.leaves for name in leaf.outputs if name}

    def consumers(self) -> dict[str, list[Leaf]]:
        """The leaves that read each value, bodies of control flow included."""
        found: dict[str, list[Leaf]] = {}
        for leaf in self.leaves:
            for name in reads(leaf):
                found.setdefault(name, []).append(leaf)
        return found

    def walk(self) -> Iterator[Leaf]:
        """Every leaf, those of nested bodies after the leaf that holds them."""
        for leaf in self.leaves:
            yield leaf
            for body in leaf.bodies:
                yield from body.walk()


def inner_graphs(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Graph]]:
    """The bodies of control flow in a graph, at any depth, with what precedes the names of their parameters."""
    for leaf in graph.leaves:
        for name, attribute in leaf.attributes.items():
            several = isinstance(attribute, (list, tuple))
            for index, body in enumerate(attribute if several else (attribute,)):
                if isinstance(body, Graph):
                    inside = f"{prefix}{leaf.path.strip('/')}/{name}{index if several else ''}/"
                    yield inside, body
                    yield from inner_graphs(body, inside)


def reads(leaf: Leaf) -> list[str]:
    """Names of the values of the surrounding graph that the leaf reads, captured ones of its bodies included."""
    names = [name for name in leaf.inputs if name]
    for body in leaf.bodies:
        local = set(body.inputs) | set(body.parameters) | set(body.producers())
        inner = [name for child in body.leaves for name in reads(child)] + list(body.outputs)
        names.extend(name for name in inner if name not in local)
    return list(dict.fromkeys(names))


@dataclass(eq=False, slots=True)
class Scope:
    """A named group of leaves and inner scopes, read off the paths (``encoder/layer0/attention``)."""

    name: str
    path: str
    children: dict[str, Scope | Leaf] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Scope | Leaf]:
        return iter(self.children.values())

    def __getitem__(self, name: str) -> Scope | Leaf:
        return self.children[name]

    def leaves(self) -> Iterator[Leaf]:
        """Every leaf below, in order."""
        for child in self.children.values():
            if isinstance(child, Scope):
                yield from child.leaves()
            else:
                yield child


Layer = Leaf | Scope | Graph


def scope_tree(graph: Graph) -> Scope:
    """Group the leaves of ``graph`` by the ``/``-separated parts of their paths."""
    root = Scope("", "")
    for leaf in graph.leaves:
        *scopes, last = leaf.path.strip("/").split("/")
        at = root
        for part in scopes:
            inner = at.children.get(part)
            if not isinstance(inner, Scope):
                key = part if inner is None else part + "/"  # a leaf may bear the name of a scope
                inner = at.children.get(key)
                if not isinstance(inner, Scope):
                    inner = Scope(part, f"{at.path}/{part}".strip("/"))
                    at.children[key] = inner
            at = inner
        at.children[last if last not in at.children else f"{last}#{len(at.children)}"] = leaf
    return root
