"""How a convolution with square windows is cut into tiles for minimal filtering, and whether that is worth while.

Larger tiles need fewer multiplications, and filters that take more memory: where few tiles share them, reading them is
what takes the time. Costs are counted in multiplications, from measurements on AVX2.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import NamedTuple

from toolkit.backends import onednn
from toolkit.backends.native.assembly.number import BFLOAT16, FLOAT32, Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.registry import is_of_float32
from toolkit.backends.native.winograd.images import Corner, in_vectors
from toolkit.backends.native.winograd.strided import Spread, Strided
from toolkit.backends.native.winograd.transforms import Filtering, Scheme
from toolkit.compiler.program import Node

# By taps along an axis. The points are those that rounded least of those tried: 2 and 0.7 times as coarsely as adding
# up all products of a window of 3 x 3 (float32), 5 and 1.2 times for one of 5 x 5.
FILTERINGS = {
    3: (Filtering(4, 3, (2 / 3, 3 / 2)), Filtering(2, 3, (1.0,))),
    5: (Filtering(4, 5, (0.45, 1.0, 2.0)), Filtering(2, 5, (2 / 3, 3 / 2))),
}
# Factors of bfloat16 are rounded once they are seen: windows of 3 x 3 are 2.3 times as coarse as without, and larger
# tiles would be 7 times.
NARROW_FILTERINGS = {3: (Filtering(2, 3, (1.0,)),)}
# Of windows of 3 x 3 two positions apart: points beside infinity. At most 0.9 and 2.1 times as coarse.
HALVES = ((1.0,), (0.5, 1.2))
NARROW_HALVES = ((1.0,),)
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
    filtering: Scheme
    is_narrow: bool = False

    @classmethod
    def of(
        cls, x: tuple[int, ...], y: tuple[int, ...], taps: int, begins: tuple[int, int], is_narrow: bool = False
    ) -> Tiles:
        """A convolution of ``x`` to ``y`` (batch, channels, rows, columns), in the tiles that cost least.

        ``is_narrow``: of bfloat16.
        """
        filterings = (NARROW_FILTERINGS if is_narrow else FILTERINGS)[taps]
        return cls._cheapest(x, y, begins, math.prod(y) * x[1] * taps**2, filterings, is_narrow)

    @classmethod
    def strided(cls, x: tuple[int, ...], y: tuple[int, ...], begins: tuple[int, int], is_narrow: bool = False) -> Tiles:
        """A convolution with windows of 3 x 3 two positions apart."""
        filterings = [Strided(pairs) for pairs in (NARROW_HALVES if is_narrow else HALVES)]
        return cls._cheapest(x, y, begins, math.prod(y) * x[1] * filterings[0].taps ** 2, filterings, is_narrow)

    @classmethod
    def spread(cls, grad: tuple[int, ...], x: tuple[int, ...], is_narrow: bool = False) -> Tiles:
        """The gradient of such a convolution by its input, in front of which there were zeros in one row and column."""
        filterings = [Spread(pairs) for pairs in (NARROW_HALVES if is_narrow else HALVES)]
        return cls._cheapest(grad, x, (0, 0), math.prod(grad) * x[1] * filterings[0].taps ** 2, filterings, is_narrow)

    @classmethod
    def _cheapest(
        cls,
        x: tuple[int, ...],
        y: tuple[int, ...],
        begins: tuple[int, int],
        products: int,
        filterings: Sequence[Scheme],
        is_narrow: bool = False,
    ) -> Tiles:
        given = x[0], in_vectors(x[1]), in_vectors(y[1]), (x[2], x[3]), begins, (y[2], y[3]), products
        return min((cls(*given, item, is_narrow) for item in filterings), key=Tiles.cost)

    def cost(self) -> float:
        """Of all of it, beside ``products``."""
        each = sum(phase.products for phase in self.filtering.phases) ** 2
        multiplying = self.channels * self.outputs * (each * self.total + self.filters * OF_A_FILTER)
        seen = self.points * self.channels + self.sums * self.outputs
        return multiplying + self.total * seen * OF_A_POINT

    @property
    def is_worth_while(self) -> bool:
        """Whether it takes less time than the convolution as it is written."""
        return self.costs_less_than(WORTH_WHILE)

    def costs_less_than(self, share: float) -> bool:
        """Whether it costs less than a share of the multiplications of the convolution, which are not too few."""
        return self.products > FEWEST_PRODUCTS and self.cost() < share * self.products

    @property
    def points(self) -> int:
        """Which windows are seen at."""
        return self.filtering.size**2

    @property
    def sums(self) -> int:
        """Of products, which the results of a tile are made of."""
        return self.filtering.sums**2

    @property
    def filters(self) -> int:
        """Factors of a filter."""
        return self.filtering.filters**2

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
        """Where the results of a tile begin."""
        return self._corner(tile, self.filtering.outputs)

    def window(self, tile: Number) -> Corner:
        """Where the window of a tile begins, in an image with the zeros in front of it."""
        return self._corner(tile, self.filtering.step)

    def _corner(self, tile: Number, step: int) -> Corner:
        rows, columns = self.grid
        image = tile / (rows * columns)
        inside = tile - image * (rows * columns)
        row = inside / columns
        return Corner(image, row * step, (inside - row * columns) * step)


def is_dense_window(node: Node, weight: tuple[int, ...]) -> bool:
    """Whether a convolution, or a gradient of one, goes position by position with ungrouped windows that are served."""
    return _is_window(node, weight, NARROW_FILTERINGS if is_narrow(node) else FILTERINGS, 1)


def is_strided_window(node: Node, weight: tuple[int, ...]) -> bool:
    """Whether it goes two positions at once."""
    return _is_window(node, weight, (3,), 2)


def _is_window(node: Node, weight: tuple[int, ...], taps: Container[int], stride: int) -> bool:
    if not onednn.available() or not _is_served(node) or {*node.attributes["strides"]} != {stride}:
        return False
    is_square = len(weight) == 4 and weight[2] == weight[3] and weight[2] in taps
    return (
        len(node.x.shape) == 4 and is_square and {*node.attributes["dilations"], int(node.attributes["group"])} == {1}
    )


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
