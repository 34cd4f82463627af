"""The loop over epochs and batches. It uses only the public parts of a trainer: write your own where this one ends."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from toolkit.graph.network import Network
from toolkit.runtime.training_program import Labels
from toolkit.training.averages import Averages
from toolkit.training.best import BestWeights
from toolkit.training.data import Batches
from toolkit.training.history import Epoch, History
from toolkit.training.interruption import Interruption
from toolkit.training.losses import Loss
from toolkit.training.metrics import AnyMetric
from toolkit.training.optimizers import Optimizer
from toolkit.training.progress import ProgressBar
from toolkit.training.schedules import Pace, Schedule
from toolkit.training.unfreezing import GradualUnfreezing


class Learner(Protocol):
    """The parts of a trainer that the loop uses; all of them are public."""

    loss: Loss
    optimizer: Optimizer
    seed: int
    epochs: int
    judged_outputs: tuple[str, ...]
    terms: dict[str, float]

    @property
    def network(self) -> Network: ...

    @property
    def shortfalls(self) -> Mapping[str, object]: ...

    def accept(self, x: Any, labels: Any) -> tuple[dict[str, np.ndarray], Labels]: ...

    def items(self, feeds: dict[str, np.ndarray]) -> int: ...

    def train_minibatch(self, x: Any, labels: Any) -> tuple[float, dict[str, np.ndarray]]: ...

    def evaluate(
        self, data: Any, *, batch_size: int = 64, metrics: Mapping[str, AnyMetric] | None = None
    ) -> dict[str, float]: ...

    def flush(self) -> None: ...

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None: ...


def fit(
    trainer: Learner,
    data: Any,
    epochs: int = 1,
    validation: Any = None,
    *,
    batch_size: int = 64,
    shuffle: bool = True,
    metrics: Mapping[str, AnyMetric] | None = None,
    progress: bool = True,
    keep_best: bool = True,
    monitor: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    schedule: Schedule | None = None,
    unfreezing: GradualUnfreezing | None = None,
) -> History:
    """Train for ``epochs`` passes over ``data`` and return what each reached.

    - ``data``, ``validation``: (x, labels) as arrays (x a dict where there are several inputs), a file, a folder of
      images, a dataset, or an iterable of such batches: whatever ``tk.data.Batches`` takes, or one. Arrays are cut
      into batches of ``batch_size``, the last one smaller, in an order that the trainer's seed and the epoch decide
      (``shuffle``).
    - ``metrics``: figures beside the loss, see ``toolkit.training.metrics``; accuracy for losses over classes by
      default. Those that accumulate end with what the validation of the last epoch gave them.
    - ``keep_best``: end with the weights of the epoch whose ``monitor`` was best, on ``validation``, or on the training
      data without it. With ``validation`` the weights as they are now compete too: a run never ends worse than it
      began. ``monitor`` is ``accuracy`` where that is among the figures, else ``loss``.
    - ``checkpoint``: a file to save to after every epoch, for ``trainer.load_checkpoint``.
    - ``schedule``: how the learning rate moves over these epochs, see ``toolkit.training.schedules``.
    - ``unfreezing``: what learns from which epoch on, see ``toolkit.training.unfreezing``.

    Ctrl-C ends the run after the step under way, with the best weights so far; the history says where. Raises
    ``InputError`` for data that does not fit, and ``NonFiniteLossError`` naming the step and the layer: the weights
    then are those before that step.
    """
    chosen = trainer.loss.metrics() if metrics is None else metrics
    batches = Batches.of(data, batch_size)
    monitor = monitor or ("accuracy" if "accuracy" in chosen else "loss")
    best, history = BestWeights(trainer.network, monitor), History()
    if keep_best and validation is not None and epochs:
        best.offer(trainer.epochs, trainer.evaluate(validation, batch_size=batch_size, metrics=chosen))
    pace = Pace(trainer.optimizer, schedule, _steps_of(batches.items, batch_size), epochs)
    with Interruption() as interruption, ProgressBar(progress) as bar, pace:
        for _ in range(epochs):
            number, start, steps = trainer.epochs + 1, time.perf_counter(), 0
            if unfreezing is not None:
                unfreezing.apply(trainer.network, number)
            means, figures = Averages(trainer.loss, chosen, apart=True), {}
            bar.begin(number, batches.items)
            try:
                for x, labels in batches(np.random.default_rng([trainer.seed, number]), shuffle=shuffle):
                    feeds, accepted = trainer.accept(x, labels)
                    items = trainer.items(feeds)
                    pace.before_step()
                    _, outputs = trainer.train_minibatch(feeds, accepted)
                    steps += 1
                    means.add(trainer.terms, outputs, accepted, items)
                    bar.advance(items, means.running())
                    interruption.check()
                trainer.flush()
                if validation is not None:
                    figures = trainer.evaluate(validation, batch_size=batch_size, metrics=chosen)
                    interruption.check()
            except KeyboardInterrupt:
                history.interrupted, history.stopped_at = True, (number, steps)
            if steps:
                seconds, complete = time.perf_counter() - start, not history.interrupted
                history.epochs.append(Epoch(number, steps, means.result(), figures, seconds, complete))
                if keep_best and (figures or validation is None):
                    best.offer(number, figures or means.result())
            if history.interrupted:
                break
            trainer.epochs = number
            pace.after_epoch(figures or means.result())
            if checkpoint is not None:
                trainer.save_checkpoint(checkpoint)
    if best.epoch is not None:
        best.restore()
    history.best_epoch = best.epoch if keep_best else trainer.epochs
    history.message = _message(history, epochs)
    history.notes += [f"{name!r}: {shortfall}" for name, shortfall in trainer.shortfalls.items()]
    return history


def _steps_of(items: int | None, batch_size: int) -> int | None:
    """The batches of an epoch, where somebody knows."""
    return None if items is None else -(-items // batch_size)


def _message(history: History, epochs: int) -> str:
    kept = f"kept the weights of epoch {history.best_epoch}" if history.best_epoch else "kept the weights as they are"
    if history.stopped_at is not None:
        return f"Interrupted in epoch {history.stopped_at[0]} after step {history.stopped_at[1]}: {kept}."
    return f"Trained {epochs} epochs: {kept}."
