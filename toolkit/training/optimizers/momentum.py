"""Optimizers that follow a running sum or mean of gradients: SGD and Lion, and the transforms they consist of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.errors import TrainingError
from toolkit.operators.expression import Expression, emit
from toolkit.runtime.update_part import Part
from toolkit.training.optimizers.numbers import Moment, above, at_least_zero, finite, mean_of, running, two_shares
from toolkit.training.optimizers.transform import AddDecayedWeights, Descend, Optimizer, Transform


class Momentum(Transform):
    """m = decay * m + (1 - dampening) * update, the first one undampened; hands on m, or update + decay * m."""

    slots = ("momentum",)

    def __init__(self, decay: float, dampening: float = 0.0, nesterov: bool = False) -> None:
        self.decay = at_least_zero("Momentum", "decay", decay)
        self.dampening = finite("Momentum", "dampening", dampening)
        self.nesterov = bool(nesterov)

    def numbers(self, now: Moment) -> Sequence[Any]:
        if not self.dampening:
            return (self.decay,)
        return (self.decay, above(now.step, 1.0, 1.0 - self.dampening, 1.0))

    def update(self, part: Part) -> Expression:
        decay, *fresh = part.numbers
        given = part.update * fresh[0] if fresh else part.update
        velocity = part.keep("momentum", part.slot("momentum") * decay + given)
        return velocity * decay + part.update if self.nesterov else velocity


class SGD(Optimizer):
    """Stochastic gradient descent.

    g += weight_decay * p; m = momentum * m + (1 - dampening) * g; p -= learning_rate * m.

    The first step sets m = g, undampened. ``nesterov`` steps along g + momentum * m. Without momentum there is no m.
    """

    def __init__(
        self,
        learning_rate: float,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self.momentum = at_least_zero("SGD", "momentum", momentum)
        dampening = finite("SGD", "dampening", dampening)
        weight_decay = at_least_zero("SGD", "weight_decay", weight_decay)
        if nesterov and (self.momentum <= 0 or dampening != 0):
            raise TrainingError(
                f"SGD: nesterov requires a momentum above 0 and no dampening, got momentum={momentum} and "
                f"dampening={dampening}. Set momentum=0.9, or leave nesterov out."
            )
        decay = [AddDecayedWeights(weight_decay)] if weight_decay else []
        trace = [Momentum(momentum, dampening, nesterov)] if self.momentum else []
        super().__init__(learning_rate, *decay, *trace)

    def __repr__(self) -> str:
        return f"SGD({self.learning_rate}, momentum={self.momentum})"


class SignOfMomentum(Transform):
    """Hand on the sign of beta1 * m + (1 - beta1) * update; then m = beta2 * m + (1 - beta2) * update."""

    slots = ("momentum",)

    def __init__(self, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        self.betas = two_shares("SignOfMomentum", betas)

    def numbers(self, now: Moment) -> Sequence[Any]:
        return (*running(self.betas[0]), *running(self.betas[1]))

    def update(self, part: Part) -> Expression:
        mean = part.slot("momentum")
        direction = emit("Sign", mean_of(part.update, mean, part.numbers[:2]))
        part.keep("momentum", mean_of(part.update, mean, part.numbers[2:]))
        return direction


class Lion(Optimizer):
    """Lion (Chen et al., 2023): steps of equal size along the sign of a running mean; decay apart from the gradient.

    Rates are a third to a tenth of those of AdamW, decay accordingly higher.
    """

    def __init__(
        self, learning_rate: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        self.betas = two_shares("Lion", betas)
        at_least_zero("Lion", "weight_decay", weight_decay)
        super().__init__(learning_rate, SignOfMomentum(self.betas), Descend(weight_decay))

    def __repr__(self) -> str:
        return f"Lion({self.learning_rate}, betas={self.betas})"
