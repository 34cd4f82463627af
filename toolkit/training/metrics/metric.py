"""What a metric is: a figure beside the loss, over any number of batches.

Two forms serve everywhere: a function of one batch that returns (sum, count), so that any batches add up to a mean over
items; and an object with ``start``, ``update`` and ``result`` for what is no mean over batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np

MeanMetric = Callable[[np.ndarray, np.ndarray], tuple[float, float]]  # (judged output, accepted labels) -> (sum, count)


@runtime_checkable
class Metric(Protocol):
    """A metric that accumulates. ``evaluate`` and ``fit`` call ``start`` once, ``update`` for each batch."""

    def start(self) -> None:
        """Forget everything."""

    def update(self, output: np.ndarray, labels: np.ndarray) -> None:
        """Take in a batch: the judged output, and the labels as the loss accepted them."""

    def result(self) -> float | Mapping[str, float]:
        """The figure over all that was taken in; several by name become ``metric.name``. NaN where nothing was."""


AnyMetric = Metric | MeanMetric


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


def binary_accuracy(output: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> tuple[float, float]:
    """How often ``output`` is above ``threshold`` where a label is above 0.5, or neither is; NaN labels are missing."""
    real = ~np.isnan(labels)
    hit = (output > threshold) == (labels > 0.5)
    return float(np.count_nonzero(hit & real)), float(np.count_nonzero(real))
