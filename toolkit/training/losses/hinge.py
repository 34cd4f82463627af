"""Hinge losses: what is on the right side by a margin costs nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.operators.expression import Expression, emit, reduce_sum, where
from toolkit.operators.record import TensorType
from toolkit.training.labels import real_targets, signs_as_shares
from toolkit.training.losses.classes import class_weights, require_weights
from toolkit.training.losses.expressions import at_least, mean_of_real, scalar
from toolkit.training.losses.loss import require_choice, require_number
from toolkit.training.losses.yes_or_no import ClassOrBinaryLoss


class Hinge(ClassOrBinaryLoss):
    """Hinge losses over classes or over yes-or-no questions.

    Over classes it is ``torch.nn.MultiMarginLoss``: the sum of max(0, margin - output[label] + output[other]) ^ power
    over the other classes, divided by the number of classes, times ``weight[label]``. With ``binary=True``, and where
    the output has one class, it is max(0, margin - sign * output) ^ power for each element.

    - output (batch, classes) or (batch, ..., classes, ...) with classes on ``axis``; labels integers of that shape
      without the axis, or ``ignore_index``
    - binary: output of any shape (batch, ...), labels of the same shape, either 0 and 1 or -1 and 1; NaN is missing
    - ``power``: 1, or 2 for the squared hinge
    - ``reduction``: ``"mean"`` over real items (positions; elements where binary), or their ``"sum"``
    """

    def __init__(
        self,
        margin: float = 1.0,
        power: int = 1,
        *,
        output: str | None = None,
        binary: bool | None = None,
        weight: Any = None,
        axis: int = 1,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(output=output, binary=binary, axis=axis, ignore_index=ignore_index, reduction=reduction)
        self.margin = require_number(self._name, "margin", margin, 0)
        self.power = require_choice(self._name, "power", power, (1, 2))
        self.weight = class_weights(self._name, weight)

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        expected = super().labels(dtype, shape)
        if not self.is_binary(shape):
            require_weights(self._name, "weight", self.weight, shape[self.axis])
        return expected

    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if not self.is_binary(shape):
            return super().accept(labels, dtype, shape)
        return signs_as_shares(self._name, real_targets(self._name, labels, self.labels(dtype, shape)[1]))

    def of_classes(self, scores: Expression, is_label: Expression, is_real: Expression | None) -> Expression:
        own = reduce_sum(where(is_label, scores, scalar(0)), [1])
        short = self._powered(at_least(scores - own + self.margin, 0))
        if self.weight is not None:
            table = self.weight.reshape(1, -1, *(1,) * (scores.ndim - 2))
            short = short * reduce_sum(emit("Where", is_label, table, scalar(0)), [1])
        others = reduce_sum(where(is_label, scalar(0), short), [1], keepdims=False)
        return mean_of_real(others / scores.shape[1], is_real, self.reduction)

    def of_questions(self, scores: Expression, yes: Expression, is_real: Expression) -> Expression:
        sign = yes * 2.0 - 1.0
        return mean_of_real(self._powered(at_least(self.margin - sign * scores, 0)), is_real, self.reduction)

    def _powered(self, x: Expression) -> Expression:
        return x if self.power == 1 else emit("Mul", x, x)
