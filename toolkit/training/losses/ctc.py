"""The loss of sequences without alignment: connectionist temporal classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError, TrainingError
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, transpose
from toolkit.operators.record import TensorType
from toolkit.runtime.training_program import LABELS, Labels, label_arrays
from toolkit.training.labels import padded_sequences
from toolkit.training.losses.expressions import (
    FLOAT,
    INT64,
    as_float32,
    at_least,
    mean_of_real,
    require_float,
    safe_log,
)
from toolkit.training.losses.loss import ONLY, Arrays, Loss, one_output, require_choice, sole

INPUT_LENGTHS, TARGET_LENGTHS = "input_lengths", "target_lengths"
REDUCTIONS = ("mean", "sum")


class CTC(Loss):
    """Connectionist temporal classification, as ``torch.nn.CTCLoss`` (see ``toolkit.operators``' CTCLoss).

    - output (batch, steps, classes), logits or log-probabilities alike, one class being the ``blank``; or
      (steps, batch, classes) with ``time_axis=0``. ``probabilities=True``: it has passed a softmax already.
    - labels: class numbers (batch, longest), padded with any negative number or the blank at the end; or a list of
      sequences; or a dict of ``labels`` with ``input_lengths`` (batch,), how many steps of each item count, and
      ``target_lengths`` (batch,), how many of its symbols do
    - ``longest``: how many symbols a target may have, by default as many as there are steps
    - ``zero_infinity``: targets that cannot be spelt in the steps there are cost nothing, instead of infinity
    - ``reduction``: ``"mean"`` over items of the loss divided by the length of the target, or the ``"sum"``
    """

    def __init__(
        self,
        *,
        output: str | None = None,
        blank: int = 0,
        time_axis: int = 1,
        probabilities: bool = False,
        longest: int | None = None,
        zero_infinity: bool = False,
        reduction: str = "mean",
    ) -> None:
        self.output, self.probabilities, self.zero_infinity = output, probabilities, bool(zero_infinity)
        self.time_axis = require_choice("CTC", "time_axis", time_axis, (0, 1))
        self.reduction = require_choice("CTC", "reduction", reduction, REDUCTIONS)
        if not isinstance(blank, int) or not (longest is None or (isinstance(longest, int) and longest > 0)):
            raise TrainingError(
                f"CTC requires a class number as blank and a whole number above 0 as longest, got {blank!r} and "
                f"{longest!r}. Usual is blank=0."
            )
        self.blank, self.longest = blank, longest

    def judged(self, outputs: Sequence[str]) -> tuple[str, ...]:
        return (one_output(self._name, "output", self.output, outputs),)

    def label_types(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        batch, steps, _ = self._sizes(*sole(types))
        longest = steps if self.longest is None else self.longest
        lengths = {f"{LABELS}.{name}": (INT64, (batch,)) for name in (INPUT_LENGTHS, TARGET_LENGTHS)}
        return {LABELS: (INT64, (batch, longest)), **lengths}

    def accepted(self, labels: Any, types: Mapping[str, TensorType], feeds: Arrays) -> Labels:
        batch, steps, classes = self._sizes(*sole(types))
        _, (_, longest) = self.label_types(types)[LABELS]
        given = labels if isinstance(labels, Mapping) else {LABELS: labels}
        given = {str(name).removeprefix(f"{LABELS}."): item for name, item in given.items()}
        targets, symbols, counted = padded_sequences(
            self._name,
            given.pop(LABELS, None),
            given.pop(TARGET_LENGTHS, None),
            given.pop(INPUT_LENGTHS, None),
            sizes=(batch, steps, classes, longest),
            blank=self.blank,
            unknown=list(given),
        )
        return {LABELS: targets, f"{LABELS}.{INPUT_LENGTHS}": counted, f"{LABELS}.{TARGET_LENGTHS}": symbols}

    def terms(self, outputs: Mapping[str, Expression], labels: Mapping[str, Expression]) -> dict[str, Expression]:
        x = as_float32(sole(outputs))
        x = safe_log(x) if self.probabilities else x
        # Log-probabilities pass unchanged, and so does what their gradient does to logits.
        scores = emit("LogSoftmax", transpose(x, [1, 0, 2]) if self.time_axis == 0 else x, axis=2)
        lengths = [labels[f"{LABELS}.{name}"] for name in (INPUT_LENGTHS, TARGET_LENGTHS)]
        attributes = {"blank": self.blank, "zero_infinity": int(self.zero_infinity)}
        losses = emit("CTCLoss", scores, labels[LABELS], *lengths, domain=TOOLKIT_DOMAIN, **attributes)
        if self.reduction == "mean":
            losses = losses / at_least(cast(lengths[1], FLOAT), 1)
        return {ONLY: mean_of_real(losses, None, self.reduction)}

    def counts(self, labels: Labels, items: int) -> dict[str, float]:
        return {ONLY: 1 if self.reduction == "sum" else len(label_arrays(labels)[LABELS])}

    def _sizes(self, dtype: np.dtype, shape: tuple[int, ...]) -> tuple[int, int, int]:
        require_float(self._name, dtype, shape)
        if len(shape) != 3:
            raise ShapeError(
                f"{self._name} requires an output (batch, steps, classes), or (steps, batch, classes) with time_axis=0,"
                f" got {shape}. Judge another output."
            )
        if not 0 <= self.blank < shape[2]:
            raise ShapeError(f"{self._name}: blank={self.blank} is none of the output's {shape[2]} classes. Change it.")
        first, second, classes = shape
        return (first, second, classes) if self.time_axis == 1 else (second, first, classes)
