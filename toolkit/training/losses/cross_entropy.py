"""Softmax cross-entropy and negative log-likelihood, of class indices or of probabilities as labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.operators.derivative import cast, indicator
from toolkit.operators.expression import Expression, emit, reduce_sum, where
from toolkit.operators.record import TensorType
from toolkit.training.labels import real_targets
from toolkit.training.losses.classes import REDUCTIONS, ClassLoss, class_weights, require_weights
from toolkit.training.losses.expressions import (
    FLOAT,
    as_float32,
    class_axis_second,
    input_of,
    mean_of_real,
    quotient,
    real_labels,
    safe_log,
    scalar,
    spread_over,
    total,
)
from toolkit.training.losses.loss import require_choice, require_number
from toolkit.training.metrics.metric import AnyMetric, accuracy


class _LikelihoodLoss(ClassLoss):
    """Means of -log(probability of the label), each label counting as much as its class weighs."""

    def __init__(self, *, output: str | None, axis: int, ignore_index: int | None, weight: Any, reduction: str) -> None:
        super().__init__(output=output, axis=axis, ignore_index=ignore_index)
        self.weight = class_weights(self._name, weight)
        self.reduction = require_choice(self._name, "reduction", reduction, REDUCTIONS)

    def _class_axis(self, dtype: np.dtype, shape: tuple[int, ...]) -> int:
        axis = super()._class_axis(dtype, shape)
        require_weights(self._name, "weight", self.weight, shape[axis])
        return axis

    def count(self, labels: np.ndarray) -> float:
        if self.reduction == "sum":
            return 1
        if self.weight is None:
            return super().count(labels)
        real = labels if self.ignore_index is None else labels[labels != self.ignore_index]
        return float(self.weight[real].sum(dtype=np.float64))

    def _likelihood(self, x: Expression, labels: Expression, *, is_score: bool, smoothing: float = 0.0) -> Expression:
        """The loss of scores, whose gradient reuses the log-probabilities that come with it, or of log-probabilities.

        ``smoothing`` is the part of a label that all classes share.
        """
        x = class_axis_second(as_float32(x), self.axis)
        operator = "SoftmaxCrossEntropyLoss" if is_score else "NegativeLogLikelihoodLoss"
        # ONNX's own mean is 0 / 0 for a batch in which every label is missing or weighs nothing.
        is_plain = self.weight is None and self.ignore_index is None and self.reduction == "mean"
        made = emit(
            operator,
            x,
            labels,
            self.weight,
            outputs=2 if is_score else 1,
            reduction="mean" if is_plain else "sum",
            ignore_index=self.ignore_index,
        )
        loss, log_probabilities = made if is_score else (made, x)
        counts = None if self.reduction == "sum" else self._counted(labels)
        loss = loss if is_plain or counts is None else quotient(loss, counts)
        if not smoothing:
            return loss
        classes = x.shape[1]
        weighed = log_probabilities
        if self.weight is not None:
            weighed = weighed * spread_over(x.shape, 1, self.weight)
        shared = emit("ReduceSum", weighed, np.asarray([1]), keepdims=0)
        if (real := real_labels(labels, self.ignore_index)) is not None:
            shared = where(real, shared, scalar(0))
        shared = total(shared) if counts is None else quotient(total(shared), counts)
        return loss * (1.0 - smoothing) - shared * (smoothing / classes)

    def _counted(self, labels: Expression) -> Expression:
        """The summed weights of the real labels."""
        real = real_labels(labels, self.ignore_index)
        if self.weight is None:
            size = scalar(int(np.prod(labels.shape)))
            return labels.emitter.constant(size) if real is None else total(cast(real, FLOAT))
        table = labels.emitter.constant(self.weight)
        if real is None:
            return total(emit("Gather", table, labels))
        return total(where(real, emit("Gather", table, where(real, labels, 0)), scalar(0)))


class SoftmaxCrossEntropy(_LikelihoodLoss):
    """Cross-entropy between softmax(output) and class indices, as ``torch.nn.CrossEntropyLoss``.

    It judges logits. ``probabilities=True`` says that the output has passed a softmax already: then the loss is
    -log(probability), computed from the input of that Softmax where the network ends in one. Without it, an output that
    comes out of a Softmax is judged literally, with a warning.

    - output (batch, classes) or (batch, classes, d1, ...); ``axis`` where the classes lie elsewhere
    - labels: integers (batch,) or (batch, d1, ...) in [0, classes), or ``ignore_index``
    - ``soft_labels=True``: labels are probabilities of the shape of the output; a position with a NaN is missing
    - ``weight``: one number a class. The mean of class indices is divided by the weights of the labels, that of soft
      labels by their number.
    - ``label_smoothing``: the part of each label, in [0, 1], that is shared out among all classes
    - ``reduction``: ``"mean"`` over real items, or their ``"sum"``
    """

    def __init__(
        self,
        *,
        output: str | None = None,
        probabilities: bool = False,
        axis: int = 1,
        ignore_index: int | None = None,
        weight: Any = None,
        label_smoothing: float = 0.0,
        soft_labels: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(output=output, axis=axis, ignore_index=ignore_index, weight=weight, reduction=reduction)
        self.probabilities = probabilities
        self.label_smoothing = require_number(self._name, "label_smoothing", label_smoothing, 0, 1)
        self.soft_labels = soft_labels
        self._warned = False

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        expected = super().labels(dtype, shape)
        return (FLOAT, shape) if self.soft_labels else expected

    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if self.soft_labels:
            return real_targets(self._name, labels, self.labels(dtype, shape)[1])
        return super().accept(labels, dtype, shape)

    def count(self, labels: np.ndarray) -> float:
        if self.soft_labels and self.reduction == "mean":
            return int(np.count_nonzero(~np.isnan(labels).any(self.axis)))
        return super().count(labels)

    def metrics(self) -> Mapping[str, AnyMetric]:
        return {"accuracy": self._accuracy} if self.soft_labels else super().metrics()

    def build(self, output: Expression, labels: Expression) -> Expression:
        x, is_score = self._scores(output)
        if self.soft_labels:
            return self._from_soft_labels(x, labels, is_score)
        return self._likelihood(x, labels, is_score=is_score, smoothing=self.label_smoothing)

    def _scores(self, output: Expression) -> tuple[Expression, bool]:
        """Scores, or log-probabilities where only probabilities are known; and which of the two."""
        before = input_of(output, "Softmax", self.axis)
        if self.probabilities:
            return (before, True) if before is not None else (safe_log(output), False)
        if before is not None and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._name} judges logits, but the output comes out of a Softmax, so a second one is applied and "
                "training will be slow and inaccurate. Say SoftmaxCrossEntropy(probabilities=True).",
                stacklevel=2,
            )
        return output, True

    def _from_soft_labels(self, x: Expression, labels: Expression, is_score: bool) -> Expression:
        x, labels = (class_axis_second(as_float32(item), self.axis) for item in (x, labels))
        missing = emit("IsNaN", labels)
        is_real = emit("Less", reduce_sum(indicator(missing, labels), [1], keepdims=False), scalar(0.5))
        shares = where(missing, scalar(0), labels)
        if self.label_smoothing:
            shares = shares * (1.0 - self.label_smoothing) + self.label_smoothing / x.shape[1]
        if self.weight is not None:
            shares = shares * spread_over(x.shape, 1, self.weight)
        log_probabilities = emit("LogSoftmax", x, axis=1) if is_score else x
        return mean_of_real(-reduce_sum(shares * log_probabilities, [1], keepdims=False), is_real, self.reduction)

    def _accuracy(self, output: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """How often the largest class is the one with the largest share of the label."""
        is_real = ~np.isnan(labels).any(self.axis)
        hits, _ = accuracy(output, np.where(is_real, labels.argmax(self.axis), -1), self.axis)
        return hits, float(np.count_nonzero(is_real))


class NegativeLogLikelihood(_LikelihoodLoss):
    """-output[label]: the cross-entropy of an output of log-probabilities (LogSoftmax), as ``torch.nn.NLLLoss``.

    - output (batch, classes) or (batch, classes, d1, ...); ``axis`` where the classes lie elsewhere
    - labels: integers (batch,) or (batch, d1, ...) in [0, classes), or ``ignore_index``
    - ``weight``: one number a class; the mean is divided by the weights of the labels
    - ``reduction``: ``"mean"`` over real items, or their ``"sum"``
    """

    def __init__(
        self,
        *,
        output: str | None = None,
        axis: int = 1,
        ignore_index: int | None = None,
        weight: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(output=output, axis=axis, ignore_index=ignore_index, weight=weight, reduction=reduction)

    def build(self, output: Expression, labels: Expression) -> Expression:
        before = input_of(output, "LogSoftmax", self.axis)
        if before is not None:  # the same value, and one fused gradient for both
            return self._likelihood(before, labels, is_score=True)
        return self._likelihood(output, labels, is_score=False)
