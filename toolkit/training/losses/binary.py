"""Binary cross-entropy: each element of an output is a yes-or-no question of its own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import Expression, emit
from toolkit.operators.record import TensorType
from toolkit.training.labels import shares
from toolkit.training.losses.expressions import as_float32, input_of, safe_log
from toolkit.training.losses.loss import require_number
from toolkit.training.losses.targets import TargetLoss
from toolkit.training.metrics.metric import AnyMetric, binary_accuracy


class BinaryCrossEntropy(TargetLoss):
    """Cross-entropy between sigmoid(output) and labels in [0, 1], as ``torch.nn.BCEWithLogitsLoss``.

    It judges logits. ``probabilities=True`` says that the output has passed a sigmoid already (``torch.nn.BCELoss``);
    the loss is then computed from the input of that Sigmoid where the network ends in one.

    - output of any shape (batch, ...), labels of the same shape; a NaN label is missing
    - ``weight``: how much each element counts; it must broadcast to the output. As in PyTorch, the mean is divided by
      the number of elements all the same.
    - ``pos_weight``: how much a yes counts beside a no; it must broadcast to the output
    - ``label_smoothing``: in [0, 1]; labels move by that much towards one half
    - ``reduction``: ``"mean"`` over real elements, or their ``"sum"``
    """

    def __init__(
        self,
        *,
        output: str | None = None,
        probabilities: bool = False,
        weight: Any = None,
        pos_weight: Any = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(output=output, reduction=reduction)
        self.probabilities = probabilities
        self.weight = None if weight is None else np.asarray(weight, np.float32)
        self.pos_weight = None if pos_weight is None else np.asarray(pos_weight, np.float32)
        self.label_smoothing = require_number(self._name, "label_smoothing", label_smoothing, 0, 1)
        self._warned = False

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        for option, weight in (("weight", self.weight), ("pos_weight", self.pos_weight)):
            if weight is not None and not _broadcasts(weight.shape, shape):
                raise ShapeError(
                    f"{self._name}: {option} requires a shape that broadcasts to the output {shape}, got "
                    f"{weight.shape}. Pass one number for each column."
                )
        return super().labels(dtype, shape)

    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        return shares(self._name, super().accept(labels, dtype, shape))

    def elements(self, output: Expression, target: Expression) -> Expression:
        if self.label_smoothing:
            target = target * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        yes, no = self._log_losses(output)
        yes = yes if self.pos_weight is None else yes * self.pos_weight
        values = target * yes + (1.0 - target) * no
        return values if self.weight is None else values * self.weight

    def metrics(self) -> Mapping[str, AnyMetric]:
        return {"accuracy": partial(binary_accuracy, threshold=0.5 if self.probabilities else 0.0)}

    def _log_losses(self, output: Expression) -> tuple[Expression, Expression]:
        """What a yes costs, and what a no costs: -log(p) and -log(1 - p)."""
        before = input_of(output, "Sigmoid")
        if self.probabilities and before is None:
            return -safe_log(output), -safe_log(1.0 - output)
        if not self.probabilities and before is not None and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._name} judges logits, but the output comes out of a Sigmoid, so a second one is applied and "
                "training will be slow and inaccurate. Say BinaryCrossEntropy(probabilities=True).",
                stacklevel=2,
            )
        logits = as_float32(before if self.probabilities and before is not None else output)
        return emit("Softplus", -logits), emit("Softplus", logits)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False
