"""Metrics: figures beside the loss. A metric of a batch is a (sum, count) pair, so that any batches add up exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], tuple[float, float]]  # (judged output, accepted labels) -> (sum, count)


def accuracy(
    output: np.ndarray, labels: np.ndarray, axis: int = 1, ignore_index: int | None = None
) -> tuple[float, float]:
    """How many of the ``labels`` are the largest class on ``axis`` of ``output``, and how many labels there are."""
    hit = output.argmax(axis) == labels
    if ignore_index is None:
        return float(np.count_nonzero(hit)), float(labels.size)
    real = labels != ignore_index
    return float(np.count_nonzero(hit & real)), float(np.count_nonzero(real))


def mean_absolute_error(output: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The summed distance between ``output`` and the targets that are not NaN, and how many those are."""
    real = ~np.isnan(labels)
    return float(np.abs(output[real].astype(np.float64) - labels[real]).sum()), float(np.count_nonzero(real))


class Averages:
    """Weighted means over batches: of the loss, and of each metric."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = dict(metrics)
        self._sums = dict.fromkeys(["loss", *self.metrics], 0.0)
        self._counts = dict.fromkeys(self._sums, 0.0)

    def add(self, loss: float, weight: float, output: np.ndarray, labels: np.ndarray) -> None:
        """Take in one batch: the mean ``loss`` of its ``weight`` real items, and what the metrics say."""
        self._add("loss", loss * weight, weight)
        for name, metric in self.metrics.items():
            self._add(name, *metric(output, labels))

    def _add(self, name: str, total: float, count: float) -> None:
        self._sums[name] += total
        self._counts[name] += count

    def result(self) -> dict[str, float]:
        """Each mean so far; NaN where nothing was counted."""
        return {
            name: total / self._counts[name] if self._counts[name] else float("nan")
            for name, total in self._sums.items()
        }
