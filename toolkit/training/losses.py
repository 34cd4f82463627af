"""Losses: what a training run makes small. A loss is a description; the session compiles it into the step.

Each one judges a single output, named by ``output`` where the network has several, and is a mean over real items:
an ignored class index or a missing (NaN) target counts neither in the sum nor in the number. A loss also knows what its
labels must look like, and turns what a user hands in into exactly that.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators.expression import Expression, emit, reduce_sum, transpose, where
from toolkit.training.labels import class_indices, real_targets
from toolkit.training.metrics import Metric, accuracy

TensorType = tuple[np.dtype, tuple[int, ...]]
FLOAT, INT64, ONNX_FLOAT = np.dtype(np.float32), np.dtype(np.int64), 1
SMALLEST_PROBABILITY = 1e-12  # what log() is protected from when an output is a probability


class Loss(ABC):
    """A loss by description. ``output`` is the name of the output it judges, ``None`` for the only one."""

    def __init__(self, *, output: str | None = None) -> None:
        self.output = output

    @abstractmethod
    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        """Element type and shape that the labels must have for an output of ``dtype`` and ``shape``.

        Raises ``ShapeError`` when the loss cannot judge such an output.
        """

    @abstractmethod
    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """The user's labels as ``labels`` demands. Raises ``InputError`` naming the remedy when they do not fit."""

    @abstractmethod
    def build(self, output: Expression, labels: Expression) -> Expression:
        """The loss as a scalar float32 expression: the mean over real items."""

    def count(self, labels: np.ndarray) -> int:
        """How many real items accepted ``labels`` hold: the weight of this batch in a mean over batches."""
        return int(labels.size)

    def metrics(self) -> Mapping[str, Metric]:
        """What ``evaluate`` and ``fit`` report beside the loss unless told otherwise."""
        return {}

    @property
    def _name(self) -> str:
        return type(self).__name__ + (f"(output={self.output!r})" if self.output else "")


class _ClassLoss(Loss):
    """What losses over class indices share.

    - output (batch, ..., classes, ...) with the classes on ``axis``, labels the same shape without that axis
    - ``ignore_index``: labels of this value count as missing
    """

    def __init__(self, *, output: str | None = None, axis: int = 1, ignore_index: int | None = None) -> None:
        super().__init__(output=output)
        self.axis = axis
        self.ignore_index = ignore_index

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        _require_float(self._name, dtype, shape)
        if len(shape) < 2 or not -len(shape) <= self.axis < len(shape) or self.axis % len(shape) == 0:
            raise ShapeError(
                f"{self._name} requires an output (batch, ..., classes, ...) with classes on axis {self.axis}, got "
                f"{dtype.name} {shape}. Change axis=, or judge another output."
            )
        axis = self.axis % len(shape)
        return INT64, shape[:axis] + shape[axis + 1 :]

    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        _, wanted = self.labels(dtype, shape)
        return class_indices(self._name, labels, wanted, shape[self.axis], self.axis % len(shape), self.ignore_index)

    def count(self, labels: np.ndarray) -> int:
        return int(labels.size if self.ignore_index is None else np.count_nonzero(labels != self.ignore_index))

    def metrics(self) -> Mapping[str, Metric]:
        return {"accuracy": lambda output, labels: accuracy(output, labels, self.axis, self.ignore_index)}

    def _from_scores(self, scores: Expression, labels: Expression) -> Expression:
        """Cross-entropy of softmax(scores); the gradient reuses the log-probabilities that come with it."""
        return self._mean("SoftmaxCrossEntropyLoss", scores, labels, outputs=2)

    def _from_log_probabilities(self, log_probabilities: Expression, labels: Expression) -> Expression:
        return self._mean("NegativeLogLikelihoodLoss", log_probabilities, labels, outputs=1)

    def _mean(self, operator: str, x: Expression, labels: Expression, outputs: int) -> Expression:
        scores = _class_axis_second(_as_float32(x), self.axis)
        # ONNX's own mean is 0 / 0 for a batch in which every label is missing.
        reduction = "mean" if self.ignore_index is None else "sum"
        made = emit(operator, scores, labels, outputs=outputs, reduction=reduction, ignore_index=self.ignore_index)
        loss = made[0] if outputs > 1 else made
        if self.ignore_index is None:
            return loss
        real = emit("Cast", emit("Not", emit("Equal", labels, self.ignore_index)), to=ONNX_FLOAT)
        return loss / emit("Max", emit("ReduceSum", real, keepdims=0), np.asarray(1, np.float32))


class SoftmaxCrossEntropy(_ClassLoss):
    """Cross-entropy between softmax(output) and class indices.

    It judges logits. ``probabilities=True`` says that the output has passed a softmax already: then the loss is
    -log(probability), computed from the input of that Softmax where the network ends in one. Without it, an output that
    comes out of a Softmax is judged literally, with a warning.

    - output (batch, classes) or (batch, classes, d1, ...); ``axis`` where the classes lie elsewhere
    - labels: integers (batch,) or (batch, d1, ...) in [0, classes), or ``ignore_index``
    """

    def __init__(
        self,
        *,
        output: str | None = None,
        probabilities: bool = False,
        axis: int = 1,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(output=output, axis=axis, ignore_index=ignore_index)
        self.probabilities = probabilities
        self._warned = False

    def build(self, output: Expression, labels: Expression) -> Expression:
        before = _input_of(output, "Softmax", self.axis)
        if self.probabilities:
            if before is not None:
                return self._from_scores(before, labels)
            floor = np.asarray(SMALLEST_PROBABILITY, np.float32)
            return self._from_log_probabilities(emit("Log", emit("Max", _as_float32(output), floor)), labels)
        if before is not None and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._name} judges logits, but the output comes out of a Softmax, so a second one is applied and "
                "training will be slow and inaccurate. Say SoftmaxCrossEntropy(probabilities=True).",
                stacklevel=2,
            )
        return self._from_scores(output, labels)


class NegativeLogLikelihood(_ClassLoss):
    """-output[label]: the cross-entropy of an output of log-probabilities (LogSoftmax).

    - output (batch, classes) or (batch, classes, d1, ...); ``axis`` where the classes lie elsewhere
    - labels: integers (batch,) or (batch, d1, ...) in [0, classes), or ``ignore_index``
    """

    def build(self, output: Expression, labels: Expression) -> Expression:
        before = _input_of(output, "LogSoftmax", self.axis)
        if before is not None:  # the same value, and one fused gradient for both
            return self._from_scores(before, labels)
        return self._from_log_probabilities(output, labels)


class MeanSquaredError(Loss):
    """The mean of (output - target) squared over all elements whose target is not NaN.

    - output of any shape (batch, ...), labels of the same shape
    """

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        _require_float(self._name, dtype, shape)
        return FLOAT, shape

    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        return real_targets(self._name, labels, self.labels(dtype, shape)[1])

    def build(self, output: Expression, labels: Expression) -> Expression:
        missing = emit("IsNaN", labels)
        difference = _as_float32(output) - where(missing, 0.0, labels)
        squares = where(missing, 0.0, difference * difference)
        real = emit("Cast", emit("Not", missing), to=ONNX_FLOAT)
        axes = list(range(output.ndim))
        count = emit("Max", reduce_sum(real, axes, keepdims=False), np.asarray(1, np.float32))
        return reduce_sum(squares, axes, keepdims=False) / count

    def count(self, labels: np.ndarray) -> int:
        return int(np.count_nonzero(~np.isnan(labels)))


def _require_float(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    if not is_trainable_dtype(dtype):
        raise ShapeError(
            f"{name} requires a floating-point output, got {dtype.name} {shape}. Judge the output before the classes "
            "are picked (scores or probabilities)."
        )


def _as_float32(x: Expression) -> Expression:
    return x if x.dtype == FLOAT else emit("Cast", x, to=ONNX_FLOAT)


def _class_axis_second(x: Expression, axis: int) -> Expression:
    axis %= x.ndim
    return transpose(x, [0, axis, *(other for other in range(1, x.ndim) if other != axis)])


def _input_of(output: Expression, op_type: str, axis: int) -> Expression | None:
    """The input of the Softmax or LogSoftmax over ``axis`` that ``output`` comes from, ``None`` when it does not."""
    node = output.variable.producer
    if node is None or node.op_type != op_type or node.domain:
        return None
    normalised, wanted = node.attributes.get("axis", -1 if node.version >= 13 else 1) % output.ndim, axis % output.ndim
    # Before opset 13 everything from the axis on was one distribution.
    alone = node.version >= 13 or int(np.prod(output.shape[normalised + 1 :])) == 1
    return Expression(output.emitter, node.x) if normalised == wanted and alone else None


__all__ = ["Loss", "MeanSquaredError", "NegativeLogLikelihood", "SoftmaxCrossEntropy"]
