"""How a convolution with windows of 3 x 3 is cut into tiles for minimal filtering, and whether that is worth while.

Larger tiles need fewer multiplications, and filters that take more memory: where few tiles share them, reading them is
what takes the time. Costs are counted in multiplications, from measurements on AVX2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from toolkit.backends.native.image import pair
from toolkit.backends.native.winograd.transforms import Filtering
from toolkit.compiler.program import Node

TAPS = 3
# The points that rounded least of those tried: 2 and 0.7 times as coarsely as adding up all nine products (float32).
FILTERINGS = (Filtering(4, TAPS, (2 / 3, 3 / 2)), Filtering(2, TAPS, (1.0,)))
OF_A_FILTER = 11  # what reading one number of a filter costs
OF_A_POINT = 14  # what seeing one number of a window or of a tile at one point costs
WORTH_WHILE = 0.85  # of the multiplications of the convolution


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
    def of(cls, node: Node) -> Tiles:
        """A convolution with windows of 3 x 3 in the tiles that cost least."""
        x, y = node.x.shape, node.y.shape
        begins = pair(node.attributes["pads"][:2], 0)
        return cls(x[0], x[1], y[1], pair(x[2:], 1), begins, pair(y[2:], 1)).best()

    def best(self) -> Tiles:
        """The same convolution in the tiles that cost least."""
        return min((self._replace(filtering=item) for item in FILTERINGS), key=Tiles.cost)

    def cost(self) -> float:
        """Of all of it, beside ``products``."""
        multiplying = self.channels * self.outputs * (self.total + OF_A_FILTER)
        seeing = self.total * (self.channels + self.outputs) * OF_A_POINT
        return self.points * (multiplying + seeing)

    @property
    def is_worth_while(self) -> bool:
        direct = self.batch * math.prod(self.result) * self.channels * self.outputs * TAPS**2
        return self.cost() < WORTH_WHILE * direct

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
