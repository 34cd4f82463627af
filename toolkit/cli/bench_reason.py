"""Where the time of a run goes, in words: the kinds of steps that take the most of it."""

from __future__ import annotations

from collections.abc import Sequence

TOLD, ENOUGH = 3, 0.75  # at most so many kinds are named, and no more than explain so much of the time
LEAST_BETWEEN = 0.1  # the least part of a run outside of its steps that is worth a word
Steps = Sequence[tuple[str, str, float]]


def reason(steps: Steps, milliseconds: float) -> str:
    """Such as ``"GridSample on numpy 71 %, 24 x Mul on onednn 12 %"``, from operator, backend and time of each step.

    What a run takes beyond its steps, copies of inputs and outputs and the calls themselves, counts as a kind too.
    """
    if not steps:
        return ""
    kinds: dict[str, list[float]] = {}
    for operator, backend, taken in steps:
        kinds.setdefault(f"{operator} on {backend}" if backend else operator, []).append(taken)
    whole = max(sum(taken for _, _, taken in steps), milliseconds)
    parts = [
        (f"{len(times)} x {kind}" if len(times) > 1 else kind, sum(times) / whole) for kind, times in kinds.items()
    ]
    between = 1 - sum(part for _, part in parts)
    if between >= LEAST_BETWEEN:
        parts.append(("between steps", between))
    told, explained = [], 0.0
    for kind, part in sorted(parts, key=lambda item: -item[1])[:TOLD]:
        told.append(f"{kind} {part:.0%}".replace("%", " %"))
        explained += part
        if explained >= ENOUGH:
            break
    return ", ".join(told)
