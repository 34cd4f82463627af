"""How a convolution with windows of 3 x 3 is cut into tiles for minimal filtering, and whether that is worth while.

Larger tiles need fewer multiplications, and filters that take more memory: where few tiles share them, reading them is
what takes the time. Costs are counted in multiplications, from measurements on AVX2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from toolkit.backends import onednn
from toolkit.backends.native.library import compiler
from toolkit.backends.native.number import Number
from toolkit.backends.native.registry import is_of_numbers
from toolkit.backends.native.winograd.images import Corner
from toolkit.backends.native.winograd.transforms import Filtering
from toolkit.compiler.program import Node

FLOAT32 = np.dtype(np.float32)
TAPS = 3
# The points that rounded least of those tried: 2 and 0.7 times as coarsely as adding up all nine products (float32).
FILTERINGS = (Filtering(4, TAPS, (2 / 3, 3 / 2)), Filtering(2, TAPS, (1.0,)))
OF_A_FILTER = 11  # what reading one number of a filter costs
OF_A_POINT = 14  # what seeing one number of a window or of a tile at one point costs
WORTH_WHILE = 0.85  # of the multiplications of the convolution
FEWEST_PRODUCTS = 1 << 22  # of a convolution; smaller ones are computed where they lie, in rows


class Tiles(NamedTuple):
    """A convolution of ``batch`` images by ``filtering``; pairs are (rows, columns).

    ``size`` is that of an image, ``begins`` the zeros in front of it.
    """

    batch: int
    channels: int
    outputs: int
    size: tuple[int, int]
    begins: tuple[int, int]
    result: tuple[int, int]
    filtering: Filtering = FILTERINGS[0]

    @classmethod
    def of(cls, x: tuple[int, ...], y: tuple[int, ...], begins: tuple[int, int]) -> Tiles:
        """A convolution of ``x`` to ``y`` (batch, channels, rows, columns), in the tiles that cost least."""
        made = cls(x[0], x[1], y[1], (x[2], x[3]), begins, (y[2], y[3]))
        return min((made._replace(filtering=item) for item in FILTERINGS), key=Tiles.cost)

    @property
    def products(self) -> int:
        """Multiplications of the convolution as it is written."""
        return self.batch * math.prod(self.result) * self.channels * self.outputs * TAPS**2

    def cost(self) -> float:
        """Of all of it, beside ``products``."""
        multiplying = self.channels * self.outputs * (self.total + OF_A_FILTER)
        seeing = self.total * (self.channels + self.outputs) * OF_A_POINT
        return self.points * (multiplying + seeing)

    @property
    def is_worth_while(self) -> bool:
        """Whether it takes less time than the convolution as it is written."""
        lanes = compiler().lanes(FLOAT32)
        fills_vectors = not self.channels % lanes and not self.outputs % lanes
        return fills_vectors and self.products > FEWEST_PRODUCTS and self.cost() < WORTH_WHILE * self.products

    @property
    def points(self) -> int:
        return self.filtering.size**2

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles of one image."""
        rows, columns = (-(-size // self.filtering.outputs) for size in self.result)
        return rows, columns

    @property
    def total(self) -> int:
        """Tiles of all images."""
        return self.batch * math.prod(self.grid)

    def corner(self, tile: Number) -> Corner:
        """Where a tile begins."""
        rows, columns = self.grid
        image = tile / (rows * columns)
        inside = tile - image * (rows * columns)
        row = inside / columns
        return Corner(image, row * self.filtering.outputs, (inside - row * columns) * self.filtering.outputs)


def is_dense_window(node: Node, weight: tuple[int, ...]) -> bool:
    """Whether a convolution, or a gradient of one, goes position by position with ungrouped windows of 3 x 3."""
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    if not onednn.available() or not is_of_numbers(node) or any(item.dtype != FLOAT32 for item in present):
        return False
    steps = {*node.attributes["strides"], *node.attributes["dilations"], int(node.attributes["group"])}
    return len(node.x.shape) == 4 and weight[2:] == (TAPS, TAPS) and steps == {1}


def begins(node: Node) -> tuple[int, int]:
    """The zeros in front of the rows and the columns of an image."""
    pads = node.attributes["pads"]
    return int(pads[0]), int(pads[1])
