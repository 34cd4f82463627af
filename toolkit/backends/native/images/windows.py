"""Images as sliding windows read them: rows of columns, and a margin around them that is copied there first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler

FLOAT32 = np.dtype(np.float32)
HEAD = 16  # numbers before a copy, which is aligned to a cache line: threads count themselves there
Pair = tuple[int, int]


def pair(values: Sequence[int], missing: int) -> Pair:
    """What is given along one or two spatial axes as (rows, columns)."""
    return (missing, values[0]) if len(values) == 1 else (values[0], values[1])


class Image(NamedTuple):
    """``channels`` planes of ``size``, to be read with margins; all pairs are (rows, columns)."""

    channels: int
    size: Pair
    begins: Pair = (0, 0)
    ends: Pair = (0, 0)

    @property
    def has_margin(self) -> bool:
        return any((*self.begins, *self.ends))

    @property
    def room(self) -> Pair:
        """A plane with its margins."""
        rows, columns = (sum(sizes) for sizes in zip(self.size, self.begins, self.ends, strict=True))
        return rows, columns

    @property
    def numbers(self) -> int:
        """Without margins."""
        return self.channels * math.prod(self.size)

    @property
    def workspace(self) -> int:
        """Bytes of the copy and of what threads meet at; none where there is no margin."""
        return FLOAT32.itemsize * (HEAD + self.channels * math.prod(self.room)) if self.has_margin else 0

    def copy(self, code: Code, source: str, first: Number, target: str, margin: float, team: Team) -> None:
        """Write the image, which begins at ``first``, into ``target`` behind its head, between margins."""
        begin, end = team.share(self.channels)
        with code.loop(end, start=begin) as channel:
            here, there = first + channel * math.prod(self.size), channel * math.prod(self.room) + HEAD
            self.copy_plane(code, source, here, target, there, margin)

    def copy_plane(self, code: Code, source: str, first: Number, target: str, plane: Number, margin: float) -> None:
        """Write one channel, which begins at ``first``, to ``plane`` in ``target``, between margins."""
        lanes = compiler().lanes(FLOAT32)
        (rows, columns), (high, wide) = self.size, self.room
        size = high * wide
        filling, whole = code.constant(margin, FLOAT32, lanes), size // lanes * lanes
        with code.loop(whole, lanes) as at:
            code.store(filling, target, plane + at)
        with code.loop(size, start=whole) as at:
            code.store(code.constant(margin, FLOAT32), target, plane + at)
        with code.loop(rows) as row:
            start = first + row * columns
            place = plane + (row + self.begins[0]) * wide + self.begins[1]
            from_, to = code.address(source, start, FLOAT32), code.address(target, place, FLOAT32)
            code.copy(from_, to, columns * FLOAT32.itemsize)
