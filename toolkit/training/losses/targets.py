"""Losses of an output beside targets of its shape: squares, distances, Huber's mixture. A NaN target is missing."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from toolkit.operators.expression import Expression, emit, where
from toolkit.operators.record import TensorType
from toolkit.training.labels import real_targets
from toolkit.training.losses.classes import REDUCTIONS
from toolkit.training.losses.expressions import FLOAT, as_float32, mean_of_real, require_float, scalar
from toolkit.training.losses.loss import OutputLoss, require_choice, require_number

SMALLEST_DELTA = 1e-30


class TargetLoss(OutputLoss):
    """The mean of ``elements(output, target)`` over all elements whose target is not NaN, or their sum.

    - output of any shape (batch, ...), labels of the same shape; NaN marks a missing target
    - ``reduction``: ``"mean"`` over real elements, or their ``"sum"``

    A loss of one's own that looks at each element apart needs ``elements`` alone:

        class LogCosh(tk.losses.TargetLoss):
            def elements(self, output, target):
                return tk.emit("Log", tk.emit("Cosh", output - target))
    """

    def __init__(self, *, output: str | None = None, reduction: str = "mean") -> None:
        super().__init__(output=output)
        self.reduction = require_choice(self._name, "reduction", reduction, REDUCTIONS)

    @abstractmethod
    def elements(self, output: Expression, target: Expression) -> Expression:
        """The loss of each element (float32); where the target is missing it is 0 here and its loss does not count."""

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        require_float(self._name, dtype, shape)
        return FLOAT, shape

    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        return real_targets(self._name, labels, self.labels(dtype, shape)[1])

    def build(self, output: Expression, labels: Expression) -> Expression:
        missing = emit("IsNaN", labels)
        values = self.elements(as_float32(output), where(missing, scalar(0), labels))
        return mean_of_real(values, emit("Not", missing), self.reduction)

    def count(self, labels: np.ndarray) -> float:
        return 1 if self.reduction == "sum" else int(np.count_nonzero(~np.isnan(labels)))


class MeanSquaredError(TargetLoss):
    """The mean of (output - target) squared, as ``torch.nn.MSELoss``, over all elements whose target is not NaN.

    - output of any shape (batch, ...), labels of the same shape
    - ``reduction``: ``"mean"`` over real elements, or their ``"sum"``
    """

    def elements(self, output: Expression, target: Expression) -> Expression:
        difference = output - target
        return difference * difference


class L1(TargetLoss):
    """The mean of abs(output - target), as ``torch.nn.L1Loss``, over all elements whose target is not NaN.

    - output of any shape (batch, ...), labels of the same shape
    - ``reduction``: ``"mean"`` over real elements, or their ``"sum"``
    """

    def elements(self, output: Expression, target: Expression) -> Expression:
        return emit("Abs", output - target)


class Huber(TargetLoss):
    """Half the square of what is nearer than ``delta``, linear beyond (Huber, 1964), as ``torch.nn.HuberLoss``.

    - output of any shape (batch, ...), labels of the same shape; a NaN target is missing
    - ``delta``: above 0, in the unit of the output
    - ``reduction``: ``"mean"`` over real elements, or their ``"sum"``
    """

    def __init__(self, delta: float = 1.0, *, output: str | None = None, reduction: str = "mean") -> None:
        super().__init__(output=output, reduction=reduction)
        self.delta = require_number(self._name, "delta", delta, SMALLEST_DELTA)

    def elements(self, output: Expression, target: Expression) -> Expression:
        distance = emit("Abs", output - target)
        near = emit("Min", distance, scalar(self.delta))
        return near * (distance - near * 0.5)
