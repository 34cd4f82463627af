"""Metrics of real-valued outputs beside targets of their shape; a NaN target is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.training.metrics.window import Rows

COUNT, ERROR, SQUARE, TARGET, TARGET_SQUARE = range(5)


class _Regression(ABC):
    """Sums of errors and targets in float64, for each position of the output.

    - ``per_output=True``: a figure for each position of an item, by number; else their mean over all real elements
    - ``window``: judge the last so many items only, ``None`` for all
    """

    def __init__(self, *, per_output: bool = False, window: int | None = None) -> None:
        self.per_output = per_output
        self._recent = Rows(window)
        self.start()

    def start(self) -> None:
        """Forget everything."""
        self._recent.clear()
        self._sums: np.ndarray | None = None
        self._origin: np.ndarray | None = None

    def update(self, output: np.ndarray, labels: np.ndarray) -> None:
        """Take in a batch. Raises ``InputError`` unless output and labels have one shape."""
        if output.shape != labels.shape:
            raise InputError(
                f"{type(self).__name__} requires targets of the shape of the output, got {labels.shape} beside "
                f"{output.shape}. Reshape one of them."
            )
        answers, targets = (item.reshape(len(item), -1).astype(np.float64) for item in (output, labels))
        real = ~np.isnan(targets)
        if self._origin is None:  # sums of squares lose digits far from 0
            self._origin = np.where(real.any(0), np.where(real, targets, 0).sum(0) / np.maximum(real.sum(0), 1), 0.0)
        moved = np.where(real, targets - self._origin, 0.0)
        errors = np.where(real, answers - targets, 0.0)
        rows = np.stack([real, np.abs(errors), errors**2, moved, moved**2], axis=1)
        if self._recent.window is not None:
            self._recent.append(rows)
        else:
            self._sums = rows.sum(0) if self._sums is None else self._sums + rows.sum(0)

    def result(self) -> Any:
        sums = self._recent.joined().sum(0) if len(self._recent) else self._sums
        if sums is None:
            return float("nan")
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.per_output:
                return {str(number): float(value) for number, value in enumerate(self._figures(sums))}
            return self._whole(sums)

    def _whole(self, sums: np.ndarray) -> float:
        return float(self._figures(sums.sum(1, keepdims=True))[0])

    @abstractmethod
    def _figures(self, sums: np.ndarray) -> np.ndarray:
        """The figure of each position, from its five sums: (5, positions) -> (positions,)."""


class MeanSquaredError(_Regression):
    """The mean of (output - target) squared; options: ``per_output``, ``window``."""

    def _figures(self, sums: np.ndarray) -> np.ndarray:
        return sums[SQUARE] / sums[COUNT]


class RootMeanSquaredError(_Regression):
    """The root of the mean squared error, in the unit of the output; options: ``per_output``, ``window``."""

    def _figures(self, sums: np.ndarray) -> np.ndarray:
        return np.sqrt(sums[SQUARE] / sums[COUNT])


class MeanAbsoluteError(_Regression):
    """The mean of abs(output - target); options: ``per_output``, ``window``."""

    def _figures(self, sums: np.ndarray) -> np.ndarray:
        return sums[ERROR] / sums[COUNT]


class R2(_Regression):
    """1 - squared error / variance of the targets, the mean over positions; options: ``per_output``, ``window``.

    For targets that are all equal it is 1 where they are met and 0 where not, as in scikit-learn.
    """

    def _figures(self, sums: np.ndarray) -> np.ndarray:
        spread = sums[TARGET_SQUARE] - sums[TARGET] ** 2 / sums[COUNT]
        constant = np.where(sums[SQUARE] == 0, 1.0, 0.0)
        figures = np.where(spread > 0, 1 - sums[SQUARE] / spread, constant)
        return np.where(sums[COUNT] > 0, figures, np.nan)

    def _whole(self, sums: np.ndarray) -> float:
        figures = self._figures(sums)
        known = ~np.isnan(figures)
        return float(figures[known].mean()) if known.any() else float("nan")
