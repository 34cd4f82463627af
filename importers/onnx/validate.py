"""Structural laws of a translated graph: names with one producer, known names, functions that end.

It looks at names only. Types and shapes are judged per node, when a context binds sizes: onnx's own whole-model checks
can kill the process on input nobody has validated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from toolkit.errors import ModelError
from toolkit.graph import Graph, Leaf, Network

FREE_LEAVES = 5_000  # that functions may expand to in any model
MOST_COPIES = 100  # of what a model holds beyond that: deep models repeat their layers, files made to do harm multiply
MOST_NESTED_CALLS = 100


def check_graph(graph: Graph, outer: Collection[str], where: str) -> None:
    """Known names only, for leaves in order. ``outer`` are the names of the surrounding graphs."""
    known = set(graph.inputs) | set(graph.parameters)
    if "" in known:
        raise ModelError(f"{where} has an input or initializer without a name; each must have one. Export it again.")
    for leaf in graph.leaves:
        for name in leaf.inputs:
            if name and name not in known and name not in outer:
                raise _unknown(leaf, name, where)
        for body in leaf.bodies:
            check_graph(body, _Union(known, outer), f"The body of {_title(leaf)} in {where}")
        known.update(name for name in leaf.outputs if name)
    for value in graph.outputs:
        if value not in known and value not in outer:
            raise ModelError(
                f"{where} has the output {value!r}, which no node, input or initializer provides. Export it again."
            )


def check_producers(graph: Graph, where: str) -> None:
    """Every value has one producer; the order of the leaves does not matter."""
    known = set(graph.inputs) | set(graph.parameters)
    for leaf in graph.leaves:
        for name in leaf.outputs:
            if name in known:
                raise ModelError(
                    f"{where}: {_title(leaf)} produces {name!r}, which is already an input, an initializer or the "
                    "output of another node. Every value must have one producer: rename one of them."
                )
            if name:
                known.add(name)


def check_functions(network: Network, where: str) -> None:
    """Functions may not call themselves, nor multiply to more leaves than any machine could hold."""
    sizes: dict[tuple[str, str, str], int] = {}

    def expanded(graph: Graph, open_calls: tuple[tuple[str, str, str], ...]) -> int:
        return sum(leaf_size(leaf, open_calls) for leaf in graph.walk())

    def leaf_size(leaf: Leaf, open_calls: tuple[tuple[str, str, str], ...]) -> int:
        key = (leaf.domain, leaf.op_type, leaf.overload)
        if key not in network.functions:
            return 1
        if key in open_calls or len(open_calls) > MOST_NESTED_CALLS:
            raise ModelError(
                f"{where}: function {leaf.operator!r} calls itself, directly or through others, or is nested deeper "
                f"than {MOST_NESTED_CALLS} calls. Functions must end: remove the call."
            )
        if key not in sizes:
            sizes[key] = expanded(network.functions[key], (*open_calls, key))
        return sizes[key]

    for key, function in network.functions.items():
        sizes.setdefault(key, expanded(function, (key,)))
    total = expanded(network.graph, ())
    held = sum(sum(1 for _ in graph.walk()) for graph in (network.graph, *network.functions.values()))
    if total > FREE_LEAVES + MOST_COPIES * held:
        raise ModelError(
            f"{where}: its functions expand to {total} nodes, more than {MOST_COPIES} times the {held} that it holds. "
            "Call fewer functions; such a file is usually made to do harm."
        )


class _Union:
    """Membership in either of two collections, without copying the names of a large graph for each body."""

    def __init__(self, first: Collection[str], second: Collection[str]) -> None:
        self.first, self.second = first, second

    def __contains__(self, name: object) -> bool:
        return name in self.first or name in self.second

    def __iter__(self) -> Iterator[str]:
        yield from self.first
        yield from self.second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)


def _title(leaf: Leaf) -> str:
    return f"{leaf.operator} {leaf.path!r}"


def _unknown(leaf: Leaf, name: str, where: str) -> ModelError:
    return ModelError(
        f"{where}: {_title(leaf)} reads {name!r}, which is no input, initializer or output of another node. "
        "The model is incomplete: export it again."
    )
