"""Interpolation along one axis: which elements of the source each element of the result is a weighted sum of.

Owns coordinate transformations, filters, and applying the weights or their transpose. Resampling a tensor is one such
step per axis, so its cost is a sum over axes, not a product. Coordinates are float32, like the scales that ONNX gives:
which neighbour is nearest depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MODES = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
LEGACY_NEAREST = "ceil_when_shrinking"  # what Upsample and Resize-10 mean by nearest: floor, but ceil to shrink
NEAREST: dict[str, Any] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}
CLOSE = 1e-6  # relative; a scaled length this near to the whole number of elements is that number


@dataclass(frozen=True, slots=True)
class Sampling:
    """How elements are found and weighted, the same for all axes; names and values are those of Resize."""

    mode: str = "nearest"
    coordinate_transformation_mode: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: int = 0
    antialias: int = 0

    def __post_init__(self) -> None:
        choices = {
            "mode": MODES,
            "coordinate_transformation_mode": COORDINATES,
            "nearest_mode": (*NEAREST, LEGACY_NEAREST),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.antialias and self.mode == "nearest":
            raise ValueError("antialias needs mode linear or cubic, got nearest")


@dataclass(frozen=True, slots=True)
class Stretch:
    """One axis: ``size`` elements become ``output``, ``scale`` times as dense; of a region, where one is cropped."""

    size: int
    output: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)

    @property
    def length(self) -> float:
        """The scaled length before it was cut to a whole number."""
        exact = float(np.float32(self.scale)) * self.size
        return self.output if abs(exact - self.output) <= CLOSE * max(self.output, 1) else exact


@dataclass(frozen=True, slots=True)
class Taps:
    """Per element of the result, the positions it reads and their weights: (output, count) each.

    ``weight`` is ``None`` where every element is a copy. ``outside`` marks elements beyond the source, which take the
    extrapolation value; their weights are zero.
    """

    index: np.ndarray
    weight: np.ndarray | None
    outside: np.ndarray | None = None

    def transposed(self, size: int) -> Taps:
        """The weights by which each of ``size`` elements of the source enters the elements of the result."""
        count = self.index.shape[1]
        weight = np.ones(self.index.shape) if self.weight is None else self.weight
        kept = np.flatnonzero(weight.reshape(-1))
        reader, source = kept // count, self.index.reshape(-1)[kept]
        order = np.argsort(source, kind="stable")
        uses = np.bincount(source, minlength=size)
        place = np.arange(kept.size) - np.repeat(np.cumsum(uses) - uses, uses)
        index = np.zeros((size, max(int(uses.max(initial=0)), 1)), np.int64)
        spread = np.zeros(index.shape)
        index[source[order], place] = reader[order]
        spread[source[order], place] = weight.reshape(-1)[kept[order]]
        return Taps(index, spread)

    def matrix(self, size: int) -> np.ndarray:
        """The weights as a matrix (output, ``size``), for those who apply them all at once."""
        weight = np.ones(self.index.shape) if self.weight is None else self.weight
        found = np.zeros((self.index.shape[0], size))
        np.add.at(found, (np.arange(self.index.shape[0])[:, None], self.index), weight)
        return found

    def applied(self, x: np.ndarray, axis: int) -> np.ndarray:
        """``x`` with ``axis`` resampled."""
        index = np.asarray(self.index, like=x)
        first = np.take(x, index[:, 0], axis=axis)
        if self.weight is None:
            return first
        shape = [-1 if number == axis else 1 for number in range(x.ndim)]
        weight = np.asarray(self.weight, x.dtype, like=x)
        how: dict[str, Any] = (
            {"mode": "clip"} if isinstance(x, np.ndarray) else {}
        )  # without it numpy takes by way of a buffer
        first *= weight[:, 0].reshape(shape)
        part = np.empty_like(first)
        for number in range(1, self.index.shape[1]):
            np.take(x, index[:, number], axis=axis, out=part, **how)
            part *= weight[:, number].reshape(shape)
            first += part
        return first


def coordinates(sampling: Sampling, axis: Stretch) -> np.ndarray:
    """Where in the source each element of the result lies; element ``i`` of the source is at ``i``."""
    x, scale, last = np.arange(axis.output, dtype=np.float32), np.float32(axis.scale), np.float32(axis.size - 1)
    half = np.float32(0.5)
    mode = sampling.coordinate_transformation_mode
    if mode == "asymmetric":
        return x / scale
    if mode == "tf_half_pixel_for_nn":
        return (x + half) / scale
    if mode == "align_corners":
        return np.zeros_like(x) if axis.length <= 1 else x * last / np.float32(axis.length - 1)
    if mode == "tf_crop_and_resize":
        start, end = (np.float32(bound) for bound in axis.region)
        if axis.length <= 1:
            return np.full_like(x, half * (start + end) * last)
        return start * last + x * (end - start) * last / np.float32(axis.length - 1)
    if mode == "pytorch_half_pixel" and axis.output <= 1:
        return np.zeros_like(x)
    centred = (x + half) / scale - half
    if mode == "half_pixel_symmetric":
        return np.float32(axis.size / 2 * (1 - axis.output / axis.length)) + centred
    return centred


def taps(sampling: Sampling, axis: Stretch) -> Taps | None:
    """The taps of one axis; ``None`` where the result is the source."""
    at = coordinates(sampling, axis)
    if axis.output == axis.size and np.array_equal(at, np.arange(axis.size)):
        return None
    outside = None
    if sampling.coordinate_transformation_mode == "tf_crop_and_resize":
        outside = (at < 0) | (at > axis.size - 1)
        outside = outside if outside.any() else None
    if sampling.mode == "nearest":
        mode = sampling.nearest_mode
        mode = ("ceil" if axis.scale < 1 else "floor") if mode == LEGACY_NEAREST else mode
        index = np.clip(NEAREST[mode](at), 0, axis.size - 1).astype(np.int64)[:, None]
        return Taps(index, None if outside is None else np.where(outside, 0.0, 1.0)[:, None], outside)
    index, weight = _filtered(sampling, at, min(axis.scale, 1.0) if sampling.antialias else 1.0)
    if sampling.exclude_outside:
        weight = np.where((index < 0) | (index >= axis.size), 0.0, weight)
    if sampling.exclude_outside or sampling.antialias:
        total = weight.sum(axis=1, keepdims=True)
        weight = weight / np.where(total == 0, 1.0, total)
    if outside is not None:
        weight = np.where(outside[:, None], 0.0, weight)
    return Taps(np.clip(index, 0, axis.size - 1), weight, outside)


def _filtered(sampling: Sampling, at: np.ndarray, density: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions around ``at``, also such outside the source, and their weights; a density below 1 widens the filter."""
    reach = 1 if sampling.mode == "linear" else 2
    start = int(np.floor(-reach / density)) + 1
    offsets = np.arange(start, 2 - start)
    below = np.floor(at)
    distance = np.abs(offsets - (at - below).astype(np.float64)[:, None]) * density
    weight = np.maximum(1 - distance, 0) if reach == 1 else _cubic(distance, sampling.cubic_coeff_a)
    return below.astype(np.int64)[:, None] + offsets, weight


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel: two polynomials that meet at distance 1, zero from distance 2 on."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
