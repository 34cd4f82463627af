"""Schedules: how the learning rate moves during a run. A schedule maps progress in [0, 1] to a factor on the rate."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.errors import InputError, TrainingError
from toolkit.training.optimizers import Optimizer

Schedule = Callable[[float], float]  # share of the run that is done -> factor on the optimizer's learning rate


def one_cycle(warm_up: float = 0.2) -> Schedule:
    """Rise from 0 to the full rate over the first ``warm_up`` of the run, then fall to 0, both in a straight line.

    It bears rates several times higher than a constant one, and ends closer to the minimum. Raises ``TrainingError``
    for a share outside (0, 1).
    """
    if not 0 < warm_up < 1:
        raise TrainingError(f"one_cycle: warm_up requires a share between 0 and 1, got {warm_up}. Usual is 0.2.")
    return lambda done: done / warm_up if done < warm_up else max(0.0, (1 - done) / (1 - warm_up))


class Pace:
    """Moves the rate of ``optimizer`` along ``schedule`` while it is entered, and gives the old rate back after.

    Raises ``InputError`` when there is a schedule but nobody knows how many ``items`` an epoch has.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule | None, items: int | None, epochs: int) -> None:
        if schedule is not None and items is None:
            raise InputError(
                "A schedule requires data of known length, got an iterable of batches. Pass (x, labels) as arrays, or "
                "set optimizer.learning_rate in a loop of your own."
            )
        self._optimizer, self._schedule = optimizer, schedule
        self._total, self._done, self._full = (items or 0) * epochs, 0, optimizer.learning_rate

    def __enter__(self) -> Pace:
        return self

    def __exit__(self, *exception: object) -> None:
        self._optimizer.learning_rate = self._full

    def before(self, items: int) -> None:
        """Set the rate for the next step, on a batch of ``items``; progress is that at the middle of the batch."""
        if self._schedule is not None:
            self._optimizer.learning_rate = self._full * self._schedule((self._done + items / 2) / self._total)
            self._done += items
