"""Elementwise regions: nodes of one backend that work element by element become one node, one pass over memory.

A node joins the region of a tensor that it reads, and regions that meet in a node become one, where

- all results have one shape, and all nodes one role,
- no way leads out of the region and back into it,
- the region stays within what a kernel can hold.

What lies outside is put in an order that fits, otherwise unchanged. Readers of a tensor that the program overwrites
keep theirs. Updates are left alone: they have fused forms of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from toolkit.compiler.program import UPDATE_ROLES, Node, Program, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.elementwise_region import REGION, Line

Shape = tuple[int, ...]
Shapes = Callable[[Node], Sequence[Shape | None] | None]
MOST_NODES, MOST_INPUTS = 48, 16


def form_elementwise_regions(program: Program, backend: str, shapes_of: Shapes) -> None:
    """Form the regions of one backend; ``shapes_of`` tells, of elementwise nodes, how inputs broadcast with the output.

    It answers ``None`` for other nodes, and inside the answer for inputs whose content is not read.
    """
    grouping = _Grouping(program, backend, shapes_of)
    if all(len(group.members) == 1 for group in grouping.groups):
        return
    roots = set(program.roots())
    consumers = program.consumers()
    program.nodes = [_merged(group, consumers, roots) for group in grouping.in_order()]


@dataclass(eq=False)
class _Group:
    """Nodes that become one; ``before`` are the numbers of the groups that must be executed earlier, as bits."""

    number: int
    members: list[Node]
    shapes: list[Sequence[Shape | None] | None]
    positions: list[int]
    needs: set[int] = field(default_factory=set)
    before: int = 0

    @property
    def is_open(self) -> bool:
        return self.shapes[0] is not None

    def inputs(self) -> dict[tuple[Variable, Shape], None]:
        """What the group reads from outside, each with the shape in which it broadcasts."""
        made = {item for node in self.members for item in node.outputs}
        found: dict[tuple[Variable, Shape], None] = {}
        for node, shapes in zip(self.members, self.shapes, strict=True):
            for item, shape in zip(node.inputs, shapes or (), strict=True):
                if item is not None and shape is not None and item not in made:
                    found[item, shape] = None
        return found


class _Grouping:
    """Groups of a program's nodes, one node each at first; nodes join in program order."""

    def __init__(self, program: Program, backend: str, shapes_of: Shapes) -> None:
        self._groups: dict[int, _Group] = {}
        self._group_of: dict[int, _Group] = {}  # by the position of a node
        producers: dict[Variable, int] = {}
        overwritten = {target for target, _ in program.assignments}
        readers: dict[Variable, int] = {}
        for position, node in enumerate(program.nodes):
            needs = {producers[item] for item in node.inputs if item in producers}
            needs |= {readers[item] for item in node.inputs if item in readers}
            readers.update((item, position) for item in node.inputs if item in overwritten)
            producers.update((item, position) for item in node.outputs if item is not None)
            fits = node.backend == backend and node.role not in UPDATE_ROLES and node.y.size > 0
            self._add(node, position, shapes_of(node) if fits else None, needs)

    @property
    def groups(self) -> list[_Group]:
        return list(self._groups.values())

    def _add(self, node: Node, position: int, shapes: Sequence[Shape | None] | None, needs: set[int]) -> None:
        group = _Group(position, [node], [shapes], [position], needs)
        earlier = list(dict.fromkeys(self._group_of[item] for item in sorted(needs, reverse=True)))
        for other in earlier:
            group.before |= other.before | 1 << other.number
        self._groups[position] = self._group_of[position] = group
        for other in earlier:
            if self._may_join(other, self._group_of[position]):
                self._join(other, self._group_of[position])

    def _may_join(self, first: _Group, second: _Group) -> bool:
        """Whether two groups, of which the second reads the first, can become one."""
        if first is second or not (first.is_open and second.is_open):
            return False
        one, other = first.members[0], second.members[0]
        if (one.y.shape, one.role, one.is_recomputed) != (other.y.shape, other.role, other.is_recomputed):
            return False
        inputs = first.inputs() | second.inputs()
        if len(first.members) + len(second.members) > MOST_NODES or len(inputs) > MOST_INPUTS:
            return False
        between = second.before & ~(1 << first.number)
        return not any(between >> group.number & 1 and group.before >> first.number & 1 for group in self.groups)

    def _join(self, first: _Group, second: _Group) -> None:
        """Put the second group into the first one; what comes behind either now comes behind both."""
        pairs = sorted(
            zip(
                first.positions + second.positions,
                first.members + second.members,
                first.shapes + second.shapes,
                strict=True,
            ),
            key=lambda entry: entry[0],
        )
        first.positions, first.members, first.shapes = (list(column) for column in zip(*pairs, strict=True))
        first.needs |= second.needs
        mine, its = 1 << first.number, 1 << second.number
        first.before = (first.before | second.before) & ~(mine | its)
        for position in second.positions:
            self._group_of[position] = first
        del self._groups[second.number]
        for group in self._groups.values():
            if group is not first and group.before & (mine | its):
                group.before = (group.before | first.before | mine) & ~its

    def in_order(self) -> list[_Group]:
        """The groups so that each comes behind what it needs, otherwise by where the last of its nodes stood."""
        waits: dict[int, set[int]] = {}
        behind: dict[int, list[int]] = {}
        for group in self.groups:
            needed = {self._group_of[item].number for item in group.needs} - {group.number}
            waits[group.number] = needed
            for number in needed:
                behind.setdefault(number, []).append(group.number)
        ready = [(group.positions[-1], group.number) for group in self.groups if not waits[group.number]]
        heapq.heapify(ready)
        order = []
        while ready:
            _, number = heapq.heappop(ready)
            order.append(self._groups[number])
            for later in behind.get(number, ()):
                waits[later].discard(number)
                if not waits[later]:
                    heapq.heappush(ready, (self._groups[later].positions[-1], later))
        assert len(order) == len(self._groups), "a region waits for itself"
        return order


def _merged(group: _Group, consumers: dict[Variable, list[Node]], roots: set[Variable]) -> Node:
    """The region of a group, or its only node."""
    if len(group.members) == 1:
        return group.members[0]
    inputs = list(group.inputs())
    numbers: dict[tuple[Variable, Shape | None], int] = {entry: at for at, entry in enumerate(inputs)}
    made: dict[Variable, int] = {}
    lines: list[Line] = []
    count = len(inputs)
    for node, shapes in zip(group.members, group.shapes, strict=True):
        operands = tuple(
            None if item is None or shape is None else made[item] if item in made else numbers[item, shape]
            for item, shape in zip(node.inputs, shapes or (), strict=True)
        )
        types = tuple(None if item is None else (item.dtype, item.shape) for item in node.outputs)
        lines.append(Line(node.op_type, node.domain, node.version, node.attributes, operands, types))
        made.update((item, count + at) for at, item in enumerate(node.outputs) if item is not None)
        count += len(node.outputs)
    inside = set(group.members)
    kept = [item for item in made if item in roots or any(node not in inside for node in consumers.get(item, ()))]
    last = group.members[-1]
    attributes = {
        "lines": tuple(lines),
        "results": tuple(made[item] for item in kept),
        "shapes": tuple(shape for _, shape in inputs),
    }
    region = Node(REGION, TOOLKIT_DOMAIN, 1, [item for item, _ in inputs], [*kept], attributes, last.layer)
    others = (path for node in group.members for path in (node.layer, *node.fused) if path != last.layer)
    region.fused = tuple(dict.fromkeys(others))
    region.role, region.backend, region.is_recomputed = last.role, last.backend, last.is_recomputed
    for item in kept:
        item.producer = region
    return region
