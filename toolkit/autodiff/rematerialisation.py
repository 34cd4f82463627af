"""Rematerialisation (gradient checkpointing): less memory in a training step for more computation, the same gradients.

What the forward pass makes for the backward pass alone is not kept but computed again when it is read. Which, is told
by layers or left to a budget. A budget prefers what is cheap to compute again to what is costly, and is held against
the size that the memory planner really needs. Where nothing is asked for, ``normalised_again`` tells what is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from toolkit.autodiff.normalised_again import normalised_again
from toolkit.autodiff.recomputation import ForwardPass, Schedule
from toolkit.autodiff.rematerialisation_choices import matching_scope, selected
from toolkit.autodiff.rematerialisation_search import Search, estimated_peak
from toolkit.compiler.program import Program
from toolkit.errors import GraphError, InputError, TrainingError

Rematerialise = float | int | str | Sequence[str] | bool | None  # of bool only False
Measure = Callable[[Program], int]  # bytes that the planner needs for a program
MOST_MEASUREMENTS = 5


def require_rematerialise(asked: Rematerialise) -> Rematerialise:
    """``asked`` as ``rematerialise`` takes it. Raises ``InputError`` when it is nothing that can be asked for."""
    if asked is None or asked is False:
        return asked
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
        f"0.5, a number of bytes, or False for nothing at all, got {asked!r}."
    )


def rematerialise(
    program: Program,
    asked: Rematerialise,
    measure: Measure,
    layers: Iterable[str] = (),
    *,
    on_host: bool = True,
) -> None:
    """Let the backward pass of a differentiated program compute again what it would have to keep.

    - ``asked``: patterns (each scope that one matches keeps only what enters it and what it hands on, each single layer
      that one matches is computed again altogether), or what ``measure`` may come to: bytes, or a part (a ``float``) of
      what it is without this. ``False`` for nothing, ``None`` for what ``normalised_again`` chooses.
    - ``layers``: all that patterns may name, beside the layers that the program has nodes of.
    - ``on_host``: whether the program is executed by backends of the host alone.

    Raises ``GraphError`` for patterns that match nothing, ``TrainingError`` telling what can be reached when the budget
    cannot be met. Nothing may merge equal nodes afterwards but what respects ``Node.is_recomputed``.
    """
    if asked is False:
        return
    forward = ForwardPass(program, on_host=on_host)
    if asked is None:
        dropped = normalised_again(forward)
        if dropped:
            forward.schedule(dropped).adopt(program)
        return
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


def _fit(forward: ForwardPass, asked: float | int, measure: Measure) -> None:
    """Adopt the cheapest schedule found that fits the budget."""
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
    search = Search(forward)
    ratio = whole / max(estimated_peak(forward, original), 1)
    for attempt in range(MOST_MEASUREMENTS):
        found = search.cheapest(limit / ratio) if attempt < MOST_MEASUREMENTS - 1 else None
        chosen = search.smallest() if found is None else found
        schedule = forward.schedule(chosen.dropped)
        size = measured(schedule)
        if size <= limit:
            schedule.adopt(program)
            return
        if found is None:
            break
        ratio = max(1.02 * ratio, size / max(chosen.peak, 1))
    raise TrainingError(
        f"rematerialise={asked!r}: a step takes {_told(whole)} and must fit into {_told(limit)}, but computing again "
        f"what can be brings it down to {_told(size)} at best. Ask for rematerialise={size} (bytes, "
        f"{size / whole:.2f} of the whole), or train on smaller batches."
    )


def _told(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.1f} MiB"
