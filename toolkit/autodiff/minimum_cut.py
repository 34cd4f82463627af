"""Minimum cuts: the cheapest set of edges that separates a source from a sink (Dinic's algorithm).

Numbers are vertices; capacities are integers, ``UNCUT`` for edges that must stay.
"""

from __future__ import annotations

from collections import deque

UNCUT = 1 << 62


class FlowNetwork:
    """A directed graph with capacities, to which vertices and edges are added."""

    def __init__(self) -> None:
        self._edges: list[list[int]] = []  # of each vertex; edge ^ 1 is the one back
        self._target: list[int] = []
        self._room: list[int] = []

    def vertex(self) -> int:
        """A new vertex."""
        self._edges.append([])
        return len(self._edges) - 1

    def edge(self, start: int, end: int, capacity: int) -> None:
        """Connect two vertices."""
        for at, to, room in ((start, end, capacity), (end, start, 0)):
            self._edges[at].append(len(self._target))
            self._target.append(to)
            self._room.append(room)

    def source_side(self, source: int, sink: int) -> set[int]:
        """The vertices that a minimum cut leaves connected to ``source``; the cut are the edges that leave them."""
        while True:
            level = self._levels(source)
            if sink not in level:
                return set(level)
            tried = [0] * len(self._edges)
            while self._augment(source, sink, level, tried):
                pass

    def _levels(self, source: int) -> dict[int, int]:
        """The distance of every vertex that can still be reached."""
        level = {source: 0}
        waiting = deque([source])
        while waiting:
            at = waiting.popleft()
            for edge in self._edges[at]:
                end = self._target[edge]
                if self._room[edge] and end not in level:
                    level[end] = level[at] + 1
                    waiting.append(end)
        return level

    def _augment(self, source: int, sink: int, level: dict[int, int], tried: list[int]) -> bool:
        """Fill one shortest path; ``tried`` counts the edges of each vertex that lead nowhere any more."""
        path: list[int] = []
        at = source
        while at != sink:
            edge = self._next_edge(at, level, tried)
            if edge is not None:
                path.append(edge)
                at = self._target[edge]
            elif path:
                at = self._target[path.pop() ^ 1]
                tried[at] += 1
            else:
                return False
        amount = min(self._room[edge] for edge in path)
        for edge in path:
            self._room[edge] -= amount
            self._room[edge ^ 1] += amount
        return True

    def _next_edge(self, at: int, level: dict[int, int], tried: list[int]) -> int | None:
        edges = self._edges[at]
        while tried[at] < len(edges):
            edge = edges[tried[at]]
            if self._room[edge] and level.get(self._target[edge]) == level[at] + 1:
                return edge
            tried[at] += 1
        return None
