"""Optimizers that weigh whole tensors: LAMB by the ratio of norms, Adafactor by rows and columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import TrainingError
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, indices, where
from toolkit.runtime.update_part import Part
from toolkit.training.optimizers.adam import ScaleByAdam
from toolkit.training.optimizers.numbers import (
    Moment,
    above_zero,
    at_least_zero,
    finite,
    least,
    power,
    root,
    two_shares,
)
from toolkit.training.optimizers.transform import AddDecayedWeights, Descend, Optimizer, SlotShape, Transform


def norm(x: Expression) -> Expression:
    """The Euclidean norm of a whole tensor, a scalar of its type (float32 for half-width ones)."""
    return emit("Sqrt", emit("SumOfSquares", x, domain=TOOLKIT_DOMAIN))


class ScaleByTrustRatio(Transform):
    """update * norm(parameter) / norm(update), tensor by tensor; a ratio of 1 where either norm is 0."""

    is_elementwise = False

    def update(self, part: Part) -> Expression:
        own, other = norm(part.parameter), norm(part.update)
        both = emit("Greater", own * other, 0.0)
        ratio = where(both, own / where(both, other, 1.0), 1.0)
        return part.update * emit("CastLike", ratio, part.update)


class LAMB(Optimizer):
    """LAMB (You et al., 2020): Adam's step with decay, scaled tensor by tensor to the size of the parameter.

    For large batches. Exempt biases and norms from decay as usual: ``select(...).weight_decay(0)``.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        self.betas = two_shares("LAMB", betas)
        at_least_zero("LAMB", "epsilon", epsilon)
        at_least_zero("LAMB", "weight_decay", weight_decay)
        decay = [AddDecayedWeights(weight_decay)] if weight_decay else []
        super().__init__(learning_rate, ScaleByAdam(self.betas, epsilon), *decay, ScaleByTrustRatio())

    def __repr__(self) -> str:
        return f"LAMB({self.learning_rate}, betas={self.betas})"


class ScaleByFactors(Transform):
    """Adafactor's direction: squares are remembered by rows and columns of the last two axes, of vectors in full.

    Clipped to a root mean square of ``clip``, and scaled by that of the parameter (at least ``epsilon[1]``).
    """

    is_elementwise = False
    slots = ("row_squares", "column_squares")

    def __init__(self, decay: float, epsilon: tuple[float | None, float], clip: float) -> None:
        self.decay, self.epsilon, self.clip = decay, epsilon, clip

    def slot_shapes(self) -> dict[str, SlotShape | None]:
        return {"row_squares": _of_rows, "column_squares": _of_columns}

    def numbers(self, now: Moment) -> Sequence[Any]:
        return (power(1.0 * now.step, self.decay),)

    def update(self, part: Part) -> Expression:
        update, smallest = part.update, self.epsilon[0] or float(np.finfo(part.update.dtype).eps)
        fresh = part.numbers[0]
        variance = self._variance(part, fresh, smallest)
        found = update / emit("Sqrt", emit("Max", variance, smallest * smallest))
        size = math.sqrt(update.variable.size)
        excess = emit("Max", norm(found) / (size * self.clip), 1.0)
        scale = emit("Max", norm(part.parameter) / size, self.epsilon[1])
        return found * emit("CastLike", scale / excess, found)

    def _variance(self, part: Part, fresh: Expression, smallest: float) -> Expression:
        rows, squares = part.slot("row_squares"), part.update * part.update
        if part.update.ndim < 2:
            return part.keep("row_squares", (squares - rows) * fresh + rows)
        columns = part.slot("column_squares")
        rows = part.keep("row_squares", (_mean(squares, -1) - rows) * fresh + rows)
        columns = part.keep("column_squares", (_mean(squares, -2) - columns) * fresh + columns)
        return rows * columns / emit("Max", _mean(rows, -2), smallest)


def _of_rows(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-1], 1) if len(shape) > 1 else shape


def _of_columns(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], 1, shape[-1]) if len(shape) > 1 else ()


def _mean(x: Expression, axis: int) -> Expression:
    return emit("ReduceMean", x, indices(x, [axis]), keepdims=1)


class _DescendSlower(Descend):
    """Descend by the rate or by 1 / sqrt(step), whichever is less."""

    def step_size(self, now: Moment) -> Any:
        return least(now.rate, 1.0 / root(1.0 * now.step))


class Adafactor(Optimizer):
    """Adafactor (Shazeer & Stern, 2018), as PyTorch has it: memory for rows and columns of a matrix instead of all.

    ``decay`` is the power of the step with which old squares fade; ``epsilon`` bounds squares (``None``: the precision
    of the type) and the size of the parameter from below; ``clip`` bounds the root mean square of a step.
    """

    def __init__(
        self,
        learning_rate: float = 1e-2,
        decay: float = -0.8,
        epsilon: tuple[float | None, float] = (None, 1e-3),
        clip: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        if finite("Adafactor", "decay", decay) > 0:
            raise TrainingError(f"Adafactor: decay requires a power of 0 or less, got {decay}. Usual is -0.8.")
        if not isinstance(epsilon, tuple) or len(epsilon) != 2:
            raise TrainingError(f"Adafactor: epsilon requires two numbers, got {epsilon!r}. Usual are (None, 1e-3).")
        if epsilon[0] is not None:
            above_zero("Adafactor", "epsilon[0]", epsilon[0])
        at_least_zero("Adafactor", "epsilon[1]", epsilon[1])
        at_least_zero("Adafactor", "weight_decay", weight_decay)
        scale = ScaleByFactors(decay, epsilon, above_zero("Adafactor", "clip", clip))
        super().__init__(learning_rate, scale, _DescendSlower(weight_decay))

    def __repr__(self) -> str:
        return f"Adafactor({self.learning_rate})"
