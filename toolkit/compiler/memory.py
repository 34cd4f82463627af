"""Memory planning: offsets in one arena for tensors whose lifetimes are known.

Tensors that are never alive together may share bytes. The plan is the greedy one by size: the largest tensor first,
each at the lowest offset where it collides with no placed tensor that lives at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


@dataclass(slots=True)
class Lifetime:
    """``nbytes`` needed from step ``first`` to step ``last``, both included; ``offset`` is the planner's answer."""

    nbytes: int
    first: int
    last: int
    offset: int = 0


def align(nbytes: int, alignment: int = ALIGNMENT) -> int:
    """Round up to whole cache lines, or to another alignment."""
    return -(-nbytes // alignment) * alignment


def plan_arena(lifetimes: Sequence[Lifetime], alignment: int = ALIGNMENT) -> int:
    """Set every offset; returns the size of the arena in bytes."""
    placed: list[Lifetime] = []
    size = 0
    for item in sorted(lifetimes, key=lambda item: (-item.nbytes, item.first)):
        rivals = [other for other in placed if other.first <= item.last and item.first <= other.last]
        rivals.sort(key=lambda other: other.offset)
        offset = 0
        for other in rivals:
            if offset + item.nbytes <= other.offset:
                break
            offset = max(offset, align(other.offset + other.nbytes, alignment))
        item.offset = offset
        placed.append(item)
        size = max(size, align(offset + item.nbytes, alignment))
    return size
