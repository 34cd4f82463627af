"""Early stopping: an end to a run that gets no better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from toolkit.errors import TrainingError
from toolkit.training.best import monitored, sign_of
from toolkit.training.callbacks.callback import Callback
from toolkit.training.run import Run


class EarlyStopping(Callback):
    """Stop when ``monitor`` was no better by more than ``min_delta`` for ``patience`` epochs in a row.

    ``monitor`` is that of the fit by default, on the validation data where there are some; ``mode`` as in
    ``Trainer.fit``. Which weights the run ends with is for ``fit(keep_best=...)`` to say: the best ones by default.
    Raises ``TrainingError`` for options that are none, and for a figure that the run does not have.
    """

    def __init__(
        self, patience: int = 5, *, monitor: str | None = None, mode: str | None = None, min_delta: float = 0.0
    ) -> None:
        if not isinstance(patience, int) or isinstance(patience, bool) or patience < 1:
            raise TrainingError(f"EarlyStopping: patience requires a count of epochs from 1, got {patience!r}.")
        if not min_delta >= 0:
            raise TrainingError(f"EarlyStopping: min_delta requires a number of at least 0, got {min_delta!r}.")
        sign_of("EarlyStopping", monitor or "", mode)
        self.patience, self.monitor, self.mode, self.min_delta = patience, monitor, mode, min_delta
        self._forget()

    def _forget(self) -> None:
        self.best, self.bad_epochs, self._is_resumed = math.inf, 0, False

    def fit_begins(self, run: Run) -> None:
        if not self._is_resumed:
            self._forget()
        self._is_resumed = False

    def epoch_ends(self, run: Run) -> None:
        name = self.monitor or run.monitor
        value = sign_of("EarlyStopping", name, self.mode) * monitored("EarlyStopping", name, run.judged_figures)
        if value < self.best - self.min_delta or (math.isinf(self.best) and not math.isnan(value)):
            self.best, self.bad_epochs = value, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs >= self.patience:
            run.stop(f"{name} was no better for {self.bad_epochs} epochs")

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "bad_epochs": self.bad_epochs}

    def recall(self, state: Mapping[str, Any]) -> None:
        self.best, self.bad_epochs, self._is_resumed = float(state["best"]), int(state["bad_epochs"]), True
