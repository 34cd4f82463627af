"""The loop over epochs and batches. It uses only the public parts of a trainer: write your own where this one ends."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from toolkit.training.best import BestWeights
from toolkit.training.callbacks import Callback, Report
from toolkit.training.callbacks.callback import Callbacks
from toolkit.training.data import Batches
from toolkit.training.history import History
from toolkit.training.interruption import Interruption
from toolkit.training.metrics import AnyMetric
from toolkit.training.progress import ProgressBar, is_watched
from toolkit.training.resuming import Saving
from toolkit.training.run import Learner, Run
from toolkit.training.schedules import Pace, Schedule
from toolkit.training.unfreezing import GradualUnfreezing


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
    mode: str | None = None,
    schedule: Schedule | None = None,
    unfreezing: GradualUnfreezing | None = None,
    callbacks: Sequence[Callback] = (),
    report: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    keep_checkpoints: int = 1,
    resume: bool = False,
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
      began. ``monitor`` is ``accuracy`` where that is among the figures, else ``loss``; ``mode`` ("min", "max") says
      what is better, by default what suits the name: less for losses and errors, more for everything else.
    - ``schedule``: how the learning rate moves over these epochs, see ``toolkit.training.schedules``.
    - ``unfreezing``: what learns from which epoch on, see ``toolkit.training.unfreezing``.
    - ``callbacks``: whom to tell of what happens: ``tk.callbacks`` has early stopping, logs and TensorBoard.
    - ``report``: an HTML page to write, with curves, confusion matrix and worst examples: ``tk.callbacks.Report``.
    - ``progress``: show a bar where standard error is a terminal.
    - ``checkpoint``: a file to save everything to after every epoch, and after ``checkpoint_every`` updates within
      one; ``keep_checkpoints`` files are kept, the one before the newest as ``checkpoint.1``. It is whole whenever the
      process dies.
    - ``resume``: go on where the run that wrote ``checkpoint`` was, to the bit as if it had not been cut off: with
      trainer, data and options made as then. ``epochs`` are those of the whole run. Without the file it begins.

    Ctrl-C ends the run after the step under way, with the best weights so far; the history says where, and
    ``checkpoint`` is saved there, to be resumed. Raises ``InputError`` for data that does not fit, and
    ``NonFiniteLossError`` naming the step and the layer: the weights then are those before that step.
    """
    chosen = trainer.loss.metrics() if metrics is None else metrics
    batches = Batches.of(data, batch_size)
    best = BestWeights(trainer.network, monitor or ("accuracy" if "accuracy" in chosen else "loss"), mode)
    pace = Pace(trainer.optimizer, schedule)
    options = {
        "optimizer": repr(trainer.optimizer),  # now, before a schedule moves its rate
        "learning_rate": trainer.optimizer.learning_rate,
        "shuffle": shuffle,
        "keep_best": keep_best,
        "schedule": schedule,
        "unfreezing": unfreezing,
    }
    run = Run(trainer, batches, validation, chosen, epochs, best, pace, options)
    bar = [ProgressBar()] if progress and is_watched() else []
    told = Callbacks([*bar, *callbacks, *([] if report is None else [Report(report)])])
    saving = Saving(run, told, checkpoint, checkpoint_every, keep_checkpoints)

    ahead = (lambda batch: trainer.expect(*batch)) if trainer.looks_ahead else None

    def judge() -> dict[str, float]:
        return trainer.evaluate(validation, batch_size=batches.batch_size, metrics=chosen)

    with Interruption() as interruption, pace, told.closing():
        is_resumed = resume and saving.resume()
        pace.plan(run.batches_an_epoch, epochs)
        if keep_best and validation is not None and epochs and not is_resumed:
            best.offer(trainer.epochs, judge())
        told.tell("fit_begins", run)
        while run.is_due:
            random = run.begin_epoch()
            if unfreezing is not None:
                unfreezing.apply(trainer.network, run.epoch)
            told.tell("epoch_begins", run)
            try:
                for x, labels in batches(random, shuffle=shuffle, ahead=ahead):
                    feeds, accepted = trainer.accept(x, labels)
                    pace.before_step()
                    loss, outputs = trainer.train_minibatch(feeds, accepted)
                    run.take(feeds, accepted, loss, outputs)
                    told.tell("batch_ends", run)
                    if run.reason:
                        run.cut_short()
                        break
                    saving.after_batch(is_last=interruption.requested)
                    interruption.check()
                trainer.flush()
                if validation is not None:
                    run.validation_figures = judge()
                    told.tell("validation_ends", run)
                    interruption.check()
            except KeyboardInterrupt:
                run.interrupt()
            if run.batch:
                run.end_epoch()
                if keep_best and (run.validation_figures or validation is None):
                    best.offer(run.epoch, run.judged_figures)
                told.tell("epoch_ends", run)
            if not run.history.interrupted:
                trainer.epochs = run.epoch
                pace.after_epoch(run.judged_figures)
                saving.after_epoch()
        if keep_best and best.epoch is not None:
            best.restore()
        run.finish(keep_best)
        told.tell("fit_ends", run)
    return run.history
