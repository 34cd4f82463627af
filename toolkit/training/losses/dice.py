"""Dice loss: how little what an output marks overlaps with what the labels mark."""

from __future__ import annotations

import numpy as np

from toolkit.operators.derivative import cast, indicator
from toolkit.operators.expression import Expression, emit, reduce_sum, reshape, where
from toolkit.training.losses.expressions import FLOAT, quotient, scalar, total
from toolkit.training.losses.loss import require_number
from toolkit.training.losses.yes_or_no import ClassOrBinaryLoss


class Dice(ClassOrBinaryLoss):
    """1 - (2 * sum(p * t) + smooth) / (sum(p) + sum(t) + smooth) (Milletari et al., 2016, without its squares).

    The sums go over the positions of each item and each class, the mean over classes and real items: those with at
    least one label that is not missing. Probabilities p are the softmax of the output over ``axis``, or its sigmoid
    with ``binary=True`` and where the output has one class; ``probabilities=True`` takes the output as they are.

    - output (batch, classes, d1, ...) or with classes on ``axis``; labels integers (batch, d1, ...), or
      ``ignore_index``
    - binary: output of any shape (batch, ...), labels of the same shape in [0, 1]; NaN is missing. All positions of an
      item make one sum.
    - ``smooth``: above 0; what settles classes that nobody marks
    - ``reduction``: ``"mean"`` over real items, or their ``"sum"``
    """

    def __init__(
        self,
        smooth: float = 1.0,
        *,
        output: str | None = None,
        binary: bool | None = None,
        probabilities: bool = False,
        axis: int = 1,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(output=output, binary=binary, axis=axis, ignore_index=ignore_index, reduction=reduction)
        self.smooth = require_number(self._name, "smooth", smooth, 1e-12)
        self.probabilities = probabilities
        self.threshold = 0.5 if probabilities else 0.0

    def of_classes(self, scores: Expression, is_label: Expression, is_real: Expression | None) -> Expression:
        marked = scores if self.probabilities else emit("Softmax", scores, axis=1)
        if is_real is not None:
            is_real = reshape(is_real, (scores.shape[0], 1, *scores.shape[2:]))
        return self._overlap(marked, cast(is_label, FLOAT), is_real)

    def of_questions(self, scores: Expression, yes: Expression, is_real: Expression) -> Expression:
        flat = (scores.shape[0], 1, int(np.prod(scores.shape[1:])))
        marked = scores if self.probabilities else emit("Sigmoid", scores)
        return self._overlap(reshape(marked, flat), reshape(yes, flat), reshape(is_real, flat))

    def count(self, labels: np.ndarray) -> float:
        if self.reduction == "sum":
            return 1
        missing = np.isnan(labels) if labels.dtype == FLOAT else labels == self.ignore_index
        rows = np.broadcast_to(missing, labels.shape).reshape(len(labels), -1)
        return int(np.count_nonzero(~rows.all(1)))

    def _overlap(self, marked: Expression, label: Expression, is_real: Expression | None) -> Expression:
        """Of (batch, classes, positions...); ``is_real`` is (batch, 1, positions...)."""
        if is_real is not None:
            marked, label = (where(is_real, item, scalar(0)) for item in (marked, label))
        axes = list(range(2, marked.ndim))
        both, sizes = (reduce_sum(item, axes, keepdims=False) for item in (marked * label, marked + label))
        values = 1.0 - (both * 2.0 + self.smooth) / (sizes + self.smooth)
        of_items = emit("ReduceMean", values, np.asarray([1]), keepdims=0)
        if is_real is None:
            return total(of_items) if self.reduction == "sum" else emit("ReduceMean", of_items, keepdims=0)
        others = np.arange(1, is_real.ndim)
        counts = emit("ReduceMax", indicator(is_real, marked), others, keepdims=0)
        summed = total(of_items * counts)
        return summed if self.reduction == "sum" else quotient(summed, total(counts))
