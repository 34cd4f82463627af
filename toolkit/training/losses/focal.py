"""Focal loss: cross-entropy in which what is judged well already hardly counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.operators.expression import Expression, emit, reduce_sum, where
from toolkit.operators.record import TensorType
from toolkit.training.losses.classes import class_weights, require_weights
from toolkit.training.losses.expressions import SMALLEST_PROBABILITY, at_least, mean_of_real, scalar, spread_over
from toolkit.training.losses.loss import require_number
from toolkit.training.losses.yes_or_no import ClassOrBinaryLoss


class Focal(ClassOrBinaryLoss):
    """-alpha * (1 - p) ^ gamma * log(p), where p is the probability of the right answer (Lin et al., 2017).

    It judges logits, of softmax over classes, or of sigmoid with ``binary=True`` and where the output has one class
    (then as ``torchvision.ops.sigmoid_focal_loss`` with its mean).

    - output (batch, classes) or (batch, ..., classes, ...) with classes on ``axis``; labels integers of that shape
      without the axis, or ``ignore_index``
    - binary: output of any shape (batch, ...), labels of the same shape in [0, 1]; NaN is missing
    - ``gamma``: 0 is cross-entropy
    - ``alpha``: one weight for each class; where binary a number, which weighs yes, while no weighs 1 - alpha
    - ``reduction``: ``"mean"`` over real items, whatever they weigh, or their ``"sum"``
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: Any = None,
        *,
        output: str | None = None,
        binary: bool | None = None,
        axis: int = 1,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(output=output, binary=binary, axis=axis, ignore_index=ignore_index, reduction=reduction)
        self.gamma = require_number(self._name, "gamma", gamma, 0)
        self.yes_weight: float | None = None
        self.alpha: np.ndarray | None = None
        if np.ndim(alpha) == 0 and alpha is not None:
            self.yes_weight = require_number(self._name, "alpha", alpha, 0, 1)
        else:
            self.alpha = class_weights(self._name, alpha)

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        expected = super().labels(dtype, shape)
        if self.is_binary(shape):
            require_weights(self._name, "alpha", self.alpha, 0)
        else:
            weights = self.alpha if self.yes_weight is None else np.asarray([self.yes_weight])
            require_weights(self._name, "alpha", weights, shape[self.axis])
        return expected

    def of_classes(self, scores: Expression, is_label: Expression, is_real: Expression | None) -> Expression:
        log_probabilities = emit("LogSoftmax", scores, axis=1)
        picked = reduce_sum(where(is_label, log_probabilities, scalar(0)), [1], keepdims=False)
        values = -picked * self._modulation(1.0 - emit("Exp", picked))
        if self.alpha is not None:
            table = spread_over(scores.shape, 1, self.alpha)
            values = values * reduce_sum(emit("Where", is_label, table, scalar(0)), [1], keepdims=False)
        return mean_of_real(values, is_real, self.reduction)

    def of_questions(self, scores: Expression, yes: Expression, is_real: Expression) -> Expression:
        no = 1.0 - yes
        cost = yes * emit("Softplus", -scores) + no * emit("Softplus", scores)
        probability = emit("Sigmoid", scores)
        values = cost * self._modulation(yes * (1.0 - probability) + no * probability)
        if self.yes_weight is not None:
            values = values * (yes * self.yes_weight + no * (1.0 - self.yes_weight))
        return mean_of_real(values, is_real, self.reduction)

    def _modulation(self, wrong: Expression) -> Expression:
        """wrong ^ gamma, whose slope stays finite at 0."""
        if self.gamma == 2:
            return wrong * wrong
        return emit("Pow", at_least(wrong, SMALLEST_PROBABILITY), scalar(self.gamma))
