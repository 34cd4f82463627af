"""Attributes turned into arrays once: packed forms, found again by the identity of what they were packed from.

Models of this domain keep their weights in attributes, as Python lists with up to millions of elements. A kernel hands
the same lists to a reference in every run, so the form that the reference works on is kept with them. The lists are
kept too: as long as an entry lives, no other object can have the identity of one of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from operator import is_
from typing import Any, Generic, TypeVar

LIMIT = 32  # packed forms of one kind; the ones used longest ago are dropped first

Packed = TypeVar("Packed")


class Packing(Generic[Packed]):
    """``pack(*sources)``, called once for the same source objects; these must not be changed in place."""

    def __init__(self, pack: Callable[..., Packed], limit: int = LIMIT) -> None:
        self._pack, self._limit = pack, limit
        self._entries: OrderedDict[tuple[Any, ...], tuple[tuple[Any, ...], Packed]] = OrderedDict()
        self._latest: tuple[tuple[Any, ...], Packed] | None = None

    def __call__(self, *sources: Any) -> Packed:
        latest = self._latest
        if latest is not None and len(latest[0]) == len(sources) and all(map(is_, latest[0], sources)):
            return latest[1]
        key = tuple((item,) if isinstance(item, int) else id(item) for item in sources)
        entry = self._entries.pop(key, None)
        if entry is None:
            entry = (sources, self._pack(*sources))
        self._entries[key] = self._latest = entry
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)
        return entry[1]
