"""What losses over class indices share: where the classes lie, what labels look like, which of them count."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from toolkit.errors import ShapeError, TrainingError
from toolkit.operators.record import TensorType
from toolkit.training.labels import class_indices
from toolkit.training.losses.expressions import INT64, require_float
from toolkit.training.losses.loss import OutputLoss
from toolkit.training.metrics.metric import AnyMetric, accuracy

REDUCTIONS = ("mean", "sum")


class ClassLoss(OutputLoss):
    """A loss of an output over classes beside class indices.

    - output (batch, ..., classes, ...) with the classes on ``axis``, labels the same shape without that axis
    - ``ignore_index``: labels of this value count as missing
    """

    def __init__(self, *, output: str | None = None, axis: int = 1, ignore_index: int | None = None) -> None:
        super().__init__(output=output)
        self.axis = axis
        self.ignore_index = ignore_index

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        axis = self._class_axis(dtype, shape)
        return INT64, shape[:axis] + shape[axis + 1 :]

    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        axis = self._class_axis(dtype, shape)
        wanted = shape[:axis] + shape[axis + 1 :]
        return class_indices(self._name, labels, wanted, shape[axis], axis, self.ignore_index)

    def count(self, labels: np.ndarray) -> float:
        return int(labels.size if self.ignore_index is None else np.count_nonzero(labels != self.ignore_index))

    def metrics(self) -> Mapping[str, AnyMetric]:
        return {"accuracy": partial(accuracy, axis=self.axis, ignore_index=self.ignore_index)}

    def _class_axis(self, dtype: np.dtype, shape: tuple[int, ...]) -> int:
        require_float(self._name, dtype, shape)
        if len(shape) < 2 or not -len(shape) <= self.axis < len(shape) or self.axis % len(shape) == 0:
            raise ShapeError(
                f"{self._name} requires an output (batch, ..., classes, ...) with classes on axis {self.axis}, got "
                f"{dtype.name} {shape}. Change axis=, or judge another output."
            )
        return self.axis % len(shape)


def class_weights(name: str, weight: Any) -> np.ndarray | None:
    """One finite number of at least 0 for each class, as float32. Raises ``TrainingError`` for anything else."""
    if weight is None:
        return None
    vector = np.asarray(weight)
    if vector.ndim != 1 or vector.dtype.kind not in "iuf" or not (np.isfinite(vector) & (vector >= 0)).all():
        raise TrainingError(
            f"{name}: weight requires a vector of one number of at least 0 for each class, got {weight!r}. "
            "Pass for example [1.0, 5.0] for two classes."
        )
    return vector.astype(np.float32)


def require_weights(name: str, option: str, weight: np.ndarray | None, classes: int) -> None:
    """Raise ``ShapeError`` unless there is one weight for each class."""
    if weight is not None and weight.size != classes:
        raise ShapeError(
            f"{name}: {option} requires one number for each of the {classes} classes of the output, got {weight.size}."
            " Count the classes of the output."
        )
