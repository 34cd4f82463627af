"""Values of a grid at points between its elements: weighted sums of the 1, 2 or 4 neighbours per axis, and transposes.

Grids are rows of channels, (positions, channels), so that a neighbour of a point is fetched as one piece. Owns the
neighbours with their weights and the slopes of the weights; what becomes of points beyond the grid is told by whoever
makes the points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

CUBIC_COEFFICIENT = -0.75


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The neighbours of points along one axis: ``index``, ``weight`` and ``slope`` (of the weight): (count, points)."""

    index: np.ndarray
    weight: np.ndarray
    slope: np.ndarray

    def within(self, size: int) -> Neighbours:
        """Neighbours beyond an axis of ``size`` elements count as zeros."""
        inside = (self.index >= 0) & (self.index < size)
        kept = np.clip(self.index, 0, size - 1)
        return Neighbours(kept, np.where(inside, self.weight, 0), np.where(inside, self.slope, 0))


def neighbours(at: np.ndarray, mode: str) -> Neighbours:
    """The neighbours of coordinates ``at`` (points,): mode nearest, linear or cubic."""
    if mode == "nearest":
        index = np.rint(at)[None]
        return Neighbours(_whole(index), np.ones_like(index), np.zeros_like(index))
    below = np.floor(at)
    distance = at - below
    if mode == "linear":
        one = np.ones_like(distance)
        weight, slope = np.stack([1 - distance, distance]), np.stack([-one, one])
        return Neighbours(_whole(np.stack([below, below + 1])), weight, slope)
    offsets = np.arange(-1, 3, like=at).reshape(-1, 1)
    weight, slope = _cubic(offsets - distance)
    return Neighbours(_whole(below + offsets), weight, slope)


def _whole(index: np.ndarray) -> np.ndarray:
    """Whole numbers as int64; not-a-number and what is far beyond any grid become some position far beyond."""
    limit = 2.0**31
    return np.clip(np.nan_to_num(index, nan=-limit), -limit, limit).astype(np.int64)


def _cubic(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cubic convolution kernel at neighbours ``offset`` away, and its derivative by the point's coordinate."""
    a, x = CUBIC_COEFFICIENT, np.abs(offset)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    near_slope, far_slope = (3 * (a + 2) * x - 2 * (a + 3)) * x, ((3 * x - 10) * x + 8) * a
    is_near = x <= 1
    return np.where(is_near, near, far), -np.sign(offset) * np.where(is_near, near_slope, far_slope)


@dataclass(frozen=True, slots=True)
class Points:
    """Points in one or several grids of the same ``sizes``, laid out behind each other.

    ``first`` is the row of the first element of each point's grid, ``axes`` its neighbours on each axis.
    """

    sizes: Sequence[int]
    first: np.ndarray
    axes: Sequence[Neighbours]

    def _combinations(self) -> Iterator[tuple[int, ...]]:
        return product(*(range(axis.index.shape[0]) for axis in self.axes))

    def _row(self, choice: Sequence[int]) -> np.ndarray:
        row = np.zeros_like(self.first)
        for axis, size, number in zip(self.axes, self.sizes, choice, strict=True):
            row = row * size + axis.index[number]
        return row + self.first

    def _weight(self, choice: Sequence[int], steep: int | None = None) -> np.ndarray:
        """The product of the weights; of axis ``steep`` the slope."""
        factors = [
            (axis.slope if number == steep else axis.weight)[chosen]
            for number, (axis, chosen) in enumerate(zip(self.axes, choice, strict=True))
        ]
        weight = factors[0]
        for factor in factors[1:]:
            weight = weight * factor
        return weight

    def values(self, rows: np.ndarray) -> np.ndarray:
        """The values (points, channels) in grids given as ``rows``."""
        total = np.zeros((self.first.size, rows.shape[1]), rows.dtype, like=rows)
        for choice in self._combinations():
            part = np.take(rows, self._row(choice), axis=0)
            part *= self._weight(choice).astype(rows.dtype)[:, None]
            total += part
        return total

    def spread(self, g: np.ndarray, count: int) -> np.ndarray:
        """The transpose of ``values``: what the gradient ``g`` of the values adds to each of ``count`` rows."""
        channels = g.shape[1]
        total = np.zeros(count * channels, like=g)
        columns = np.arange(channels, like=g)
        for choice in self._combinations():
            place = self._row(choice)[:, None] * channels + columns
            part = g * self._weight(choice).astype(g.dtype)[:, None]
            total += np.bincount(place.reshape(-1), part.reshape(-1), minlength=total.size)
        return total.reshape(count, channels).astype(g.dtype)

    def slopes(self, rows: np.ndarray, g: np.ndarray) -> np.ndarray:
        """The gradient (points, axes) of the coordinates, for the gradient ``g`` of the values."""
        total = np.zeros((self.first.size, len(self.axes)), g.dtype, like=g)
        for choice in self._combinations():
            meets = np.einsum("pc,pc->p", np.take(rows, self._row(choice), axis=0), g)
            for number in range(len(self.axes)):
                total[:, number] += meets * self._weight(choice, steep=number).astype(g.dtype)
        return total


def as_rows(x: np.ndarray) -> np.ndarray:
    """(batch, channels, spatial...) as (batch * positions, channels)."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1), like=x).reshape(-1, x.shape[1])


def from_rows(rows: np.ndarray, batch: int, sizes: Sequence[int]) -> np.ndarray:
    """The inverse of ``as_rows``."""
    return np.ascontiguousarray(np.moveaxis(rows.reshape(batch, *sizes, rows.shape[1]), -1, 1), like=rows)
