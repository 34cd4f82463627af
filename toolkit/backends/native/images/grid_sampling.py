"""GridSample of images and volumes in float32: the neighbours of each point and their weights, then all channels.

See the reference for what becomes of points beyond the elements. Coordinates that no float32 tells apart any more are
moved to the nearest limit instead of being mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import product

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import INDEX, Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.registry import is_of_float32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.standard.grid_sample import MODES, PADDING_MODES
from toolkit.operators.standard.point_sampling import CUBIC_COEFFICIENT

FLOAT32 = np.dtype(np.float32)
FAR = 2.0**30  # beyond any element, and still a whole number of 64 bits
WORTH_A_THREAD = 1 << 13  # neighbours that are read, from which others help
OFFSETS = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}
Neighbour = tuple[Number, Number]  # index and weight


def is_sampling(node: Node) -> bool:
    """Whether the node samples float32 at float32 points along one to three axes."""
    fits = is_of_float32(node)
    return fits and 3 <= len(node.x.shape) <= 5 and node.attributes.get("padding_mode", "zeros") in PADDING_MODES


@kernel("", "GridSample", accepts=is_sampling)
def lower_sampling(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Values at the points of the grid."""
    layouts = plain_layouts(node.inputs)
    return CompiledKernel(_Sampling(node, resources.threads).code, layouts, [plain(FLOAT32, node.y.shape)])


class _Sampling:
    """Writes the code: point by point."""

    def __init__(self, node: Node, threads: int) -> None:
        attributes = node.attributes
        self._mode = MODES[attributes.get("mode", "linear")]
        self._padding = attributes.get("padding_mode", "zeros")
        self._corners = bool(attributes.get("align_corners", 0))
        batch, self._channels, *self._sizes = node.x.shape
        self._places = math.prod(node.y.shape[2:])
        self.code = Code(3)
        self._x, self._grid, self._y = self.code.places
        reads = node.y.size * len(OFFSETS[self._mode]) ** len(self._sizes)
        begin, end = Team(self.code, threads if reads >= WORTH_A_THREAD else 1).share(batch * self._places)
        with self.code.loop(end, start=begin) as point:
            self._point(point)

    def _point(self, point: Number) -> None:
        code, rank, plane = self.code, len(self._sizes), math.prod(self._sizes)
        item = point / self._places
        axes = [
            self._neighbours(code.load(self._grid, point * rank + (rank - 1 - number), FLOAT32), size)
            for number, size in enumerate(self._sizes)
        ]
        found = [self._joined(choice) for choice in product(*axes)]
        first = item * (self._channels * plane)
        target = item * (self._channels * self._places) + (point - item * self._places)
        with code.loop(self._channels) as channel:
            start = first + channel * plane
            values = [code.load(self._x, start + row, FLOAT32) * weight for row, weight in found]
            total = reduce(lambda one, other: one + other, values)
            code.store(total, self._y, target + channel * self._places)

    def _joined(self, choice: Sequence[Neighbour]) -> Neighbour:
        """The place in a plane of one neighbour on each axis, and the product of the weights."""
        row, weight = choice[0]
        for size, (index, factor) in zip(self._sizes[1:], choice[1:], strict=True):
            row, weight = row * size + index, weight * factor
        return row, weight

    def _neighbours(self, normalized: Number, size: int) -> list[Neighbour]:
        """The neighbours on an axis; those beyond it have no weight."""
        low, high = (0.0, size - 1.0) if self._corners else (-0.5, size - 0.5)
        at = self._coordinate(normalized, size, low, high)
        below = at if self._mode == "nearest" else at.rounded_down()
        distance = at - below
        found: list[Neighbour] = []
        for offset in OFFSETS[self._mode]:
            place = below + float(offset)
            if self._padding == "border":
                place = place.larger(0.0).smaller(size - 1.0)
            elif self._padding == "reflection":
                place = _beyond(place, low, high).choose(_toward_zero(_reflected(place, low, high)), place)
            inside = (place >= 0.0) & (place <= size - 1.0)
            weight = inside.choose(_weight(self._mode, offset, distance), 0.0)
            found.append((inside.choose(place, 0.0).converted(INDEX), weight))
        return found

    def _coordinate(self, normalized: Number, size: int, low: float, high: float) -> Number:
        """Where a point lies on an axis, moved as the padding says; what is no number lies far beyond."""
        if self._corners:
            at = (normalized + 1.0) / 2.0 * (size - 1.0)
        else:
            at = ((normalized + 1.0) * float(size) - 1.0) / 2.0
        if self._mode == "nearest":
            at = at.rounded()
        if self._padding == "border" and self._mode != "cubic":
            at = _beyond(at, low, high).choose(at.larger(0.0).smaller(size - 1.0), at)
        elif self._padding == "reflection":
            at = _beyond(at, low, high).choose(_reflected(at, low, high), at)
        return at.equals(at).choose(at, -FAR).larger(-FAR).smaller(FAR)


def _beyond(at: Number, low: float, high: float) -> Number:
    return (at < low) | (at > high)


def _toward_zero(at: Number) -> Number:
    return (at < 0.0).choose(at.rounded_up(), at.rounded_down())


def _reflected(at: Number, low: float, high: float) -> Number:
    """Mirrored at both limits until it lies between them."""
    turn = 2.0 * (high - low)
    if not turn:
        return at.like(low)
    moved = at - low
    along = (moved - (moved / turn).rounded_down() * turn).larger(0.0).smaller(turn)
    return (along > high - low).choose(turn - along, along) + low


def _weight(mode: str, offset: int, distance: Number) -> Number:
    """The weight of the neighbour ``offset`` places behind the one below a point."""
    if mode == "nearest":
        return distance.like(1.0)
    if mode == "linear":
        return distance if offset else 1.0 - distance
    a, x = CUBIC_COEFFICIENT, (float(offset) - distance).absolute()
    if offset in (0, 1):
        return (x * (a + 2) - (a + 3)) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * a
