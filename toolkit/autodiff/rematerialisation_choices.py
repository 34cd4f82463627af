"""What may be dropped: the segments of a forward pass, and two ways to treat each.

A segment is a run of nodes. Lightly, it keeps the results of products and convolutions, and of what is computed from
these cheaply only as much as takes the fewest bytes (a minimum cut between what is costly to compute and what the
backward pass reads). Thoroughly, it keeps nothing but what enters it and what it hands on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate, pairwise

from toolkit.autodiff.minimum_cut import UNCUT, FlowNetwork
from toolkit.autodiff.recomputation import ForwardPass, is_costly
from toolkit.compiler.program import Node, Variable

Dropped = frozenset[Variable]


def thoroughly(forward: ForwardPass, segment: Collection[Node]) -> Dropped:
    """Everything that a segment makes for itself."""
    members = set(segment)
    made = (item for node in segment for item in node.outputs if item in forward.droppable)
    return frozenset(item for item in made if item and members.issuperset(forward.readers.get(item, ())))


def lightly(forward: ForwardPass, segment: Sequence[Node]) -> Dropped:
    """What is cheap to compute from the fewest bytes that must be kept for it."""
    graph = FlowNetwork()
    source, sink = graph.vertex(), graph.vertex()
    before: dict[Variable, int] = {}
    behind: dict[Variable, int] = {}

    def add(item: Variable, price: int) -> None:
        before[item], behind[item] = graph.vertex(), graph.vertex()
        graph.edge(before[item], behind[item], price)

    def require(item: Variable | None, target: int) -> None:
        if item is None or item not in forward.varying:
            return
        if item not in behind:
            add(item, 0 if item in forward.held else item.nbytes)
            graph.edge(source, before[item], UNCUT)
        graph.edge(behind[item], target, UNCUT)

    for node in segment:
        made = [item for item in node.outputs if item is not None]
        for item in made:
            add(item, 0 if item in forward.pinned else item.nbytes)
        is_random = node.record is not None and node.record.is_random
        for item in made:
            if is_costly(node) or item not in forward.droppable:
                graph.edge(source, before[item], UNCUT)
                continue
            for operand in (*node.inputs, *(node.outputs[1:2] if is_random else ())):
                require(operand, before[item])
        for item in made:
            if item in forward.saved:
                graph.edge(behind[item], sink, UNCUT)
    unknown = graph.source_side(source, sink)
    return frozenset(item for item in before if item in forward.droppable and before[item] not in unknown)


def segments(forward: ForwardPass, count: int) -> list[list[Node]]:
    """Cut the forward pass into runs that keep about equally much now, where the fewest bytes are handed on."""
    nodes = forward.nodes
    kept = list(accumulate(sum(item.nbytes for item in node.outputs if item in forward.saved) for node in nodes))
    share = max(kept[-1] if kept else 0, 1) / count
    handed_on = _handed_on(forward)
    cuts: list[int] = []
    for number in range(1, count):
        lowest, target, highest = ((number + part) * share for part in (-0.5, 0.0, 0.5))
        near = [at for at in range(len(nodes) - 1) if lowest <= kept[at] < highest and (not cuts or at > cuts[-1])]
        if near:
            cuts.append(min(near, key=lambda at: (handed_on[at], abs(kept[at] - target))))
    edges = [0, *(at + 1 for at in cuts), len(nodes)]
    return [nodes[start:end] for start, end in pairwise(edges) if end > start]


def _handed_on(forward: ForwardPass) -> list[int]:
    """The bytes that are made up to each node and read behind it in the forward pass."""
    index = {node: at for at, node in enumerate(forward.nodes)}
    change = [0] * (len(index) + 1)
    for item, node in forward.producer.items():
        last = max((index.get(reader, len(index)) for reader in forward.readers.get(item, ())), default=0)
        if last > index[node]:
            change[index[node]] += item.nbytes
            change[last] -= item.nbytes
    return list(accumulate(change))


def selected(forward: ForwardPass, patterns: Sequence[str]) -> Dropped:
    """What the layers drop that match: each scope that a pattern names is a segment, each single layer drops all.

    What a layer was fused with is a part of it.
    """
    scopes: dict[str, list[Node]] = {}
    dropped: set[Variable] = set()
    for node in forward.nodes:
        paths = (node.layer, *node.fused)
        scope = next((found for found in (matching_scope(path, patterns) for path in paths) if found), None)
        if scope is None:
            continue
        if scope in (path.strip("/") for path in paths):
            dropped.update(item for item in node.outputs if item in forward.droppable and item)
        else:
            scopes.setdefault(scope, []).append(node)
    return frozenset(dropped.union(*(thoroughly(forward, nodes) for nodes in scopes.values())))


def matching_scope(path: str, patterns: Sequence[str]) -> str | None:
    """The outermost scope around a layer, or the layer itself, that one of the shell patterns matches."""
    parts = path.strip("/").split("/")
    for size in range(1, len(parts) + 1):
        scope = "/".join(parts[:size])
        if any(fnmatchcase(scope, pattern.strip("/")) for pattern in patterns):
            return scope
    return None
