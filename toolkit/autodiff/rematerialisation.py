"""Rematerialisation (gradient checkpointing): less memory in a training step for more computation, the same gradients.

What the forward pass makes for the backward pass alone is not kept but computed again when it is read. Which, is told
by layers or left to a budget. A budget prefers what is cheap to compute again to what is costly, and is held against
the size that the memory planner really needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from toolkit.autodiff.recomputation import ForwardPass, Schedule
from toolkit.autodiff.rematerialisation_choices import (
    Dropped,
    lightly,
    matching_scope,
    segments,
    selected,
    thoroughly,
)
from toolkit.compiler.program import Program, Variable
from toolkit.errors import GraphError, InputError, TrainingError

Rematerialise = float | int | str | Sequence[str] | None
Measure = Callable[[Program], int]  # bytes that the planner needs for a program

SEGMENT_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
MOST_STEPS = 12  # of one way to cut that are looked at
MOST_MEASUREMENTS = 8


def require_rematerialise(asked: Rematerialise) -> Rematerialise:
    """``asked`` as ``rematerialise`` takes it. Raises ``InputError`` when it is nothing that can be asked for."""
    if asked is None:
        return None
    if isinstance(asked, str):
        return (asked,)
    if isinstance(asked, bool) or not isinstance(asked, float | int):
        patterns = () if isinstance(asked, bool | bytes) or not isinstance(asked, Iterable) else tuple(asked)
        if patterns and all(isinstance(item, str) for item in patterns):
            return patterns
    elif (isinstance(asked, int) and asked > 0) or 0 < asked < 1:
        return asked
    raise InputError(
        "rematerialise must be patterns of layers such as ['encoder/*'], a part of the memory between 0 and 1 such as "
        f"0.5, or a number of bytes, got {asked!r}."
    )


def rematerialise(program: Program, asked: Rematerialise, measure: Measure, layers: Iterable[str] = ()) -> None:
    """Let the backward pass of a differentiated program compute again what it would have to keep.

    - ``asked``: patterns (each scope that one matches keeps only what enters it and what it hands on, each single layer
      that one matches is computed again altogether), or what ``measure`` may come to: bytes, or a part (a ``float``) of
      what it is without this.
    - ``layers``: all that patterns may name, beside the layers that the program has nodes of.

    Raises ``GraphError`` for patterns that match nothing, ``TrainingError`` telling what can be reached when the budget
    cannot be met. Nothing may merge equal nodes afterwards but what respects ``Node.is_recomputed``.
    """
    if asked is None:
        return
    forward = ForwardPass(program)
    if isinstance(asked, float | int):
        _fit(forward, asked, measure)
        return
    patterns = [asked] if isinstance(asked, str) else list(asked)
    _require_matches(patterns, [*layers, *(node.layer for node in program.nodes)])
    forward.schedule(selected(forward, patterns)).adopt(program)


def _require_matches(patterns: Sequence[str], layers: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(matching_scope(path, [pattern]) for path in layers):
            examples = ", ".join(repr(name) for name in list(dict.fromkeys(layers))[:3])
            raise GraphError(f"rematerialise: nothing matches {pattern!r}. Layers are named like {examples}.")


@dataclass(frozen=True)
class Candidate:
    """Segments and what each of them drops; ``peak`` as estimated."""

    choice: tuple[Dropped, ...]
    peak: int
    cost: float

    @property
    def dropped(self) -> Dropped:
        return frozenset[Variable]().union(*self.choice)


def _fit(forward: ForwardPass, asked: float | int, measure: Measure) -> None:
    """Adopt the cheapest schedule that fits the budget."""
    program, original = forward.program, forward.original()

    def measured(schedule: Schedule) -> int:
        schedule.adopt(program)
        try:
            return measure(program)
        finally:
            original.adopt(program)

    whole = measured(original)
    limit = asked if isinstance(asked, int) else int(asked * whole)
    if whole <= limit:
        return
    ratio = whole / max(estimated_peak(forward, original), 1)
    found, least = candidates(forward), whole
    for _ in range(MOST_MEASUREMENTS):
        if not found:
            break
        fitting = [item for item in found if item.peak * ratio <= limit]
        chosen = min(fitting, key=lambda item: item.cost) if fitting else min(found, key=lambda item: item.peak)
        found.remove(chosen)
        if fitting:
            chosen = _pruned(forward, chosen, limit / ratio)
        schedule = forward.schedule(chosen.dropped)
        size = measured(schedule)
        least = min(least, size)
        if size <= limit:
            schedule.adopt(program)
            return
        ratio = max(ratio, size / max(chosen.peak, 1)) if fitting else ratio
    raise TrainingError(
        f"rematerialise={asked!r}: a step takes {_told(whole)} and must fit into {_told(limit)}, but computing again "
        f"what can be brings it down to {_told(least)} at best. Ask for rematerialise={least} (bytes, "
        f"{least / whole:.2f} of the whole), or train on smaller batches."
    )


def candidates(forward: ForwardPass) -> list[Candidate]:
    """Ways to drop more and more, for segments of several sizes: first all that is cheap, then all that is costly."""
    found: dict[Dropped, Candidate] = {}
    for count in SEGMENT_COUNTS:
        if count > max(1, len(forward.nodes) // 2):
            break
        parts = segments(forward, count)
        light = [lightly(forward, part) for part in parts]
        deep = [light[at] | thoroughly(forward, part) for at, part in enumerate(parts)]
        order = [(at, light[at]) for at in _by_worth(forward, light)] + [
            (at, deep[at]) for at in _by_worth(forward, deep)
        ]
        choice: list[Dropped] = [frozenset()] * len(parts)
        shown = {round(step * len(order) / MOST_STEPS) for step in range(1, MOST_STEPS + 1)}
        for number, (at, dropped) in enumerate(order, 1):
            choice[at] = dropped
            if number in shown or number == len(parts):
                made = _candidate(forward, choice)
                found.setdefault(made.dropped, made)
    return list(found.values())


def _by_worth(forward: ForwardPass, drops: Sequence[Dropped]) -> list[int]:
    """The segments by how many bytes they free for what it costs."""

    def worth(at: int) -> float:
        freed = sum(item.nbytes for item in drops[at] if item in forward.saved)
        return -freed / (1.0 + forward.schedule(drops[at]).cost)

    return sorted(range(len(drops)), key=worth)


def _candidate(forward: ForwardPass, choice: Sequence[Dropped]) -> Candidate:
    schedule = forward.schedule(frozenset[Variable]().union(*choice))
    return Candidate(tuple(choice), estimated_peak(forward, schedule), schedule.cost)


def _pruned(forward: ForwardPass, chosen: Candidate, limit: float) -> Candidate:
    """The candidate without what it need not drop: what frees the least for its cost is kept first."""
    for at in reversed(_by_worth(forward, chosen.choice)):
        kept = [*chosen.choice]
        kept[at] = frozenset()
        less = _candidate(forward, kept)
        if less.peak <= limit and less.cost < chosen.cost:
            chosen = less
    return chosen


def estimated_peak(forward: ForwardPass, schedule: Schedule) -> int:
    """The most bytes that variables take at one time, as if none shared memory but views."""
    program = forward.program
    end = len(schedule.nodes)
    root: dict[Variable, Variable] = {}
    first = dict.fromkeys(program.inputs.values(), 0)
    last = dict.fromkeys(program.inputs.values(), 0)
    for at, node in enumerate(schedule.nodes):
        for item in schedule.inputs.get(node, node.inputs):
            if item is not None and root.get(item, item) in first:
                last[root.get(item, item)] = at
        if node.role == "update":
            continue
        is_view = node.record is not None and node.record.is_view
        for item in node.outputs:
            if item is None or (item not in forward.varying and node.role == "forward"):
                continue
            if is_view:
                source = schedule.inputs.get(node, node.inputs)[0]
                root[item] = item if source is None else root.get(source, source)
            if root.get(item, item) is item:
                first[item] = last[item] = at
    for item in program.outputs.values():
        last[root.get(item, item)] = end
    for node in schedule.nodes:
        if node.role == "update":  # gradients lie where the optimizer reads them
            for item in node.inputs:
                first.pop(root.get(item, item) if item is not None else item, None)  # type: ignore[arg-type]
    change = [0] * (end + 2)
    for item, start in first.items():
        change[start] += item.nbytes
        change[last[item] + 1] -= item.nbytes
    return max(accumulate(change))


def _told(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.1f} MiB"
