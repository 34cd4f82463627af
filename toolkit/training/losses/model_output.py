"""A loss that the network computes itself, from labels among its inputs or from none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.operators.expression import Expression, emit
from toolkit.operators.record import TensorType
from toolkit.runtime.training_program import Labels
from toolkit.training.losses.expressions import as_float32, require_float
from toolkit.training.losses.loss import ONLY, Arrays, Loss, one_output, sole


class ModelOutput(Loss):
    """An output of the network as it is, or the mean of its elements.

    - ``output``: its name, ``None`` for the only one
    - ``inputs``: names of the network's inputs that are fed the labels: one array for a single name, a dict by name
      for several. Without, labels are among the inputs already, or there are none: pass ``(x, None)``.

    Batches count by their items.
    """

    def __init__(self, output: str | None = None, *, inputs: str | Sequence[str] = ()) -> None:
        self.output = output
        self.inputs = (inputs,) if isinstance(inputs, str) else tuple(inputs)

    def judged(self, outputs: Sequence[str]) -> tuple[str, ...]:
        return (one_output(self._name, "output", self.output, outputs),)

    def label_types(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        require_float(self._name, *sole(types))
        return {}

    def terms(self, outputs: Mapping[str, Expression], labels: Mapping[str, Expression]) -> dict[str, Expression]:
        value = as_float32(sole(outputs))
        return {ONLY: emit("ReduceMean", value, keepdims=0) if value.ndim else value}

    def feeds(self, x: Any, labels: Any, inputs: Sequence[str]) -> tuple[Any, Any]:
        if labels is None or (isinstance(labels, Mapping) and not labels):
            return x, labels
        unknown = [name for name in self.inputs if name not in inputs]
        if unknown or not self.inputs:
            raise InputError(
                f"{self._name}: the network computes its loss, and got labels that feed the inputs {list(self.inputs)} "
                f"among {list(inputs)}. Name them with inputs=, or pass (x, None) with everything in x."
            )
        if not isinstance(labels, Mapping):
            labels = {self.inputs[0]: labels}
        if set(labels) != set(self.inputs):
            raise InputError(
                f"{self._name} requires labels as a dict by the names {list(self.inputs)}, got {list(labels)}. "
                "Pass one array for each."
            )
        if not isinstance(x, Mapping):
            others = [name for name in inputs if name not in self.inputs]
            if len(others) != 1:
                raise InputError(f"{self._name}: one array cannot feed the inputs {others}. Pass x as a dict.")
            x = {others[0]: x}
        return {**x, **{name: np.asarray(array) for name, array in labels.items()}}, None

    def accepted(self, labels: Any, types: Mapping[str, TensorType], feeds: Arrays) -> Labels:
        self.label_types(types)
        return {}

    def counts(self, labels: Labels, items: int) -> dict[str, float]:
        return {ONLY: items}
