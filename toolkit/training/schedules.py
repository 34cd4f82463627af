"""Schedules: how the learning rate moves during a run, as a factor on the optimizer's own rate.

A schedule is called with the ``Progress`` of the run before every step. ``per`` says what it counts: ``"step"``
(updates done) or ``"epoch"`` (complete passes over the data). ``fixed`` to ``sigmoid`` are Caffe's formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from toolkit.errors import InputError, TrainingError
from toolkit.training.optimizers import Optimizer
from toolkit.training.state import recall, remembered


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: ``step`` of ``steps`` and ``epoch`` of ``epochs``, counted from 0.

    ``steps`` is ``None`` where nobody knows how many batches there are.
    """

    step: int
    epoch: int = 0
    steps: int | None = None
    epochs: int = 1

    def count(self, per: str) -> int:
        """What was done so far, in steps or epochs."""
        return self.epoch if per == "epoch" else self.step

    def total(self, per: str) -> int:
        """How much there is to do. Raises ``InputError`` where that is not known."""
        if per == "epoch":
            return self.epochs
        if self.steps is None:
            raise InputError(
                "A schedule requires data of known length to tell how far the run is, got an iterable of batches. Pass "
                "(x, labels) as arrays, count per='epoch', or set optimizer.learning_rate in a loop of your own."
            )
        return self.steps


Schedule = Callable[[Progress], float]  # the factor on the optimizer's learning rate


def fixed() -> Schedule:
    """The optimizer's rate throughout."""
    return lambda now: 1.0


def step(size: int, gamma: float = 0.1, *, per: str = "step") -> Schedule:
    """gamma ^ floor(t / size)."""
    _require(step, per, size=size, gamma=gamma)
    return lambda now: float(gamma ** (now.count(per) // size))


def multistep(at: Sequence[int], gamma: float = 0.1, *, per: str = "step") -> Schedule:
    """gamma ^ (how many of the counts ``at`` are reached)."""
    _require(multistep, per, gamma=gamma)
    return lambda now: float(gamma ** sum(now.count(per) >= mark for mark in at))


def exp(gamma: float, *, per: str = "step") -> Schedule:
    """gamma ^ t."""
    _require(exp, per, gamma=gamma)
    return lambda now: float(gamma ** now.count(per))


def inv(gamma: float, power: float, *, per: str = "step") -> Schedule:
    """(1 + gamma * t) ^ -power."""
    _require(inv, per, gamma=gamma)
    return lambda now: float((1 + gamma * now.count(per)) ** -power)


def poly(power: float = 1.0, total: int | None = None, *, per: str = "step") -> Schedule:
    """(1 - t / total) ^ power; ``total`` is the length of the run by default, beyond it the factor is 0."""
    _require(poly, per, power=power)
    return lambda now: float(max(0.0, 1 - now.count(per) / (total or now.total(per))) ** power)


def sigmoid(gamma: float, size: int, *, per: str = "step") -> Schedule:
    """1 / (1 + exp(-gamma * (t - size))): Caffe's formula; a negative ``gamma`` lets the rate fall."""
    _require(sigmoid, per)
    return lambda now: 1 / (1 + math.exp(min(700.0, -gamma * (now.count(per) - size))))


def cosine(period: int | None = None, growth: float = 1.0, end: float = 0.0, *, per: str = "step") -> Schedule:
    """Fall from 1 to ``end`` along half a cosine, over the run, or restart after ``period`` (Loshchilov & Hutter).

    Each period is ``growth`` times as long as the one before.
    """
    _require(cosine, per, growth=growth, **({} if period is None else {"period": period}))

    def factor(now: Progress) -> float:
        done, length = float(now.count(per)), float(period or now.total(per))
        while period and done >= length:
            done, length = done - length, length * growth
        return end + (1 - end) * (1 + math.cos(math.pi * min(1.0, done / length))) / 2

    return factor


def warm_up(steps: int, then: Schedule | None = None, start: float = 0.0) -> Schedule:
    """Rise from ``start`` to 1 in a straight line over ``steps``, the last of them at 1; ``then`` begins behind it.

    The steps of ``then`` count from the end of the warm-up; its epochs are those of the run.
    """
    _require(warm_up, "step", steps=steps)

    def factor(now: Progress) -> float:
        if now.step < steps:
            return start + (1 - start) * (now.step + 1) / steps
        left = None if now.steps is None else max(1, now.steps - steps)
        return 1.0 if then is None else then(replace(now, step=now.step - steps, steps=left))

    return factor


def one_cycle(warm_up: float = 0.2, *, shape: str = "linear", start: float = 0.0, end: float = 0.0) -> Schedule:
    """Rise from ``start`` to the full rate over the first ``warm_up`` of the run, then fall to ``end``.

    In straight lines or along cosines (``shape="cosine"``); of a step, its middle counts. It bears rates several times
    higher than a constant one, and ends closer to the minimum. Raises ``TrainingError`` for a share outside (0, 1).
    """
    if not 0 < warm_up < 1:
        raise TrainingError(f"one_cycle: warm_up requires a share between 0 and 1, got {warm_up}. Usual is 0.2.")
    if shape not in ("linear", "cosine"):
        raise TrainingError(f"one_cycle: shape requires 'linear' or 'cosine', got {shape!r}.")

    def eased(share: float) -> float:
        return share if shape == "linear" else (1 - math.cos(math.pi * share)) / 2

    def factor(now: Progress) -> float:
        done = min(1.0, (now.step + 0.5) / now.total("step"))
        if done < warm_up:
            return start + (1 - start) * eased(done / warm_up)
        return end + (1 - end) * eased((1 - done) / (1 - warm_up))

    return factor


class ReduceOnPlateau:
    """Multiply the rate by ``factor`` when ``monitor`` was no better for more than ``patience`` epochs.

    As PyTorch's: better is by more than ``threshold``, as a share of the best so far; after a reduction ``cooldown``
    epochs pass before epochs are counted again; no factor falls below ``least``. Figures are those of the validation
    where there is one. ``mode`` is ``"min"`` or ``"max"``, by default what suits the name: only losses and errors fall.
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        *,
        monitor: str = "loss",
        mode: str | None = None,
        threshold: float = 1e-4,
        cooldown: int = 0,
        least: float = 0.0,
    ) -> None:
        if not 0 < factor < 1:
            raise TrainingError(f"ReduceOnPlateau: factor requires a number between 0 and 1, got {factor}.")
        if mode not in (None, "min", "max"):
            raise TrainingError(f"ReduceOnPlateau: mode requires 'min' or 'max', got {mode!r}.")
        falls = monitor.endswith(("loss", "error")) if mode is None else mode == "min"
        self.monitor, self._sign = monitor, 1.0 if falls else -1.0
        self._factor, self._patience, self._threshold = factor, patience, threshold
        self._cooldown, self._least = cooldown, least
        self.current, self._best, self._bad, self._resting = 1.0, math.inf, 0, 0

    def __call__(self, now: Progress) -> float:
        return self.current

    def after_epoch(self, figures: Mapping[str, float]) -> None:
        """Take in what an epoch reached. Raises ``TrainingError`` when ``monitor`` is not among it."""
        if self.monitor not in figures:
            raise TrainingError(f"ReduceOnPlateau: monitor {self.monitor!r} is not among {sorted(figures)}.")
        value = self._sign * figures[self.monitor]
        if value < self._best - self._threshold * abs(self._best) or self._best == math.inf:
            self._best, self._bad = value, 0
        else:
            self._bad += 1
        if self._resting:
            self._resting, self._bad = self._resting - 1, 0
        if self._bad > self._patience:
            self.current = max(self.current * self._factor, self._least)
            self._resting, self._bad = self._cooldown, 0


class Pace:
    """Moves the rate of ``optimizer`` along ``schedule`` while it is entered, and gives the old rate back after.

    ``plan`` says how long it is.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule | None) -> None:
        self._optimizer, self._schedule, self._full = optimizer, schedule, optimizer.learning_rate
        self._now = Progress(0)

    def plan(self, batches: int | None, epochs: int) -> None:
        """Say how many ``batches`` there are in an epoch, ``None`` where nobody knows, and how many ``epochs``."""
        self._now = replace(self._now, steps=None if batches is None else batches * epochs, epochs=epochs)

    def __enter__(self) -> Pace:
        return self

    def __exit__(self, *exception: object) -> None:
        self._optimizer.learning_rate = self._full

    def before_step(self) -> None:
        """Set the rate for the next step."""
        if self._schedule is not None:
            self._optimizer.learning_rate = self._full * self._schedule(self._now)
            self._now = replace(self._now, step=self._now.step + 1)

    def after_epoch(self, figures: Mapping[str, float]) -> None:
        """Count an epoch, and let a schedule that watches figures see what it reached."""
        self._now = replace(self._now, epoch=self._now.epoch + 1)
        watch = getattr(self._schedule, "after_epoch", None)
        if watch is not None:
            watch(figures)

    # for a checkpoint ---------------------------------------------------------------------------------------------

    def state(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """How far it is, and what a schedule that watches figures remembers; ``recall`` takes it over."""
        watched = remembered(self._schedule, arrays, "schedule") if hasattr(self._schedule, "after_epoch") else None
        return {"step": self._now.step, "epoch": self._now.epoch, "full": self._full, "schedule": watched}

    def recall(self, state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Be where ``state`` was taken."""
        self._now = replace(self._now, step=int(state["step"]), epoch=int(state["epoch"]))
        self._full = float(state["full"])
        if state["schedule"] is not None and hasattr(self._schedule, "after_epoch"):
            recall(self._schedule, state["schedule"], arrays)


def _require(schedule: Callable[..., Schedule], per: str, **numbers: float) -> None:
    name = schedule.__name__
    if per not in ("step", "epoch"):
        raise TrainingError(f"{name}: per requires 'step' or 'epoch', got {per!r}.")
    for option, value in numbers.items():
        if not value > 0:
            raise TrainingError(f"{name}: {option} requires more than 0, got {value}.")
