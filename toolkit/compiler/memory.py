"""Memory planning: offsets in one arena for tensors whose lifetimes are known.

Tensors that are never alive together may share bytes. The plan is the greedy one by size: the largest tensor first,
each at the lowest offset where it collides with no placed tensor that lives at the same time.

Memory that somebody else has, but does not need before some step, may be lent. What fits in there comes to lie at the
highest offset, for the arena's sake: gradients are written last first, in an order against that of what they replace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
ENDLESS = 1 << 62


@dataclass(slots=True)
class Lifetime:
    """``nbytes`` needed from step ``first`` to step ``last``, both included.

    ``offset`` is the planner's answer: in the arena, or in the region of that number.
    """

    nbytes: int
    first: int
    last: int
    offset: int = 0
    region: int | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """``nbytes`` of lent memory, free but for its ``owners``, whose offsets are known."""

    nbytes: int
    owners: Sequence[Lifetime]


def align(nbytes: int, alignment: int = ALIGNMENT) -> int:
    """Round up to whole cache lines, or to another alignment."""
    return -(-nbytes // alignment) * alignment


def plan_arena(lifetimes: Sequence[Lifetime], alignment: int = ALIGNMENT, regions: Sequence[Region] = ()) -> int:
    """Set every offset; returns the size of the arena in bytes, which has what finds no place in the ``regions``."""
    placed: list[Lifetime] = []
    lent = [list(region.owners) for region in regions]
    size = 0
    for item in sorted(lifetimes, key=lambda item: (-item.nbytes, item.first)):
        item.region = _lend(item, regions, lent, alignment)
        if item.region is None:
            item.offset = next(start for start, end in _gaps(item, placed, alignment) if start + item.nbytes <= end)
            placed.append(item)
            size = max(size, align(item.offset + item.nbytes, alignment))
    return size


def _lend(item: Lifetime, regions: Sequence[Region], lent: list[list[Lifetime]], alignment: int) -> int | None:
    """Place an item in the first region that has room, above all that it has been ``lent`` to; returns the number."""
    for number, (region, others) in enumerate(zip(regions, lent, strict=True)):
        gaps = _gaps(item, others, alignment, region.nbytes)
        ends = [end for start, end in gaps if start + item.nbytes <= end]
        if ends:
            item.offset = (ends[-1] - item.nbytes) // alignment * alignment
            others.append(item)
            return number
    return None


def _gaps(item: Lifetime, placed: Sequence[Lifetime], alignment: int, end: int = ENDLESS) -> Iterator[tuple[int, int]]:
    """From where to where nothing lies that is needed together with an item."""
    rivals = [other for other in placed if other.first <= item.last and item.first <= other.last]
    rivals.sort(key=lambda other: other.offset)
    offset = 0
    for other in rivals:
        yield offset, other.offset
        offset = max(offset, align(other.offset + other.nbytes, alignment))
    yield offset, end
