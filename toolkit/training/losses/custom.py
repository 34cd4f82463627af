"""A loss that a user writes as a function of expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.errors import ShapeError, TrainingError
from toolkit.operators.expression import Expression, emit
from toolkit.operators.record import TensorType
from toolkit.training.labels import real_targets
from toolkit.training.losses.classes import ClassLoss
from toolkit.training.losses.expressions import FLOAT, as_float32, require_float

KINDS = ("targets", "classes")


class Custom(ClassLoss):
    """The mean of ``function(output, labels)``, which is written with ``+ - * / @`` and ``tk.emit``.

        def quantile(output, target):
            below = target - output
            return tk.emit("Max", 0.9 * below, -0.1 * below)

        trainer = tk.Trainer(network, loss=tk.losses.Custom(quantile), optimizer=tk.optimizers.Adam(1e-3))

    Both arguments are expressions with a concrete ``shape`` and ``dtype``, the batch on axis 0. The function may return
    a scalar, or one value for each item or element: their mean is the loss. All operators of ONNX are there; the
    gradient is found as that of the network is, and every backend runs it.

    - ``labels``: ``"targets"``, float32 of the shape of the output; ``"classes"``, int64 of that shape without
      ``axis``; or a function (dtype, shape of the output) -> (dtype, shape of the labels)
    """

    def __init__(
        self,
        function: Callable[[Expression, Expression], Expression],
        labels: str | Callable[[np.dtype, tuple[int, ...]], TensorType] = "targets",
        *,
        output: str | None = None,
        axis: int = 1,
    ) -> None:
        super().__init__(output=output, axis=axis)
        if not callable(function) or not (callable(labels) or labels in KINDS):
            raise TrainingError(
                f"Custom requires a function of (output, labels), and labels={' or '.join(map(repr, KINDS))} or a "
                f"function of (dtype, shape), got {function!r} and {labels!r}. Pass both as such."
            )
        self.function = function
        self._kind = labels

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        if callable(self._kind):
            kind, wanted = self._kind(dtype, shape)
            return np.dtype(kind), tuple(wanted)
        if self._kind == "classes":
            return super().labels(dtype, shape)
        require_float(self._name, dtype, shape)
        return FLOAT, shape

    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if self._kind == "classes":
            return super().accept(labels, dtype, shape)
        kind, wanted = self.labels(dtype, shape)
        if kind == FLOAT:
            return real_targets(self._name, labels, wanted)
        array = np.asarray(labels)
        if array.shape != wanted or not np.can_cast(array.dtype, kind, "same_kind"):
            raise ShapeError(
                f"{self._name}: labels must be {kind.name} {wanted}, got {array.dtype} {array.shape}. Convert them."
            )
        return array.astype(kind)

    def build(self, output: Expression, labels: Expression) -> Expression:
        value = self.function(output, labels)
        if not isinstance(value, Expression):
            raise TrainingError(
                f"{self._name}: the function must return an expression, got {type(value).__name__}. "
                "Compute with its arguments and tk.emit, not with numpy."
            )
        value = as_float32(value)
        return emit("ReduceMean", value, keepdims=0) if value.ndim else value

    def count(self, labels: np.ndarray) -> float:
        return len(labels) if labels.ndim else 1

    def metrics(self) -> Any:
        return super().metrics() if self._kind == "classes" else {}

    @property
    def _name(self) -> str:
        title = getattr(self.function, "__name__", type(self.function).__name__) if hasattr(self, "function") else ""
        return f"Custom({title})"
