"""A fit under way: how far it is, what it has reached, and what of that goes into a checkpoint.

Callbacks see it; the loop alone moves it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from toolkit.graph.network import Network
from toolkit.runtime.step_result import StepResult
from toolkit.runtime.training_program import Labels
from toolkit.training.averages import Averages
from toolkit.training.best import BestWeights
from toolkit.training.checkpoint import Checkpoint
from toolkit.training.data import Batches
from toolkit.training.history import Epoch, History
from toolkit.training.losses import Loss
from toolkit.training.metrics import AnyMetric
from toolkit.training.optimizers import Optimizer
from toolkit.training.schedules import Pace

Arrays = dict[str, np.ndarray]


class Learner(Protocol):
    """The parts of a trainer that the loop uses; all of them are public."""

    loss: Loss
    optimizer: Optimizer
    seed: int
    steps: int
    epochs: int
    judged_outputs: tuple[str, ...]
    terms: dict[str, float]

    @property
    def backend(self) -> Any: ...

    @property
    def network(self) -> Network: ...

    @property
    def shortfalls(self) -> Mapping[str, object]: ...

    @property
    def waiting(self) -> int: ...

    @property
    def looks_ahead(self) -> bool: ...

    def expect(self, x: Any, labels: Any) -> None: ...

    def accept(self, x: Any, labels: Any) -> tuple[Arrays, Labels]: ...

    def items(self, feeds: Arrays) -> int: ...

    def train_minibatch(self, x: Any, labels: Any) -> tuple[float, Arrays]: ...

    def evaluate(
        self, data: Any, *, batch_size: int = 64, metrics: Mapping[str, AnyMetric] | None = None
    ) -> dict[str, float]: ...

    def judge(self, data: Any, *, batch_size: int = 64) -> Iterator[tuple[Arrays, Labels, StepResult]]: ...

    def flush(self) -> None: ...

    def checkpoint(self) -> Checkpoint: ...

    def restore(self, checkpoint: Checkpoint, where: str = "") -> None: ...


class Run:
    """What callbacks are told about.

    - ``trainer``, ``batches``, ``validation``, ``metrics``, ``options``: what the fit was asked for
    - ``epoch`` of ``last_epoch`` (counted from 1 over the life of the trainer), ``batch`` within it, of
      ``batches_an_epoch`` (``None`` where nobody knows)
    - ``loss``, ``items`` and ``outputs`` of the last batch; ``figures``: means over the epoch so far
    - ``validation_figures``: of the epoch that ends, empty without validation
    - ``history``: the epochs so far; ``best``: the best weights so far, ``best.epoch`` says of which
    - ``reason``: why it was asked to stop, if it was
    """

    def __init__(
        self,
        trainer: Learner,
        batches: Batches,
        validation: Any,
        metrics: Mapping[str, AnyMetric],
        epochs: int,
        best: BestWeights,
        pace: Pace,
        options: Mapping[str, Any],
    ) -> None:
        self.trainer, self.batches, self.validation, self.metrics = trainer, batches, validation, metrics
        self.best, self.pace, self.options = best, pace, dict(options)
        self.began, self.epochs = trainer.epochs, epochs
        self.history, self.reason, self._is_cut_short = History(), "", False
        self.epoch, self.batch, self.seconds = trainer.epochs, 0, 0.0
        self.loss, self.items = float("nan"), 0
        self.outputs: Arrays = {}
        self.validation_figures: dict[str, float] = {}
        self._means = self._fresh_means()
        self._clock = time.perf_counter()

    @property
    def last_epoch(self) -> int:
        return self.began + self.epochs

    @property
    def monitor(self) -> str:
        return self.best.monitor

    @property
    def batches_an_epoch(self) -> int | None:
        items, size = self.batches.items, self.batches.batch_size
        return None if items is None else items // size if self.batches.drop_last else -(-items // size)

    @property
    def figures(self) -> dict[str, float]:
        """Means over the epoch so far: the loss, its terms, and the metrics that are means."""
        return self._means.running()

    @property
    def judged_figures(self) -> dict[str, float]:
        """What the last epoch is judged by: its validation, or its training where there is none."""
        return self.history.epochs[-1].judged

    @property
    def learning_rate(self) -> float:
        return self.trainer.optimizer.learning_rate

    @property
    def is_due(self) -> bool:
        """Whether there is another epoch to train, or the rest of one."""
        return not self.reason and not self.history.interrupted and self.trainer.epochs < self.last_epoch

    def stop(self, reason: str) -> None:
        """End the run after the batch under way, or the epoch; a run that is resumed stays ended."""
        self.reason = self.reason or reason

    # for the loop -------------------------------------------------------------------------------------------------

    def begin_epoch(self) -> np.random.Generator:
        """Open the next epoch, or go on in the one that was resumed; returns what decides its order."""
        self._clock = time.perf_counter() - self.seconds
        if not self.batch:
            self.epoch, self._means = self.trainer.epochs + 1, self._fresh_means()
        self.validation_figures = {}
        return np.random.default_rng([self.trainer.seed, self.epoch])

    def take(self, feeds: Arrays, labels: Labels, loss: float, outputs: Arrays) -> None:
        """Count a batch that was trained on."""
        self.batch += 1
        self.loss, self.outputs, self.items = loss, outputs, self.trainer.items(feeds)
        self._means.add(self.trainer.terms, outputs, labels, self.items)

    def interrupt(self) -> None:
        """Note Ctrl-C."""
        self.history.interrupted, self.history.stopped_at = True, (self.epoch, self.batch)

    def end_epoch(self) -> None:
        """Put the epoch into the history."""
        complete = not self.history.interrupted and not self._is_cut_short
        seconds = time.perf_counter() - self._clock
        self.history.epochs.append(
            Epoch(
                self.epoch,
                self.batch,
                self._means.result(),
                dict(self.validation_figures),
                seconds,
                complete,
                self.learning_rate,
            )
        )
        self.batch, self.seconds, self._is_cut_short = 0, 0.0, False

    def cut_short(self) -> None:
        """Note that a callback ended the epoch before its data did."""
        self._is_cut_short = True

    def finish(self, keep_best: bool) -> None:
        """Say how it ended."""
        history, best = self.history, self.best.epoch if keep_best else self.trainer.epochs
        kept = f"kept the weights of epoch {best}" if best else "kept the weights as they are"
        history.best_epoch = best
        if history.stopped_at is not None:
            history.message = (
                f"Interrupted in epoch {history.stopped_at[0]} after step {history.stopped_at[1]}: {kept}."
            )
        elif self.reason:
            history.message = f"Stopped in epoch {self.epoch}, because {self.reason}: {kept}."
        else:
            history.message = f"Trained {self.epochs} epoch{'' if self.epochs == 1 else 's'}: {kept}."
        history.notes += [f"{name!r}: {shortfall}" for name, shortfall in self.trainer.shortfalls.items()]

    def _fresh_means(self) -> Averages:
        return Averages(self.trainer.loss, self.metrics, apart=True)

    # for a checkpoint ---------------------------------------------------------------------------------------------

    def state(self, arrays: Arrays) -> dict[str, Any]:
        """Where the run is, for JSON; arrays that belong to it are put into ``arrays``."""
        within = bool(self.batch)
        return {
            "began": self.began,
            "epoch": self.epoch,
            "batch": self.batch,
            "seconds": time.perf_counter() - self._clock if within else 0.0,
            "data": self.batches.state() if within else None,
            "means": self._means.state(arrays) if within else None,
            "history": [asdict(epoch) for epoch in self.history],
            "best": self.best.state(arrays),
            "pace": self.pace.state(arrays),
            "learning_rate": self.trainer.optimizer.learning_rate,
            "reason": self.reason,
        }

    def recall(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Be where ``state`` was taken."""
        self.began, self.epoch, self.batch = int(state["began"]), int(state["epoch"]), int(state["batch"])
        self.seconds, self.reason = float(state["seconds"]), str(state["reason"])
        self.history.epochs = [Epoch(**epoch) for epoch in state["history"]]
        if self.batch:
            self.batches.restore(state["data"])
            self._means.recall(state["means"], arrays)
        self.best.recall(state["best"], arrays)
        self.pace.recall(state["pace"], arrays)
        self.trainer.optimizer.learning_rate = float(state["learning_rate"])
