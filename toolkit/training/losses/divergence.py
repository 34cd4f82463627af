"""Kullback-Leibler divergence between the distribution that an output describes and the one that labels are."""

from __future__ import annotations

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import Expression, emit
from toolkit.operators.record import TensorType
from toolkit.training.losses.expressions import as_float32, at_least, input_of, mean_of_real, quotient, safe_log, scalar
from toolkit.training.losses.loss import require_choice
from toolkit.training.losses.targets import TargetLoss

KINDS = ("log-probabilities", "probabilities", "logits")


class KLDivergence(TargetLoss):
    """target * (log(target) - output), as ``torch.nn.KLDivLoss``.

    - output of any shape (batch, ...), labels of the same shape: probabilities, or their logarithms with
      ``log_target=True``; a NaN label is missing
    - ``of``: what the output holds: ``"log-probabilities"``, or ``"probabilities"`` or ``"logits"`` over ``axis``
    - ``reduction``: ``"mean"`` over real elements as in PyTorch, ``"batchmean"`` over items (the divergence of the
      definition), or ``"sum"``
    """

    def __init__(
        self,
        *,
        output: str | None = None,
        of: str = "log-probabilities",
        axis: int = 1,
        log_target: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(output=output)
        self.reduction = require_choice(self._name, "reduction", reduction, ("mean", "batchmean", "sum"))
        self.of = require_choice(self._name, "of", of, KINDS)
        self.axis = axis
        self.log_target = log_target

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        if self.of != "log-probabilities" and not -len(shape) <= self.axis < len(shape):
            raise ShapeError(f"{self._name}: axis={self.axis} is none of the output's {shape}. Change axis=.")
        return super().labels(dtype, shape)

    def build(self, output: Expression, labels: Expression) -> Expression:
        if self.reduction != "batchmean":
            return super().build(output, labels)
        missing = emit("IsNaN", labels)
        target = emit("Where", missing, scalar(0), labels)
        values = self.elements(as_float32(output), target)
        real = emit("Cast", emit("Not", missing), to=1)
        axes = np.arange(1, output.ndim)
        items = emit("ReduceMax", real, axes, keepdims=0) if output.ndim > 1 else real
        return quotient(mean_of_real(values, emit("Not", missing), "sum"), emit("ReduceSum", items, keepdims=0))

    def elements(self, output: Expression, target: Expression) -> Expression:
        log_probabilities = self._log_probabilities(output)
        if self.log_target:
            return emit("Exp", target) * (target - log_probabilities)
        # 0 * log(0) is 0: the floor makes the logarithm finite, the factor makes it nothing.
        return target * (emit("Log", at_least(target, float(np.finfo(np.float32).tiny))) - log_probabilities)

    def count(self, labels: np.ndarray) -> float:
        if self.reduction == "batchmean":
            return int(np.count_nonzero(~np.isnan(labels).reshape(len(labels), -1).all(1)))
        return super().count(labels)

    def _log_probabilities(self, output: Expression) -> Expression:
        if self.of == "log-probabilities":
            return output
        before = input_of(output, "Softmax", self.axis) if self.of == "probabilities" else output
        return safe_log(output) if before is None else emit("LogSoftmax", as_float32(before), axis=self.axis)
