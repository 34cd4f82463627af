"""How a convolution with square windows is cut into tiles for minimal filtering, and whether that is worth while.

Larger tiles need fewer multiplications, and filters that take more memory: where few tiles share them, reading them is
what takes the time. Costs are counted in multiplications, from measurements on AVX2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from toolkit.backends import onednn
from toolkit.backends.native.assembly.number import BFLOAT16, FLOAT32, Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.registry import is_of_float32
from toolkit.backends.native.winograd.images import Corner, in_vectors
from toolkit.backends.native.winograd.transforms import Filtering
from toolkit.compiler.program import Node

# By taps along an axis. The points are those that rounded least of those tried: 2 and 0.7 times as coarsely as adding
# up all products of a window of 3 x 3 (float32), 5 and 1.2 times for one of 5 x 5.
FILTERINGS = {
    3: (Filtering(4, 3, (2 / 3, 3 / 2)), Filtering(2, 3, (1.0,))),
    5: (Filtering(4, 5, (0.45, 1.0, 2.0)), Filtering(2, 5, (2 / 3, 3 / 2))),
}
# Factors of bfloat16 are rounded once they are seen: windows of 3 x 3 are 2.3 times as coarse as without, and larger
# tiles would be 7 times. Products take half the time, and seeing as much as before.
NARROW_FILTERINGS = {3: (Filtering(2, 3, (1.0,)),)}
OF_A_FILTER = 11  # what reading one number of a filter costs
OF_A_POINT = 14  # what seeing one number of a window or of a tile at one point costs
WORTH_WHILE = 0.85  # of the multiplications of the convolution
FEWEST_PRODUCTS = 1 << 22  # of a convolution; smaller ones are computed where they lie, in rows


class Tiles(NamedTuple):
    """A convolution of ``batch`` images by ``filtering``; pairs are (rows, columns).

    ``channels`` and ``outputs`` fill whole vectors, the last ones may be zeros. ``size`` is that of an image,
    ``begins`` the zeros in front of it. ``products`` are the multiplications of the convolution as it is written.
    """

    batch: int
    channels: int
    outputs: int
    size: tuple[int, int]
    begins: tuple[int, int]
    result: tuple[int, int]
    products: int
    filtering: Filtering
    is_narrow: bool = False

    @classmethod
    def of(
        cls, x: tuple[int, ...], y: tuple[int, ...], taps: int, begins: tuple[int, int], is_narrow: bool = False
    ) -> Tiles:
        """A convolution of ``x`` to ``y`` (batch, channels, rows, columns), in the tiles that cost least.

        ``is_narrow``: of bfloat16.
        """
        channels, outputs, products = in_vectors(x[1]), in_vectors(y[1]), math.prod(y) * x[1] * taps**2
        given = x[0], channels, outputs, (x[2], x[3]), begins, (y[2], y[3]), products
        filterings = (NARROW_FILTERINGS if is_narrow else FILTERINGS)[taps]
        return min((cls(*given, item, is_narrow) for item in filterings), key=Tiles.cost)

    def cost(self) -> float:
        """Of all of it, beside ``products``."""
        multiplying = self.channels * self.outputs * (self.total + OF_A_FILTER)
        seeing = self.total * (self.channels + self.outputs) * OF_A_POINT * (2 if self.is_narrow else 1)
        return self.points * (multiplying + seeing)

    @property
    def is_worth_while(self) -> bool:
        """Whether it takes less time than the convolution as it is written."""
        return self.products > FEWEST_PRODUCTS and self.cost() < WORTH_WHILE * self.products

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
    """Whether a convolution, or a gradient of one, goes position by position with ungrouped windows that are served."""
    if not onednn.available() or not _is_served(node):
        return False
    steps = {*node.attributes["strides"], *node.attributes["dilations"], int(node.attributes["group"])}
    taps = NARROW_FILTERINGS if is_narrow(node) else FILTERINGS
    is_square = len(weight) == 4 and weight[2] == weight[3] and weight[2] in taps
    return len(node.x.shape) == 4 and is_square and steps == {1}


def is_narrow(node: Node) -> bool:
    """Whether factors are of bfloat16: the image is."""
    return node.x.dtype == BFLOAT16


def _is_served(node: Node) -> bool:
    """Whether the processor has the products: of float32 alone, or of factors of bfloat16."""
    if not is_narrow(node):
        return is_of_float32(node)
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    return compiler().multiplies_bfloat16 and all(item.size and item.dtype in (BFLOAT16, FLOAT32) for item in present)


def begins(node: Node) -> tuple[int, int]:
    """The zeros in front of the rows and the columns of an image."""
    pads = node.attributes["pads"]
    return int(pads[0]), int(pads[1])
