"""Sizes of a block, and how it is cut: whole numbers that the code of its kernel follows from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.compilation.compiler import compiler
from toolkit.compiler.program import Node

FLOAT32 = np.dtype(np.float32)
UNIT = 8  # channels, of which all counts are multiples: half of the longest vectors
MOST_VECTORS = 3  # of a panel
MOST_ROWS = 12  # of a tile
OF_REGISTERS = 3, 4  # the share that holds sums
FIRST_CACHE = 1 << 15  # bytes
LEAST_ROWS = 16  # of the results of a thread, from which threads share rows: others are widened by two of them


class Sizes(NamedTuple):
    """A block on ``batch`` images of ``image`` (rows, columns) with results of ``result``.

    ``wide`` channels are filtered with windows of ``taps``, which begin ``begins`` before an image.
    """

    batch: int
    image: tuple[int, int]
    result: tuple[int, int]
    channels: int
    wide: int
    outputs: int
    taps: tuple[int, int]
    strides: tuple[int, int]
    begins: tuple[int, int]
    widens: bool

    @classmethod
    def of(cls, node: Node) -> Sizes:
        x, y, filters = node.x, node.y, node.inputs[3]
        assert filters is not None
        down, across = node.attributes["strides"]
        above, left = node.attributes["pads"][:2]
        return cls(
            x.shape[0],
            (x.shape[2], x.shape[3]),
            (y.shape[2], y.shape[3]),
            x.shape[1],
            filters.shape[0],
            y.shape[1],
            (filters.shape[2], filters.shape[3]),
            (down, across),
            (above, left),
            node.inputs[1] is not None,
        )

    @property
    def reach(self) -> int:
        """Columns that windows see, those beside the image with it."""
        return (self.result[1] - 1) * self.strides[1] + self.taps[1]

    @property
    def kept(self) -> int:
        """Rows of the wide image that are kept, a power of two: a window and as many as the next one moves on."""
        return 1 << (max(self.taps[0], self.strides[0]) - 1).bit_length()

    @property
    def panel(self) -> int:
        """Wide channels that go all the way together: so many that what is kept of them stays in the first cache."""
        numbers = self.kept * self.reach + self.result[1]
        return panel_width(self.wide, FIRST_CACHE // (numbers * FLOAT32.itemsize))

    @property
    def panels(self) -> int:
        return self.wide // self.panel

    @property
    def out_panel(self) -> int:
        """Channels of the result that a tile has."""
        return panel_width(self.outputs, self.outputs)

    def shares_rows(self, threads: int) -> bool:
        """Whether threads have rows of the results of their own; else they have panels, and sums are added up."""
        return self.batch * self.result[0] >= LEAST_ROWS * threads or self.panels < threads


def vectors(width: int) -> list[tuple[int, int]]:
    """Where the vectors of a panel begin, and how many lanes they have."""
    lanes = compiler().lanes(FLOAT32)
    whole = width // lanes * lanes
    found = [(at, lanes) for at in range(0, whole, lanes)]
    return [*found, *((at, min(UNIT, lanes)) for at in range(whole, width, UNIT))]


def panel_width(channels: int, most: int) -> int:
    """The widest panel up to ``most`` that divides so many channels evenly, of whole vectors where these do."""
    lanes = compiler().lanes(FLOAT32)
    unit = UNIT if channels % lanes else lanes
    widths = range(unit, max(unit, min(most, MOST_VECTORS * lanes)) + 1, unit)
    return max(width for width in widths if channels % width == 0)


def rows_of_a_tile(positions: int, width: int) -> int:
    """How many of so many positions a tile of that width has, so that all tiles take least time."""
    share, whole = OF_REGISTERS
    count = len(vectors(width))
    most = max(1, min(MOST_ROWS, positions, compiler().registers * share // (whole * count)))
    return min(range(most, 0, -1), key=lambda rows: math.ceil(positions / rows) * (rows * count + 1))
