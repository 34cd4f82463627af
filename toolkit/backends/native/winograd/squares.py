"""Squares of neighbouring positions of images with channels last: what tiles read, beyond the edges too."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.code import Code
from toolkit.backends.native.library import compiler
from toolkit.backends.native.number import Number

FLOAT32 = np.dtype(np.float32)
Read = Callable[[str, int], None]


class Corner(NamedTuple):
    """A tile: its image, and the row and the column of its first result."""

    image: Number
    row: Number
    column: Number


class Squares(NamedTuple):
    """Squares of ``side`` x ``side`` positions in images of ``size`` (rows, columns), ``begins`` before corners."""

    size: tuple[int, int]
    channels: int
    side: int
    begins: tuple[int, int] = (0, 0)

    @property
    def numbers(self) -> int:
        """Of one square."""
        return self.side**2 * self.channels

    def read(self, code: Code, images: str, corner: Corner, spare: tuple[str, Number], read: Read) -> None:
        """Let ``read`` write what is done with a square: it is given the place, and how far apart its rows lie.

        A square that reaches over the edge is copied first, between zeros, to ``spare``, the place and the element.
        """
        (high, wide), channels = self.size, self.channels
        y, x = corner.row - self.begins[0], corner.column - self.begins[1]
        first = ((corner.image * high + y) * wide + x) * channels
        is_inside = (y >= 0) & (x >= 0) & (y <= high - self.side) & (x <= wide - self.side)
        with code.where(is_inside):
            read(code.address(images, first, FLOAT32), wide * channels)
        with code.where(~is_inside):
            self._copy(code, images, first, (y, x), spare)
            read(code.address(*spare, FLOAT32), self.side * channels)

    def _copy(
        self, code: Code, images: str, first: Number, at: tuple[Number, Number], spare: tuple[str, Number]
    ) -> None:
        (high, wide), (y, x), (place, start) = self.size, at, spare
        lanes = compiler().lanes(FLOAT32)
        with code.loop(self.side) as row, code.loop(self.side) as column:
            is_there = (y + row >= 0) & (y + row < high) & (x + column >= 0) & (x + column < wide)
            target = start + (row * self.side + column) * self.channels
            with code.where(is_there):
                source = code.address(images, first + (row * wide + column) * self.channels, FLOAT32)
                code.copy(source, code.address(place, target, FLOAT32), self.channels * FLOAT32.itemsize)
            with code.where(~is_there), code.loop(self.channels, lanes) as channel:
                code.store(code.constant(0.0, FLOAT32, lanes), place, target + channel)
