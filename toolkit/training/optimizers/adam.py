"""Adam and its kin: steps along a running mean of gradients, over the root of a running mean of their squares.

All have PyTorch's meaning and defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from toolkit.operators.expression import Expression, emit
from toolkit.runtime.update_part import Part
from toolkit.training.optimizers.numbers import (
    Moment,
    above,
    at_least_zero,
    entry,
    mean_of,
    mean_square_of,
    power,
    root,
    running,
    running_square,
    two_shares,
)
from toolkit.training.optimizers.transform import AddDecayedWeights, Descend, Optimizer, Transform


class _TwoMoments(Transform):
    """Keeps the running means of updates and of their squares; ``direction`` says what to make of them."""

    slots: Sequence[str] = ("first_moment", "second_moment")

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8) -> None:
        self.betas = two_shares(type(self).__name__, betas)
        self.epsilon = at_least_zero(type(self).__name__, "epsilon", epsilon)

    def numbers(self, now: Moment) -> Sequence[Any]:
        return (*running(self.betas[0]), *running_square(self.betas[1]), *self.further(now))

    def further(self, now: Moment) -> Sequence[Any]:
        """Numbers of ``direction``."""
        raise NotImplementedError

    def update(self, part: Part) -> Expression:
        numbers, further = part.numbers, 4 if self.betas[1] else 2
        mean = part.keep("first_moment", mean_of(part.update, part.slot("first_moment"), numbers[:2]))
        square = mean_square_of(part.update, part.slot("second_moment"), numbers[2:further])
        return self.direction(part, mean, part.keep("second_moment", square), numbers[further:])

    def direction(self, part: Part, mean: Expression, square: Expression, numbers: Sequence[Expression]) -> Expression:
        raise NotImplementedError

    def corrections(self, now: Moment) -> tuple[Any, Any]:
        """1 - beta^step for both means."""
        return 1.0 - power(self.betas[0], now.step), 1.0 - power(self.betas[1], now.step)


class ScaleByAdam(_TwoMoments):
    """The mean over the root of the mean square, both corrected for their start at zero.

    ``amsgrad`` divides by the largest mean square so far (Reddi et al., 2018).
    """

    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8, amsgrad: bool = False) -> None:
        super().__init__(betas, epsilon)
        self.amsgrad = bool(amsgrad)
        if self.amsgrad:
            self.slots = (*self.slots, "largest_moment")

    def further(self, now: Moment) -> Sequence[Any]:
        first, second = self.corrections(now)
        return 1.0 / first, 1.0 / second

    def direction(self, part: Part, mean: Expression, square: Expression, numbers: Sequence[Expression]) -> Expression:
        if self.amsgrad:
            square = part.keep("largest_moment", emit("Max", part.slot("largest_moment"), square))
        return mean / (emit("Sqrt", square * numbers[1]) + self.epsilon) * numbers[0]


class ScaleByNAdam(_TwoMoments):
    """As Adam, looking ahead as Nesterov's momentum does (Dozat, 2016), with PyTorch's ``momentum_decay``."""

    def __init__(
        self, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8, momentum_decay: float = 4e-3
    ) -> None:
        super().__init__(betas, epsilon)
        self.momentum_decay = at_least_zero("NAdam", "momentum_decay", momentum_decay)
        self._products = _products(self.betas[0], self.momentum_decay)

    def further(self, now: Moment) -> Sequence[Any]:
        beta, decay = self.betas[0], self.momentum_decay
        momentum = beta * (1.0 - 0.5 * power(0.96, now.step * decay))
        ahead = beta * (1.0 - 0.5 * power(0.96, (now.step + 1) * decay))
        product = entry(self._products, now.step)
        fresh, kept = (1.0 - momentum) / (1.0 - product), ahead / (1.0 - product * ahead)
        return fresh, kept, 1.0 / self.corrections(now)[1]

    def direction(self, part: Part, mean: Expression, square: Expression, numbers: Sequence[Expression]) -> Expression:
        fresh, kept, correction = numbers
        return (mean * kept + part.update * fresh) / (emit("Sqrt", square * correction) + self.epsilon)


def _products(beta: float, decay: float) -> np.ndarray:
    """The products of the momenta of the first 0, 1, 2, ... steps, up to where they vanish beside 1."""
    count = 2 if beta <= 0 else int(np.ceil(np.log(1e-17) / np.log(beta))) + 1
    momenta = beta * (1 - 0.5 * 0.96 ** (np.arange(1, count) * decay))
    return np.concatenate([[1.0], np.cumprod(momenta)])


class ScaleByRAdam(_TwoMoments):
    """As Adam once enough steps tell the variance, rectified for how many; before, the mean alone."""

    def further(self, now: Moment) -> Sequence[Any]:
        first, second = self.corrections(now)
        longest = 2 / (1 - self.betas[1]) - 1
        length = longest - 2.0 * now.step * (1.0 - second) / second
        rectified = root((length - 4.0) * (length - 2.0) * longest / ((longest - 4) * (longest - 2) * length))
        return above(length, 5.0, 0.0, 1.0 / first), above(length, 5.0, rectified * root(second) / first, 0.0)

    def direction(self, part: Part, mean: Expression, square: Expression, numbers: Sequence[Expression]) -> Expression:
        plain, rectified = numbers
        return mean * plain + mean / (emit("Sqrt", square) + self.epsilon) * rectified


class _AdamKin(Optimizer):
    """An optimizer of one of the transforms above, with decay in the gradient or apart from it."""

    decoupled: ClassVar[bool] = False

    def __init__(self, learning_rate: float, scale: _TwoMoments, weight_decay: float, decoupled: bool) -> None:
        name = type(self).__name__
        at_least_zero(name, "weight_decay", weight_decay)
        self.betas, self.epsilon = scale.betas, scale.epsilon
        decay = [AddDecayedWeights(weight_decay)] if weight_decay and not decoupled else []
        super().__init__(learning_rate, *decay, scale, Descend(weight_decay if decoupled else 0.0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.learning_rate}, betas={self.betas})"


class Adam(_AdamKin):
    """Adam (Kingma & Ba, 2015); ``weight_decay`` is added to the gradient."""

    def __init__(
        self,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        betas, epsilon = two_shares(type(self).__name__, betas), at_least_zero(type(self).__name__, "epsilon", epsilon)
        super().__init__(learning_rate, ScaleByAdam(betas, epsilon, amsgrad), weight_decay, self.decoupled)


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter, 2019): p -= learning_rate * decay * p."""

    decoupled = True

    def __init__(
        self,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(learning_rate, betas, epsilon, weight_decay, amsgrad)


class NAdam(_AdamKin):
    """Adam with Nesterov's momentum (Dozat, 2016); ``decoupled`` keeps the decay apart from the gradient."""

    def __init__(
        self,
        learning_rate: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled: bool = False,
    ) -> None:
        betas, epsilon = two_shares("NAdam", betas), at_least_zero("NAdam", "epsilon", epsilon)
        super().__init__(learning_rate, ScaleByNAdam(betas, epsilon, momentum_decay), weight_decay, decoupled)


class RAdam(_AdamKin):
    """Adam that rectifies the variance of its first steps (Liu et al., 2020), so that it needs no warm-up."""

    def __init__(
        self,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        betas, epsilon = two_shares("RAdam", betas), at_least_zero("RAdam", "epsilon", epsilon)
        super().__init__(learning_rate, ScaleByRAdam(betas, epsilon), weight_decay, decoupled)
