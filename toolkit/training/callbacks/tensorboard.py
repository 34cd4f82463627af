"""TensorBoard: event files of a run, written by the library ``tensorboardX`` (the extra ``tensorboard``)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from toolkit.errors import TrainingError
from toolkit.training.callbacks.callback import Callback
from toolkit.training.callbacks.logs import require_every
from toolkit.training.run import Run


class TensorBoard(Callback):
    """Writes event files into ``folder``, for ``tensorboard --logdir folder``.

    After every epoch the figures as ``training/loss``, ``validation/accuracy``, ... and ``learning_rate``, with
    ``every`` also the loss of every so many batches as ``step/loss``; all over the updates done. A run that is resumed
    writes another file, which takes the place of what the one before had beyond its checkpoint. Raises
    ``TrainingError`` when the library is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], *, every: int | None = None) -> None:
        self.folder, self.every = os.fspath(folder), require_every("TensorBoard", every)
        self._library, self._is_resumed = _library(), False
        self._writer: Any = None

    def fit_begins(self, run: Run) -> None:
        beyond = run.trainer.steps + 1 if self._is_resumed else None
        self._writer = self._library.SummaryWriter(
            self.folder, purge_step=beyond, flush_secs=10, filename_suffix=f".{secrets.token_hex(4)}"
        )  # the library names files by the second: a run that goes on at once must not write over what was
        self._is_resumed = False

    def batch_ends(self, run: Run) -> None:
        if self.every is not None and run.batch % self.every == 0:
            self._add("step/loss", run.loss, run)
            self._add("step/learning_rate", run.learning_rate, run)

    def epoch_ends(self, run: Run) -> None:
        epoch = run.history.epochs[-1]
        for kind, figures in (("training", epoch.training), ("validation", epoch.validation)):
            for name, value in figures.items():
                self._add(f"{kind}/{name}", value, run)
        self._add("learning_rate", run.learning_rate, run)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def state(self) -> dict[str, Any]:
        return {"resumes": True}

    def recall(self, state: Mapping[str, Any]) -> None:
        self._is_resumed = bool(state["resumes"])

    def _add(self, name: str, value: float, run: Run) -> None:
        self._writer.add_scalar(name, value, run.trainer.steps)


def _library() -> Any:
    try:
        return import_module("tensorboardX")
    except ImportError as error:
        raise TrainingError(
            "TensorBoard's event files are written by tensorboardX, which is not installed: "
            "pip install 'onnx-toolkit[tensorboard]', or pip install tensorboardX."
        ) from error
