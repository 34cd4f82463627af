"""The plan of a training step, with the numbers that are handed to it before it updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from toolkit.backends.protocol import Step
from toolkit.compiler.settled import Settled
from toolkit.graph.parameter import Parameter
from toolkit.runtime.plan import Plan
from toolkit.runtime.step_result import Results
from toolkit.runtime.tensors import Task
from toolkit.runtime.updates import Optimizer


class LossScale(Protocol):
    """By how much gradients are enlarged against underflow; ``toolkit.training.loss_scale`` has them."""

    @property
    def value(self) -> float: ...

    def succeeded(self) -> None: ...

    def overflowed(self) -> bool: ...


@dataclass(frozen=True)
class StepPlan:
    """A plan, what it trains, the running ``statistics`` it moves, and the factors of its groups on rate and decay.

    ``guard`` are steps that have a status where the loss or a gradient is not finite, so that a step is one run;
    ``None`` where whoever runs it has to look before it updates.
    """

    plan: Plan
    trained: list[Parameter]
    statistics: list[Parameter]
    multipliers: list[tuple[float, float]]
    guard: list[Step] | None
    results: Results = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "results", Results(self.plan))

    @property
    def kept(self) -> list[Parameter]:
        return [*self.trained, *self.statistics]

    @property
    def settled(self) -> Settled:
        """The parameters that it takes for constant."""
        return self.plan.settled

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


def first_non_finite(plan: Plan, roles: Sequence[str]) -> str:
    """Execute once more, step by step, up to the first layer that writes NaN or infinity; returns which it is."""
    found: list[str] = []

    def look(task: Task) -> bool:
        if task.node is None:  # a copy, which makes nothing
            return False
        written = [array for array in plan.output_bytes(task) if array.dtype.kind == "f"]
        if not all(np.isfinite(array).all() for array in written):
            found.append(f"{task.operator} {task.layer!r}")
        return bool(found)

    plan.observe(roles, look)
    return found[0] if found else "unknown"
