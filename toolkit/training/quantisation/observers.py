"""Observers: what they see of a value while a network is calibrated decides the range that its grid covers.

- ``MinMax``: everything that occurred; nothing is cut off
- ``MovingAverage``: a moving average of the extremes of each batch (Jacob et al. 2018)
- ``Percentile``: all but the rarest numbers
- ``Entropy``: the range whose grid keeps most of the distribution, by Kullback-Leibler divergence (Migacz 2017)
- ``MeanSquaredError``: the range whose grid makes the smallest squared error

The last three count in a histogram that grows with what comes: one pass over the data, 32 KiB a value.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod

import numpy as np

from toolkit.errors import InputError

BINS = 4096  # an even number: they lie around 0 like the grid does
CANDIDATES = 96
MORE_THAN_NOTHING = 1e-12


class Observer(ABC):
    """Collects what is to be known of one value; an observer that is handed to ``calibrate`` is only copied."""

    def fresh(self) -> Observer:
        """An observer of the same settings that has seen nothing."""
        return copy.deepcopy(self)

    @abstractmethod
    def observe(self, array: np.ndarray) -> None:
        """Take in the numbers of one batch."""

    @abstractmethod
    def range(self, levels: int) -> tuple[float, float]:
        """The range to cover with a grid of ``levels`` numbers."""


class MinMax(Observer):
    """The smallest and the largest number that occurred."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf

    def observe(self, array: np.ndarray) -> None:
        if array.size:
            self.low, self.high = min(self.low, float(array.min())), max(self.high, float(array.max()))

    def range(self, levels: int) -> tuple[float, float]:
        return (self.low, self.high) if self.low <= self.high else (0.0, 0.0)


class MovingAverage(Observer):
    """Extremes of batches, averaged: each further batch moves them by ``1 - momentum`` of the way."""

    def __init__(self, momentum: float = 0.9) -> None:
        if not 0 <= momentum < 1:
            raise InputError(f"MovingAverage requires a momentum in [0, 1), got {momentum!r}.")
        self.momentum = momentum
        self.ends: tuple[float, float] | None = None

    def observe(self, array: np.ndarray) -> None:
        if not array.size:
            return
        found = float(array.min()), float(array.max())
        before = found if self.ends is None else self.ends
        self.ends = (
            before[0] + (1 - self.momentum) * (found[0] - before[0]),
            before[1] + (1 - self.momentum) * (found[1] - before[1]),
        )

    def range(self, levels: int) -> tuple[float, float]:
        return self.ends or (0.0, 0.0)


class Histogram(MinMax):
    """Counts in ``BINS`` bins over [-``reach``, ``reach``]; ``reach`` doubles, and bins merge, when more is needed."""

    def __init__(self) -> None:
        super().__init__()
        self.reach = 0.0
        self.counts = np.zeros(BINS, np.int64)

    def observe(self, array: np.ndarray) -> None:
        super().observe(array)
        furthest = max(-self.low, self.high)
        if not array.size or not 0 < furthest < math.inf:
            return
        if self.reach == 0.0:
            self.reach = furthest
        while self.reach < furthest:
            self.counts = np.pad(self.counts.reshape(-1, 2).sum(1), BINS // 4)
            self.reach *= 2
        places = (array.reshape(-1).astype(np.float32) * (BINS / 2 / self.reach) + BINS / 2).astype(np.int32)
        self.counts += np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)

    @property
    def centres(self) -> np.ndarray:
        """The middle of each bin."""
        return (np.arange(BINS) + 0.5) * (2 * self.reach / BINS) - self.reach


class Percentile(Histogram):
    """The range between the numbers that a share of (100 - ``percentile``) % lies below, and above."""

    def __init__(self, percentile: float = 99.99) -> None:
        if not 50 < percentile <= 100:
            raise InputError(f"Percentile requires a number above 50 and up to 100, got {percentile!r}.")
        super().__init__()
        self.percentile = percentile

    def range(self, levels: int) -> tuple[float, float]:
        low, high = super().range(levels)
        total = self.counts.sum()
        if not total:
            return low, high
        reached = np.cumsum(self.counts) / total
        step, rest = 2 * self.reach / BINS, 1 - self.percentile / 100
        first = int(np.searchsorted(reached, rest, side="right"))
        last = int(np.searchsorted(reached, 1 - rest, side="left"))
        return max(low, first * step - self.reach), min(high, (last + 1) * step - self.reach)


class Entropy(Histogram):
    """The threshold at which the distribution, cut off there and put on the grid, loses least information."""

    def range(self, levels: int) -> tuple[float, float]:
        low, high = super().range(levels)
        if not self.counts.any():
            return low, high
        folded = self.counts[BINS // 2 :] + self.counts[BINS // 2 - 1 :: -1]
        steps = levels // 2 if low < 0 < high else levels - 1  # of the grid, between 0 and the threshold
        threshold = self._threshold(folded.astype(np.float64), max(steps, 2)) * self.reach
        return max(low, -threshold), min(high, threshold)

    @staticmethod
    def _threshold(counts: np.ndarray, steps: int) -> float:
        """As a part of the reach."""
        counts = counts.copy()
        counts[0] = counts[1]  # exact zeros (of a ReLU) are met by every grid; they shall not outweigh the others
        used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else len(counts)
        ends = np.unique(np.linspace(min(steps, used), used, CANDIDATES).astype(int))
        losses = [_divergence(counts, int(end), steps) for end in ends]
        return float(ends[int(np.argmin(losses))]) / len(counts)


def _divergence(counts: np.ndarray, end: int, steps: int) -> float:
    """Kullback-Leibler divergence of the first ``end`` bins, the rest added to the last, from what a grid keeps."""
    kept = counts[:end]
    true = kept.copy()
    true[-1] += counts[end:].sum()
    group = np.minimum(np.arange(end) * steps // end, steps - 1)
    occupied = kept > 0
    sums = np.bincount(group, kept, steps)
    numbers = np.bincount(group, occupied, steps)
    spread = np.where(occupied, sums[group] / np.maximum(numbers[group], 1), 0.0)
    p, q = true / max(true.sum(), 1), spread / max(spread.sum(), 1)
    present = p > 0
    return float((p[present] * np.log(p[present] / np.maximum(q[present], MORE_THAN_NOTHING))).sum())


class MeanSquaredError(Histogram):
    """Of the ranges that are a part of the whole one, that with the smallest mean squared error of the grid."""

    def range(self, levels: int) -> tuple[float, float]:
        low, high = super().range(levels)
        if not self.counts.any():
            return low, high
        low, high = min(low, 0.0), max(high, 0.0)
        occupied = np.flatnonzero(self.counts)
        centres, counts = self.centres[occupied], self.counts[occupied]
        parts = np.linspace(1.0, 1.0 / CANDIDATES, CANDIDATES)
        errors = []
        for part in parts:
            scale = (high - low) * part / (levels - 1)
            zero = np.rint(-low * part / scale)
            numbers = np.clip(np.rint(centres / scale) + zero, 0, levels - 1)
            errors.append(float((counts * np.square((numbers - zero) * scale - centres)).sum()))
        best = parts[int(np.argmin(errors))]
        return low * best, high * best


METHODS: dict[str, type[Observer]] = {
    "min-max": MinMax,
    "moving-average": MovingAverage,
    "percentile": Percentile,
    "entropy": Entropy,
    "mse": MeanSquaredError,
}


def observer_of(method: str | Observer) -> Observer:
    """The observer that a user asked for by name or as an object. Raises ``InputError``."""
    if isinstance(method, Observer):
        return method
    if method not in METHODS:
        raise InputError(
            f"method= requires one of {', '.join(METHODS)}, or an observer of tk.quantisation, got {method!r}."
        )
    return METHODS[method]()
