"""Images as kernels find them, channels last or in blocks of a vector, and the squares that tiles read of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.blocking import LINE
from toolkit.backends.onednn.memory import channels_in_blocks, channels_last
from toolkit.backends.protocol import Layout

FLOAT32 = np.dtype(np.float32)


def in_vectors(channels: int) -> int:
    """So many channels with those behind them, zeros, that fill the last vector."""
    lanes = compiler().lanes(FLOAT32)
    return -(-channels // lanes) * lanes


class Corner(NamedTuple):
    """A tile: its image, and the row and the column of its first result."""

    image: Number
    row: Number
    column: Number


class Images(NamedTuple):
    """``channels`` at each position of ``size`` (rows, columns), ``block`` of them beside each other.

    Blocks are full: behind the last channel there are zeros. Numbers are of float32 or bfloat16.
    """

    size: tuple[int, int]
    channels: int
    block: int
    dtype: np.dtype = FLOAT32

    @classmethod
    def of(cls, shape: tuple[int, ...], layout: Layout | None, dtype: np.dtype = FLOAT32) -> Images:
        """Images (batch, channels, rows, columns) as they lie, or with channels last where these fill vectors."""
        lanes = compiler().lanes(FLOAT32)
        is_blocked = layout is not None and layout == channels_in_blocks(dtype, shape, lanes)
        block = lanes if is_blocked or shape[1] % lanes else shape[1]
        return cls((shape[2], shape[3]), shape[1], block, dtype)

    def beside(self, size: tuple[int, int], channels: int, dtype: np.dtype = FLOAT32) -> Images:
        """Other images that lie alike, as far as their channels fill vectors."""
        lanes = compiler().lanes(FLOAT32)
        is_last = self.block == self.channels and not channels % lanes
        return Images(size, channels, channels if is_last else lanes, dtype)

    @property
    def numbers(self) -> int:
        """At each position."""
        return -(-self.channels // self.block) * self.block

    def nbytes(self, batch: int) -> int:
        """Of so many of them."""
        return batch * math.prod(self.size) * self.numbers * self.dtype.itemsize

    def layout(self, batch: int) -> Layout:
        """How so many of them lie."""
        shape = (batch, self.channels, *self.size)
        is_last = self.block == self.channels
        return channels_last(self.dtype, shape) if is_last else channels_in_blocks(self.dtype, shape, self.block)

    @property
    def row_apart(self) -> int:
        """Numbers from one row to the next."""
        return self.size[1] * self.block

    @property
    def channel_factor(self) -> int:
        """How far apart channels are on average; from one vector to the next they all are, times its lanes."""
        return 1 if self.block == self.channels else self.size[0] * self.size[1]

    def at(self, image: Number, row: Number, column: Number) -> Number:
        """The first channel at a position."""
        high, wide = self.size
        return image * (high * wide * self.numbers) + (row * wide + column) * self.block

    def bring_near(self, code: Code, place: str, corner: Corner, side: int, *, is_written: bool = False) -> None:
        """Fetch ``side`` x ``side`` positions from a corner on, those that are there, into the second cache."""
        line = LINE * FLOAT32.itemsize // self.dtype.itemsize
        first, block = self.at(*corner), self.block * self.channel_factor
        with code.loop(side) as row, code.loop(self.numbers * self.channel_factor, block) as channels:
            start = first + row * self.row_apart + channels
            with code.loop(side * self.block, line) as at:
                code.prefetch(place, start + at, self.dtype, cache=2, is_written=is_written)


class Distances(NamedTuple):
    """Numbers between the vectors of a position, the rows and the columns of a square."""

    vector: int
    row: int
    column: int


class Squares(NamedTuple):
    """Squares of ``side`` x ``side`` positions in images. They begin ``begins`` before a corner."""

    images: Images
    side: int
    begins: tuple[int, int] = (0, 0)

    @property
    def numbers(self) -> int:
        """Of one square."""
        return self.side**2 * self.images.numbers

    def read(
        self,
        code: Code,
        place: str,
        corner: Corner,
        spare: tuple[str, Number],
        read: Callable[[str, int, Distances], None],
        size: tuple[Number, Number] | None = None,
    ) -> None:
        """Let ``read`` write what is done with a square: it is given the place, ``channel_factor``, and distances.

        A square that reaches over the edge is copied first, between zeros, to ``spare``, a place and an element of
        float32 there. ``size`` are the rows and columns of it behind which it is zero all the same.
        """
        images, lanes = self.images, compiler().lanes(FLOAT32)
        y, x = corner.row - self.begins[0], corner.column - self.begins[1]
        first = images.at(corner.image, y, x)
        high, wide = (code.index(item) for item in images.size)
        if size is not None:
            high, wide = high.smaller(y + size[0]), wide.smaller(x + size[1])
        is_inside = (y >= 0) & (x >= 0) & (y <= high - self.side) & (x <= wide - self.side)
        factor = images.channel_factor
        with code.where(is_inside):
            distances = Distances(factor * lanes, images.row_apart, images.block)
            read(code.address(place, first, images.dtype), factor, distances)
        with code.where(~is_inside):
            copied = code.address(*spare, FLOAT32)
            self._copy(code, place, first, (y, x), (high, wide), copied)
            distances = Distances(lanes, self.side * images.numbers, images.numbers)
            read(copied, 1, distances)

    def _copy(
        self,
        code: Code,
        place: str,
        first: Number,
        at: tuple[Number, Number],
        until: tuple[Number, Number],
        target: str,
    ) -> None:
        (high, wide), (y, x) = until, at
        images, lanes = self.images, compiler().lanes(FLOAT32)
        zero, across = code.constant(0.0, images.dtype, lanes), self.side * images.numbers
        left = (0 - x).larger(0).smaller(self.side)
        with code.loop(self.side) as row:
            is_there = (y + row >= 0) & (y + row < high)
            begin = is_there.choose(left, self.side)
            end = (wide - x).smaller(self.side).larger(begin)
            copied = row * across
            with code.loop(begin * images.numbers, lanes) as before:
                code.store(zero, target, copied + before)
            with code.loop(end, start=begin) as column, code.loop(images.numbers, lanes) as channel:
                source = first + row * images.row_apart + column * images.block + channel * images.channel_factor
                found = code.load(place, source, images.dtype, lanes)
                code.store(found, target, copied + column * images.numbers + channel)
            with code.loop(across, lanes, start=end * images.numbers) as behind:
                code.store(zero, target, copied + behind)
