"""The search for what to drop within a budget: segments of several sizes, treated lightly or thoroughly.

Whether something fits is judged by an estimate of the peak, which needs no kernels; whoever asks measures what is found
and asks again for less where the estimate was too low.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from toolkit.autodiff.recomputation import ForwardPass, Schedule, is_view
from toolkit.autodiff.rematerialisation_choices import Dropped, lightly, segments, thoroughly
from toolkit.compiler.program import UPDATE_ROLES, Node, Variable

SEGMENT_COUNTS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
LIGHT_SEGMENTS = 16  # in which cheap layers are looked at where dropping all of them is more than enough
MOST_PRUNED = 16


@dataclass(frozen=True)
class Candidate:
    """What each segment drops, with the estimated ``peak``."""

    choice: tuple[Dropped, ...]
    peak: int
    cost: float

    @property
    def dropped(self) -> Dropped:
        return frozenset[Variable]().union(*self.choice)


@dataclass(frozen=True)
class Cut:
    """A forward pass in segments: what each drops if treated lightly or thoroughly, those worth most first."""

    light: list[Dropped]
    deep: list[Dropped]
    light_order: list[int]
    deep_order: list[int]

    def lightly(self, count: int) -> list[Dropped]:
        """What the segments drop if the first ``count`` are treated lightly, the others not at all."""
        chosen = set(self.light_order[:count])
        return [drops if at in chosen else frozenset() for at, drops in enumerate(self.light)]

    def thoroughly(self, count: int) -> list[Dropped]:
        """What the segments drop if the first ``count`` are treated thoroughly, the others lightly."""
        chosen = set(self.deep_order[:count])
        return [self.deep[at] if at in chosen else self.light[at] for at in range(len(self.deep))]


class Search:
    """Looks for schedules of one forward pass; everything looked at is remembered."""

    def __init__(self, forward: ForwardPass) -> None:
        self.forward = forward
        most = max(2, len(forward.nodes) // 2)
        self._cuts = [self._cut(count) for count in SEGMENT_COUNTS if count <= most]
        self._light = self._cut(min(LIGHT_SEGMENTS, most))
        self._seen: dict[tuple[Dropped, ...], Candidate] = {}

    def cheapest(self, limit: float) -> Candidate | None:
        """The cheapest candidate found with a peak within ``limit``; costly nodes only where cheap ones are too few."""
        cut = self._light
        found = self._first(len(cut.light), limit, [cut.lightly(count) for count in range(len(cut.light) + 1)])
        if found is None:
            several = [
                self._first(len(cut.deep), limit, [cut.thoroughly(count) for count in range(len(cut.deep) + 1)])
                for cut in self._cuts
            ]
            found = min((item for item in several if item), key=lambda item: item.cost, default=None)
        return None if found is None else self._pruned(found, limit)

    def smallest(self) -> Candidate:
        """The candidate with the least peak."""
        every = [self._candidate(cut.thoroughly(len(cut.deep))) for cut in self._cuts]
        return min((*every, *self._seen.values()), key=lambda item: item.peak)

    def _first(self, last: int, limit: float, choices: Sequence[Sequence[Dropped]]) -> Candidate | None:
        """The first of choices that drop more and more to fit, if the last one does."""
        if self._candidate(choices[last]).peak > limit:
            return None
        at = bisect_left(choices, True, hi=last, key=lambda choice: self._candidate(choice).peak <= limit)
        return self._candidate(choices[at])

    def _pruned(self, chosen: Candidate, limit: float) -> Candidate:
        """The candidate without what it need not drop; what costs most is kept first."""
        costs = [self._cost(drops) for drops in chosen.choice]
        for at in sorted(range(len(costs)), key=costs.__getitem__, reverse=True)[:MOST_PRUNED]:
            less = self._candidate([*chosen.choice[:at], frozenset(), *chosen.choice[at + 1 :]])
            if less.peak <= limit and less.cost < chosen.cost:
                chosen = less
        return chosen

    def _candidate(self, choice: Sequence[Dropped]) -> Candidate:
        key = tuple(choice)
        if key not in self._seen:
            schedule = self.forward.schedule(frozenset[Variable]().union(*key))
            self._seen[key] = Candidate(key, estimated_peak(self.forward, schedule), schedule.cost)
        return self._seen[key]

    def _cut(self, count: int) -> Cut:
        parts = segments(self.forward, count)
        light = [lightly(self.forward, part) for part in parts]
        deep = [thoroughly(self.forward, part) for part in parts]
        return Cut(light, deep, self._by_worth(light), self._by_worth(deep))

    def _by_worth(self, drops: Sequence[Dropped]) -> list[int]:
        """The segments by how many bytes they free for what it costs."""
        worth = [
            sum(item.nbytes for item in dropped if item in self.forward.saved) / (1.0 + self._cost(dropped))
            for dropped in drops
        ]
        return sorted(range(len(drops)), key=worth.__getitem__, reverse=True)

    def _cost(self, dropped: Dropped) -> float:
        """About what it costs to compute all of this again."""
        return sum(self.forward.cost(node) for node in {self.forward.producer[item] for item in dropped})


def estimated_peak(forward: ForwardPass, schedule: Schedule) -> int:
    """The most bytes that variables take at one time, as if none shared memory but views."""
    program, end = forward.program, len(schedule.nodes)
    root: dict[Variable, Variable] = {}
    last = dict.fromkeys(program.inputs.values(), 0)
    first = dict(last)
    elsewhere: set[Variable] = set()  # gradients lie where the optimizer reads them
    for at, node in enumerate(schedule.nodes):
        inputs = schedule.inputs.get(node, node.inputs)
        roots = [root.get(item, item) for item in inputs if item is not None]
        if node.role in UPDATE_ROLES:
            elsewhere.update(roots)
            continue
        last.update((item, at) for item in roots if item in first)
        source = inputs[0] if inputs and is_view(node) else None
        for item in node.outputs:
            if item is None or not _lies_in_arena(forward, node, item):
                continue
            if source is not None:
                root[item] = root.get(source, source)
            else:
                first[item] = last[item] = at
    last.update((root.get(item, item), end) for item in program.outputs.values())
    change = [0] * (end + 2)
    for item, start in first.items():
        if item not in elsewhere:
            change[start] += item.nbytes
            change[last[item] + 1] -= item.nbytes
    return max(accumulate(change))


def _lies_in_arena(forward: ForwardPass, node: Node, item: Variable) -> bool:
    return node.role != "forward" or item in forward.varying
