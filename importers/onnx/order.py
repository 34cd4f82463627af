"""Puts the leaves of a graph in execution order where a file has them in another one.

ONNX requires sorted nodes, yet converters write unsorted ones and other engines read them. The position in the file is
kept, so that a saved model has its nodes where they were.
"""

from __future__ import annotations

import heapq
from dataclasses import replace

from toolkit.errors import ModelError
from toolkit.graph import Graph, Leaf
from toolkit.graph.layer import reads


def sort_leaves(graph: Graph, where: str) -> None:
    """Order the leaves so that producers come first, otherwise as in the file. Raises ``ModelError`` for cycles."""
    waits = _waits(graph)
    if all(max(before, default=-1) < position for position, before in enumerate(waits)):
        return
    followers: list[list[int]] = [[] for _ in waits]
    open_inputs = [len(before) for before in waits]
    for position, before in enumerate(waits):
        for producer in before:
            followers[producer].append(position)
    ready = [position for position, count in enumerate(open_inputs) if count == 0]
    order: list[int] = []
    while ready:
        position = heapq.heappop(ready)
        order.append(position)
        for follower in followers[position]:
            open_inputs[follower] -= 1
            if open_inputs[follower] == 0:
                heapq.heappush(ready, follower)
    if len(order) < len(waits):
        raise _cycle([graph.leaves[position] for position in sorted(set(range(len(waits))) - set(order))], where)
    for position, leaf in enumerate(graph.leaves):
        leaf.origin = replace(leaf.origin, position=position)
    graph.leaves = [graph.leaves[position] for position in order]


def _waits(graph: Graph) -> list[set[int]]:
    """For each leaf, the positions of the leaves whose outputs it reads."""
    producers = {name: position for position, leaf in enumerate(graph.leaves) for name in leaf.outputs if name}
    return [{producers[name] for name in reads(leaf) if name in producers} for leaf in graph.leaves]


def _cycle(leaves: list[Leaf], where: str) -> ModelError:
    some = ", ".join(f"{leaf.operator} {leaf.path!r}" for leaf in leaves[:4])
    return ModelError(
        f"{where} has a cycle: each of {some} waits for an output of another. A graph must have an order of execution: "
        "remove the cycle, or use Loop."
    )
