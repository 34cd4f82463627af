"""What losses share that judge classes, or yes-or-no questions: Hinge, Focal and Dice do both.

An output with several classes on ``axis`` is judged beside class indices. With ``binary=True``, or where there is but
one class, each element is a question of its own, beside a label of the same shape.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from toolkit.operators.expression import Expression, emit, where
from toolkit.operators.record import TensorType
from toolkit.training.labels import real_targets, shares
from toolkit.training.losses.classes import REDUCTIONS, ClassLoss
from toolkit.training.losses.expressions import (
    FLOAT,
    as_float32,
    class_axis_second,
    one_hot,
    real_labels,
    require_float,
    scalar,
)
from toolkit.training.losses.loss import require_choice
from toolkit.training.metrics.metric import AnyMetric, binary_accuracy


class ClassOrBinaryLoss(ClassLoss):
    """See the module's docstring; ``binary=None`` decides by the number of classes."""

    threshold = 0.0  # above it an answer is a yes

    def __init__(
        self,
        *,
        output: str | None,
        binary: bool | None,
        axis: int,
        ignore_index: int | None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(output=output, axis=axis, ignore_index=ignore_index)
        self.binary = binary
        self.reduction = require_choice(self._name, "reduction", reduction, REDUCTIONS)

    @abstractmethod
    def of_classes(self, scores: Expression, is_label: Expression, is_real: Expression | None) -> Expression:
        """The loss of scores (batch, classes, ...), ``is_label`` true at the class; ``is_real`` (batch, ...)."""

    @abstractmethod
    def of_questions(self, scores: Expression, yes: Expression, is_real: Expression) -> Expression:
        """The loss of scores beside ``yes`` in [0, 1] of the same shape."""

    def is_binary(self, shape: tuple[int, ...]) -> bool:
        """Whether an output of that shape is judged element by element."""
        if self.binary is not None:
            return self.binary
        return len(shape) < 2 or (-len(shape) <= self.axis < len(shape) and shape[self.axis] == 1)

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        if not self.is_binary(shape):
            return super().labels(dtype, shape)
        require_float(self._name, dtype, shape)
        return FLOAT, shape

    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if not self.is_binary(shape):
            return super().accept(labels, dtype, shape)
        return shares(self._name, real_targets(self._name, labels, self.labels(dtype, shape)[1]))

    def build(self, output: Expression, labels: Expression) -> Expression:
        if self.is_binary(output.shape):
            missing = emit("IsNaN", labels)
            return self.of_questions(as_float32(output), where(missing, scalar(0), labels), emit("Not", missing))
        scores = class_axis_second(as_float32(output), self.axis)
        return self.of_classes(scores, one_hot(labels, scores.shape[1]), real_labels(labels, self.ignore_index))

    def count(self, labels: np.ndarray) -> float:
        if self.reduction == "sum":
            return 1
        return int(np.count_nonzero(~np.isnan(labels))) if labels.dtype == FLOAT else super().count(labels)

    def metrics(self) -> Mapping[str, AnyMetric]:
        return {"accuracy": self._accuracy}

    def _accuracy(self, output: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        if labels.dtype == FLOAT:
            return binary_accuracy(output, labels, self.threshold)
        metric = super().metrics()["accuracy"]
        assert isinstance(metric, partial)
        return metric(output, labels)
