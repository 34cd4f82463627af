"""What a step of training, or of evaluation, hands out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from toolkit.runtime.plan import Plan
from toolkit.runtime.training_program import LOSS

Arrays = dict[str, np.ndarray]
TERM = f"{LOSS}."  # what precedes the name of a term of a loss that has several


@dataclass(frozen=True, slots=True)
class StepResult:
    """``loss`` is the mean over the real items of the batch (``None`` without labels), ``outputs`` the predictions.

    ``terms`` are the parts of the loss by name, unweighted; one that has no parts is its own, named ``""``.
    ``is_skipped``: gradients overflowed, so nothing was updated, and the loss scale is lower now.
    """

    loss: float | None
    outputs: Arrays
    terms: dict[str, float] = field(default_factory=dict)
    is_skipped: bool = False


class Results:
    """What the runs of one plan gave last; its outputs are told apart once, and again where the plan was bound anew."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._arrays: Arrays = {}

    def taken(self) -> StepResult:
        """A copy of everything."""
        if self._arrays is not self._plan.output_arrays:
            self._sort(self._plan.output_arrays)
        outputs = {name: array.copy() for name, array in self._outputs}
        if self._loss is None:
            return StepResult(None, outputs)
        loss = float(self._loss.item(0))
        return StepResult(loss, outputs, {name: float(array.item(0)) for name, array in self._terms} or {"": loss})

    def _sort(self, arrays: Arrays) -> None:
        self._arrays, self._loss = arrays, arrays.get(LOSS)
        self._outputs = [(name, array) for name, array in arrays.items() if not name.startswith(LOSS)]
        self._terms = [(name.removeprefix(TERM), array) for name, array in arrays.items() if name.startswith(TERM)]
