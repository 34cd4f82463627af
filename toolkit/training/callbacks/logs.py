"""Logs: what a run reaches, as lines of JSON or as a table, for programs and spreadsheets.

A run that is resumed goes on in the files of the one that was cut off: what that had written beyond its last checkpoint
is removed first, so that no epoch or step occurs twice.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from toolkit.errors import TrainingError
from toolkit.training.callbacks.callback import Callback
from toolkit.training.run import Run


class Log(Callback):
    """A text file that rows are appended to; those of a new run replace what the file held."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: IO[str] | None = None
        self._position: int | None = None

    def fit_begins(self, run: Run) -> None:
        if self._position is not None and self.path.exists():
            os.truncate(self.path, min(self._position, self.path.stat().st_size))
            self._file = open(self.path, "a", encoding="utf-8", newline="")  # noqa: SIM115 (closed by ``close``)
        else:
            self._file = open(self.path, "w", encoding="utf-8", newline="")  # noqa: SIM115
        self._position = None

    def write(self, text: str) -> None:
        """Append ``text`` and hand it to the operating system, so that it outlives the process."""
        assert self._file is not None
        self._file.write(text)
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def state(self) -> dict[str, Any]:
        return {"position": self.path.stat().st_size}

    def recall(self, state: Mapping[str, Any]) -> None:
        self._position = int(state["position"])


class JsonLines(Log):
    """A JSON object a line: ``{"event": "epoch", "epoch", "step", "seconds", "learning_rate", "training": {...},
    "validation": {...}, "complete"}``, and with ``every`` one for every so many batches:
    ``{"event": "step", "epoch", "step", "loss", "learning_rate", "items"}``. What is not finite is ``null``.
    """

    def __init__(self, path: str | os.PathLike[str], *, every: int | None = None) -> None:
        super().__init__(path)
        self.every = require_every("JsonLines", every)

    def batch_ends(self, run: Run) -> None:
        if self.every is not None and run.batch % self.every == 0:
            self._line(
                event="step",
                epoch=run.epoch,
                step=run.trainer.steps,
                loss=run.loss,
                learning_rate=run.learning_rate,
                items=run.items,
            )

    def epoch_ends(self, run: Run) -> None:
        epoch = run.history.epochs[-1]
        self._line(
            event="epoch",
            epoch=epoch.number,
            step=run.trainer.steps,
            seconds=round(epoch.seconds, 3),
            learning_rate=epoch.learning_rate,
            training=epoch.training,
            validation=epoch.validation,
            complete=epoch.complete,
        )

    def _line(self, **values: Any) -> None:
        self.write(json.dumps(_finite(values)) + "\n")


class Csv(Log):
    """A table with a row for each epoch: epoch, step, seconds, learning_rate, the figures of training and validation.

    The columns are those of the first row.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._columns: list[str] = []

    def epoch_ends(self, run: Run) -> None:
        epoch = run.history.epochs[-1]
        row = {
            "epoch": epoch.number,
            "step": run.trainer.steps,
            "seconds": round(epoch.seconds, 3),
            "learning_rate": epoch.learning_rate,
            **epoch.training,
            **{f"validation {name}": value for name, value in epoch.validation.items()},
        }
        text = io.StringIO()
        is_new = not self._columns
        self._columns = self._columns or list(row)
        table = csv.DictWriter(text, self._columns, extrasaction="ignore", lineterminator="\n")
        if is_new:
            table.writeheader()
        table.writerow(row)
        self.write(text.getvalue())

    def fit_begins(self, run: Run) -> None:
        if self._position is None:
            self._columns = []
        super().fit_begins(run)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "columns": self._columns}

    def recall(self, state: Mapping[str, Any]) -> None:
        super().recall(state)
        self._columns = list(state["columns"])


def require_every(callback: str, every: int | None) -> int | None:
    """``every`` when it is a count of batches or ``None``, else ``TrainingError``."""
    if every is not None and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
        raise TrainingError(f"{callback}: every requires a count of batches from 1, or None, got {every!r}.")
    return every


def _finite(value: Any) -> Any:
    """JSON has no word for NaN and infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
