"""Averages of the weights, kept beside the ones in training: they often generalise better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from toolkit.errors import TrainingError
from toolkit.graph.parameter import Parameter
from toolkit.operators.expression import Expression
from toolkit.runtime.update_part import Part
from toolkit.training.optimizers.numbers import Moment, above, floor, share
from toolkit.training.optimizers.transform import Transform

AVERAGE = "average"  # the slot that both keep


@contextmanager
def swapped(averages: Mapping[Parameter, np.ndarray]) -> Iterator[None]:
    """Let parameters hold their averages for a while. Raises ``TrainingError`` when there are none."""
    if not averages:
        raise TrainingError(
            "There are no averaged weights: chain tk.optimizers.ExponentialAverage() or StochasticAverage() behind the "
            "optimizer, and train at least one step."
        )
    raw = {item: item.array for item in averages}
    for item, array in averages.items():
        item.assign(array)
    try:
        yield
    finally:
        for item, array in raw.items():
            item.assign(array)


class ExponentialAverage(Transform):
    """EMA: average += (parameter - average) * (1 - decay) after every step; it begins as the first step's weights.

    ``warm_up`` lets the decay of step t be at most (1 + t) / (10 + t), so that early weights fade soon.
    """

    slots = (AVERAGE,)

    def __init__(self, decay: float = 0.999, warm_up: bool = False) -> None:
        self.decay, self.warm_up = share("ExponentialAverage", "decay", decay), bool(warm_up)

    def numbers(self, now: Moment) -> Sequence[Any]:
        fresh: Any = 1.0 - self.decay
        if self.warm_up:
            early = 9.0 / (10.0 + now.step)
            fresh = above(early - fresh, 0.0, early, fresh)
        return (above(now.step, 1.0, fresh, 1.0),)

    def update(self, part: Part) -> Expression:
        average = part.slot(AVERAGE)
        part.keep(AVERAGE, (part.parameter - average) * part.numbers[0] + average)
        return part.update


class StochasticAverage(Transform):
    """SWA (Izmailov et al., 2018): the mean of the weights after the steps ``start``, ``start + every``, ...

    Before ``start`` it is the weights themselves.
    """

    slots = (AVERAGE,)

    def __init__(self, start: int = 1, every: int = 1) -> None:
        for name, value in (("start", start), ("every", every)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TrainingError(f"StochasticAverage: {name} requires a count of steps from 1, got {value!r}.")
        self.start, self.every = start, every

    def numbers(self, now: Moment) -> Sequence[Any]:
        count = (1.0 * now.step - self.start) / self.every  # of those averaged before, where it is whole
        whole = floor(count)
        due = above(whole - count, -1e-9, 1.0 / (above(whole, 0.0, whole, 0.0) + 1.0), 0.0)
        return (above(1.0 * now.step, float(self.start), due, 1.0),)

    def update(self, part: Part) -> Expression:
        average = part.slot(AVERAGE)
        part.keep(AVERAGE, (part.parameter - average) * part.numbers[0] + average)
        return part.update
