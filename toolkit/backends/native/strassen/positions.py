"""Positions of images as rows of a matrix, two by two: one of the first half of an image, one of the second.

So what a result is rounded with are numbers of the same image, never of another item of a batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.strassen.products import most_rows
from toolkit.backends.native.winograd.images import Images

FLOAT32 = np.dtype(np.float32)


class Positions(NamedTuple):
    """``batch`` images of ``size`` results, which are of every ``stride``-th row and column."""

    batch: int
    size: tuple[int, int]
    strides: tuple[int, int]

    @property
    def each(self) -> int:
        """Of one image."""
        return math.prod(self.size)

    @property
    def half(self) -> int:
        """Of the first half; the second one may have one less."""
        return -(-self.each // 2)

    @property
    def tiles(self) -> int:
        """Of one image: rows of both halves."""
        return -(-self.half // most_rows())

    @property
    def height(self) -> int:
        """Rows of a tile in each half; of the first ``higher`` ones one more."""
        return self.half // self.tiles

    @property
    def higher(self) -> int:
        return self.half % self.tiles

    @property
    def highest(self) -> int:
        return self.height + bool(self.higher)

    @property
    def total(self) -> int:
        """Tiles of all images."""
        return self.batch * self.tiles

    def first(self, tile: Number) -> Number:
        """The first position of a tile of one image."""
        return tile * self.height + tile.smaller(self.higher)

    def read_at(self, images: Images, position: Number) -> Number:
        """Where a position lies in the image that is read."""
        if self.strides == (1, 1):
            return position * images.block
        row = position / self.size[1]
        column = position - row * self.size[1]
        down, across = self.strides
        return row * (images.row_apart * down) + column * (images.block * across)


def longest(items: int, threads: int) -> int:
    """How many of equal items the thread has that has most."""
    return -(-items // threads)
