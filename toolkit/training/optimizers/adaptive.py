"""Steps over the root of squared gradients, summed or averaged: Adagrad, Adadelta, RMSprop, as PyTorch has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.operators.expression import Expression, emit
from toolkit.runtime.update_part import Part
from toolkit.training.optimizers.momentum import Momentum
from toolkit.training.optimizers.numbers import (
    Moment,
    above_zero,
    at_least_zero,
    mean_of,
    mean_square_of,
    running,
    running_square,
    share,
)
from toolkit.training.optimizers.transform import AddDecayedWeights, Optimizer, Transform


class ScaleBySumOfSquares(Transform):
    """update / (sqrt(initial + sum of all squared updates) + epsilon), shrinking by ``rate_decay`` with each step."""

    slots = ("sum_of_squares",)

    def __init__(self, initial: float = 0.0, epsilon: float = 1e-10, rate_decay: float = 0.0) -> None:
        self.initial = at_least_zero("Adagrad", "initial", initial)
        self.epsilon = at_least_zero("Adagrad", "epsilon", epsilon)
        self.rate_decay = at_least_zero("Adagrad", "rate_decay", rate_decay)

    def numbers(self, now: Moment) -> Sequence[Any]:
        return (1.0 / (1.0 + (now.step - 1.0) * self.rate_decay),) if self.rate_decay else ()

    def update(self, part: Part) -> Expression:
        total = part.keep("sum_of_squares", part.update * part.update + part.slot("sum_of_squares"))
        scaled = part.update / (emit("Sqrt", total + self.initial if self.initial else total) + self.epsilon)
        return scaled * part.numbers[0] if self.rate_decay else scaled


class ScaleByDelta(Transform):
    """update * sqrt(mean square of steps + epsilon) / sqrt(mean square of updates + epsilon)."""

    slots = ("mean_square", "mean_square_step")

    def __init__(self, decay: float = 0.9, epsilon: float = 1e-6) -> None:
        self.decay = share("Adadelta", "decay", decay)
        self.epsilon = above_zero("Adadelta", "epsilon", epsilon)

    def numbers(self, now: Moment) -> Sequence[Any]:
        return running_square(self.decay)

    def update(self, part: Part) -> Expression:
        steps = part.slot("mean_square_step")
        square = part.keep("mean_square", mean_square_of(part.update, part.slot("mean_square"), part.numbers))
        step = emit("Sqrt", (steps + self.epsilon) / (square + self.epsilon)) * part.update
        part.keep("mean_square_step", mean_square_of(step, steps, part.numbers))
        return step


class ScaleByMeanSquare(Transform):
    """update / (sqrt(mean square) + epsilon); ``centered`` takes the square of the mean off the mean square."""

    def __init__(self, decay: float = 0.99, epsilon: float = 1e-8, centered: bool = False) -> None:
        self.decay = share("RMSprop", "decay", decay)
        self.epsilon = at_least_zero("RMSprop", "epsilon", epsilon)
        self.centered = bool(centered)
        self.slots = ("mean_square", "mean") if centered else ("mean_square",)

    def numbers(self, now: Moment) -> Sequence[Any]:
        return (*running(self.decay), *running_square(self.decay))

    def update(self, part: Part) -> Expression:
        numbers = part.numbers
        square = part.keep("mean_square", mean_square_of(part.update, part.slot("mean_square"), numbers[2:]))
        if self.centered:
            mean = part.keep("mean", mean_of(part.update, part.slot("mean"), numbers[:2]))
            square = emit("Max", square - mean * mean, 0.0)  # rounding may leave less than nothing
        return part.update / (emit("Sqrt", square) + self.epsilon)


class Adagrad(Optimizer):
    """Adagrad (Duchi et al., 2011): p -= rate / (1 + (step - 1) * rate_decay) * g / (sqrt(sum of g^2) + epsilon)."""

    def __init__(
        self,
        learning_rate: float = 1e-2,
        rate_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial: float = 0.0,
        epsilon: float = 1e-10,
    ) -> None:
        at_least_zero("Adagrad", "weight_decay", weight_decay)
        super().__init__(learning_rate, *_decay(weight_decay), ScaleBySumOfSquares(initial, epsilon, rate_decay))

    def __repr__(self) -> str:
        return f"Adagrad({self.learning_rate})"


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012): steps as large as those before, in the units of the parameter; its rate is 1."""

    def __init__(
        self, learning_rate: float = 1.0, decay: float = 0.9, epsilon: float = 1e-6, weight_decay: float = 0.0
    ) -> None:
        at_least_zero("Adadelta", "weight_decay", weight_decay)
        self.decay = share("Adadelta", "decay", decay)
        super().__init__(learning_rate, *_decay(weight_decay), ScaleByDelta(decay, epsilon))

    def __repr__(self) -> str:
        return f"Adadelta({self.learning_rate}, decay={self.decay})"


class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012): steps over the root of a mean square, ``centered`` over the deviation from the mean."""

    def __init__(
        self,
        learning_rate: float = 1e-2,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        at_least_zero("RMSprop", "weight_decay", weight_decay)
        self.momentum = at_least_zero("RMSprop", "momentum", momentum)
        trace = [Momentum(momentum)] if self.momentum else []
        super().__init__(learning_rate, *_decay(weight_decay), ScaleByMeanSquare(decay, epsilon, centered), *trace)

    def __repr__(self) -> str:
        return f"RMSprop({self.learning_rate}, momentum={self.momentum})"


def _decay(weight_decay: float) -> list[Transform]:
    return [AddDecayedWeights(weight_decay)] if weight_decay else []
