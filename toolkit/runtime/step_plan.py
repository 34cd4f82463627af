"""The plan of a training step, with the numbers that are handed to it before it updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from toolkit.graph.parameter import Parameter
from toolkit.runtime.plan import Plan
from toolkit.runtime.updates import Optimizer


class LossScale(Protocol):
    """By how much gradients are enlarged against underflow; ``toolkit.training.loss_scale`` has them."""

    @property
    def value(self) -> float: ...

    def succeeded(self) -> None: ...

    def overflowed(self) -> bool: ...


@dataclass(frozen=True)
class StepPlan:
    """A plan, what it trains, the running ``statistics`` it moves, and the factors of its groups on rate and decay."""

    plan: Plan
    trained: list[Parameter]
    statistics: list[Parameter]
    multipliers: list[tuple[float, float]]

    @property
    def kept(self) -> list[Parameter]:
        return [*self.trained, *self.statistics]

    def load_numbers(self, optimizer: Optimizer, step: int, factor: float | None) -> None:
        """Hand each group its numbers, and the factor on its gradients where there is one."""
        for index, (rate, decay) in enumerate(self.multipliers):
            target, numbers = self.plan.input_arrays[f"scalars {index}"], optimizer.scalars(step, rate, decay)
            target[: len(numbers)] = numbers
            if factor is not None:
                target[-1] = factor

    def load_weights(self, kept: float, weight: float) -> None:
        """Say how much of what was gathered counts, and how much of the gradients at hand."""
        for index in range(len(self.multipliers)):
            self.plan.input_arrays[f"accumulation {index}"][:] = kept, weight
