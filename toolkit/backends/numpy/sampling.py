"""A direct numpy kernel of GridSample: all axes and all neighbours of a point at once.

Owns the arithmetic of ``toolkit.operators.standard.grid_sample`` in float32, turned so that a run takes a fixed number
of array operations: coordinates are (points, axes), neighbours (points, axes, taps), their combinations (points, rows
that a point reads). Refused, so left to the reference: other element types, and attributes that it has to complain of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.backends.numpy.bound import Arrays, Direct, Lower
from toolkit.backends.protocol import Step
from toolkit.compiler.program import Node
from toolkit.operators.standard.grid_sample import MODES, PADDING_MODES
from toolkit.operators.standard.point_sampling import CUBIC_COEFFICIENT

SINGLE = np.dtype(np.float32)
A = CUBIC_COEFFICIENT
OFFSETS = {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}  # of the neighbours from the element below
POLYNOMIALS = {  # the weights of these neighbours by the distance from the element below, low powers first
    "nearest": ((1,),),
    "linear": ((1, 0), (-1, 1)),
    "cubic": ((0, 1, 0, 0), (A, 0, -A, 0), (-2 * A, -A - 3, 2 * A + 3, A), (A, A + 2, -A - 2, -A)),
}
FEW = 32  # points up to which one product of all neighbours costs less than a sum over them
PART = 1 << 15  # elements that are fetched together: few enough to stay in the cache
NOTHING = np.float32(0)
FAR = np.float32(2.0**31)  # what stands for positions that are further away, or no number


class _Grid:
    """The neighbours of points in one or several grids of the same ``sizes``, laid out behind each other."""

    def __init__(self, sizes: Sequence[int], mode: str, padding_mode: str, align_corners: bool) -> None:
        self._mode, self._padding, self._is_aligned = mode, padding_mode, align_corners
        self._sizes = np.array(sizes, SINGLE)
        self._last = self._sizes - 1
        self._low = np.zeros_like(self._sizes) if align_corners else np.full_like(self._sizes, -0.5)
        self._reach = self._last - 2 * self._low
        self._offsets, self._polynomial = np.array(OFFSETS[mode], SINGLE), np.array(POLYNOMIALS[mode], SINGLE)
        strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
        self._strides = np.array(strides, np.int64)[:, None]

    def read(self, grid: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows that points read, and their weights, (points, rows); ``grid`` (points, axes) is GridSample's."""
        at = self._coordinates(grid[:, ::-1])
        below = np.floor(at)
        distance = (at - below)[:, :, None]
        weight = self._polynomial[-1]
        for row in self._polynomial[-2::-1]:
            weight = weight * distance + row
        index = below[:, :, None] + self._offsets
        if self._padding == "reflection":
            np.fmin(np.fmax(index, -FAR, out=index), FAR, out=index)
            index = np.trunc(self._mirrored(index, self._low[:, None], self._reach[:, None]))
        kept = np.fmin(np.fmax(index, 0), self._last[:, None])
        is_border = self._padding == "border"
        weight = np.broadcast_to(weight, index.shape) if is_border else np.where(kept == index, weight, NOTHING)
        place = kept.astype(np.int64) * self._strides
        rows, product = place[:, 0] + first[:, None], weight[:, 0]
        for axis in range(1, place.shape[1]):
            rows = (rows[:, :, None] + place[:, axis, None]).reshape(len(at), -1)
            product = (product[:, :, None] * weight[:, axis, None]).reshape(len(at), -1)
        return rows, product

    def _coordinates(self, normalized: np.ndarray) -> np.ndarray:
        """Coordinates of elements for ones from -1 to 1, those beyond moved as the padding mode says."""
        at = normalized + 1
        if self._is_aligned:
            at /= 2
            at *= self._last
        else:
            at *= self._sizes
            at -= 1
            at /= 2
        if self._mode == "nearest":
            np.rint(at, out=at)
        if self._padding == "border" and self._mode != "cubic":
            np.clip(at, 0, self._last, out=at)
        elif self._padding == "reflection":
            at = self._mirrored(at, self._low, self._reach)
        return np.rint(at) if self._mode == "nearest" else at

    @staticmethod
    def _mirrored(at: np.ndarray, low: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """What lies beyond is mirrored at both limits until it lies between them."""
        along = np.mod(np.nan_to_num(at) - low, np.where(reach > 0, 2 * reach, 1))
        mirrored = low + np.where(reach > 0, np.minimum(along, 2 * reach - along), 0)
        return np.asarray(np.where((at < low) | (at > low + reach), mirrored, at))


def _summed(source: np.ndarray, rows: np.ndarray, weight: np.ndarray, target: np.ndarray) -> None:
    """The weighted sums (points, channels) of rows of the source, one neighbour of all points after the other."""
    read = np.empty_like(target)
    for number in range(rows.shape[1]):
        np.take(source, rows[:, number], axis=0, out=read, mode="clip")
        np.multiply(read, weight[:, number, None], out=read if number else target)
        if number:
            np.add(target, read, out=target)


def _grid_sample(node: Node) -> Direct | None:
    x, grid = node.inputs[:2]
    assert x is not None and grid is not None
    mode = MODES.get(node.attributes.get("mode", "linear"))
    padding_mode = node.attributes.get("padding_mode", "zeros")
    if mode is None or padding_mode not in PADDING_MODES or not x.size or not node.y.size:
        return None
    if any(item.dtype != SINGLE for item in (x, grid)):
        return None
    made = _Grid(x.shape[2:], mode, padding_mode, bool(node.attributes.get("align_corners", 0)))
    (batch, channels), positions = x.shape[:2], math.prod(x.shape[2:])
    points = node.y.size // channels
    first = np.repeat(np.arange(batch) * positions, points // batch)
    together = max(1, PART // max(channels, len(OFFSETS[mode]) ** (len(x.shape) - 2)))

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        source, target = inputs[0].reshape(batch, channels, positions), outputs[0].reshape(batch, channels, -1)
        flat = inputs[1].reshape(points, -1)
        is_turned = channels > 1  # a single channel lies by position and by point already
        by_position = np.empty((batch * positions, channels), SINGLE) if is_turned else source.reshape(-1, 1)
        by_point = np.empty((points, 1, channels), SINGLE) if is_turned else target.reshape(-1, 1, 1)
        turned = by_position.reshape(batch, positions, channels).transpose(0, 2, 1)
        sampled = by_point.reshape(batch, -1, channels).transpose(0, 2, 1)
        parts = [slice(start, start + together) for start in range(0, points, together)]

        def step() -> None:
            if is_turned:
                np.copyto(turned, source)
            for part in parts:
                rows, weight = made.read(flat[part], first[part])
                if points <= FEW:
                    np.matmul(weight[:, None], by_position.take(rows, axis=0), out=by_point[part])
                else:
                    _summed(by_position, rows, weight, by_point[part, 0])
            if is_turned:
                np.copyto(target, sampled)

        return step

    return Direct(bind)


SAMPLING: dict[tuple[str, str], Lower] = {("", "GridSample"): _grid_sample}
