"""Optimizers: descriptions of how gradients change parameters, with PyTorch's meaning and defaults.

The update itself is an operator of the toolkit's domain (``SGDUpdate``, ``AdamUpdate``) that runs inside the compiled
step; what varies from step to step reaches it as a small vector of scalars, so no step needs another plan.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from toolkit.errors import TrainingError
from toolkit.operators.expression import Expression, emit, where


class Optimizer(ABC):
    """``operator`` and ``attributes`` name the update; ``slots`` are the tensors it keeps for each parameter.

    ``learning_rate`` may be set at any time and holds from the next step on.
    """

    operator: ClassVar[str]
    slots: tuple[str, ...]

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = _at_least_zero(self, "learning_rate", value)

    @property
    @abstractmethod
    def attributes(self) -> dict[str, Any]:
        """The attributes of the update operator, ``count`` aside."""

    @abstractmethod
    def scalars(self, step: int) -> np.ndarray:
        """The float32 vector for one step, the learning rate first; ``step`` counts from 1."""

    def expressions(self, rate: Expression, step: Expression) -> list[Expression | float]:
        """``scalars`` as a graph computes them, from the learning rate and the step (float64 both)."""
        raise TrainingError(
            f"{type(self).__name__} does not say how a graph computes its scalars, so its step cannot be exported. "
            "Define expressions(rate, step), or export the gradients alone: optimizer=None."
        )


class SGD(Optimizer):
    """Stochastic gradient descent.

    g += weight_decay * p; m = momentum * m + (1 - dampening) * g; p -= learning_rate * m.

    The first step sets m = g, undampened. ``nesterov`` steps along g + momentum * m. Without momentum there is no m.
    """

    operator = "SGDUpdate"

    def __init__(
        self,
        learning_rate: float,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(learning_rate)
        self.momentum = _at_least_zero(self, "momentum", momentum)
        self.dampening = _finite(self, "dampening", dampening)
        self.weight_decay = _at_least_zero(self, "weight_decay", weight_decay)
        self.nesterov = bool(nesterov)
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise TrainingError(
                f"SGD: nesterov requires a momentum above 0 and no dampening, got momentum={momentum} and "
                f"dampening={dampening}. Set momentum=0.9, or leave nesterov out."
            )
        self.slots = ("momentum",) if self.momentum else ()

    @property
    def attributes(self) -> dict[str, Any]:
        return {"momentum": int(bool(self.momentum)), "nesterov": int(self.nesterov)}

    def scalars(self, step: int) -> np.ndarray:
        dampening = 0.0 if step == 1 else self.dampening
        return np.array([self.learning_rate, self.momentum, dampening, self.weight_decay], np.float32)

    def expressions(self, rate: Expression, step: Expression) -> list[Expression | float]:
        dampening = where(emit("Greater", step, 1.0), self.dampening, rate * 0.0) if self.dampening else 0.0
        return [rate, self.momentum, dampening, self.weight_decay]

    def __repr__(self) -> str:
        return f"SGD({self.learning_rate}, momentum={self.momentum})"


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015); ``weight_decay`` is added to the gradient."""

    operator = "AdamUpdate"
    decoupled: ClassVar[bool] = False
    slots = ("first_moment", "second_moment")

    def __init__(
        self,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise TrainingError(
                f"{type(self).__name__}: betas requires two numbers in [0, 1), got {betas!r}. Usual are (0.9, 0.999)."
            )
        self.betas = (float(betas[0]), float(betas[1]))
        self.epsilon = _at_least_zero(self, "epsilon", epsilon)
        self.weight_decay = _at_least_zero(self, "weight_decay", weight_decay)

    @property
    def attributes(self) -> dict[str, Any]:
        return {"decoupled": int(self.decoupled)}

    def scalars(self, step: int) -> np.ndarray:
        first, second = self.betas
        corrections = (1 - first**step, 1 - second**step)
        return np.array([self.learning_rate, first, second, self.epsilon, self.weight_decay, *corrections], np.float32)

    def expressions(self, rate: Expression, step: Expression) -> list[Expression | float]:
        corrections = [1.0 - emit("Pow", np.asarray(beta), step) for beta in self.betas]
        return [rate, *self.betas, self.epsilon, self.weight_decay, *corrections]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.learning_rate}, betas={self.betas})"


class AdamW(Adam):
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter, 2019): p -= learning_rate * decay * p."""

    decoupled = True

    def __init__(
        self,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(learning_rate, betas, epsilon, weight_decay)


def _finite(optimizer: Optimizer, name: str, value: Any) -> float:
    if not isinstance(value, (int, float, np.number)) or isinstance(value, bool) or not math.isfinite(value):
        raise TrainingError(
            f"{type(optimizer).__name__}: {name} requires a finite number, got {value!r}. Pass a float such as 0.001."
        )
    return float(value)


def _at_least_zero(optimizer: Optimizer, name: str, value: Any) -> float:
    number = _finite(optimizer, name, value)
    if number < 0:
        raise TrainingError(f"{type(optimizer).__name__}: {name} requires 0 or more, got {value}. Drop the sign.")
    return number
