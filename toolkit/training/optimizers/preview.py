"""ONNX's own optimizers, ai.onnx.preview.training: the meaning of its Adagrad, Adam and Momentum operators.

They differ from PyTorch's in where epsilon stands, in how decay enters, and in counting the steps done before (T = 0
in the first one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.errors import TrainingError
from toolkit.operators.expression import Expression, emit
from toolkit.runtime.update_part import Part
from toolkit.training.optimizers.adaptive import ScaleBySumOfSquares
from toolkit.training.optimizers.numbers import (
    Moment,
    above,
    at_least_zero,
    finite,
    mean_of,
    mean_square_of,
    power,
    root,
    running,
    running_square,
    share,
)
from toolkit.training.optimizers.transform import AddDecayedWeights, Descend, Optimizer, Transform


def _regularised(name: str, coefficient: float) -> list[Transform]:
    return [AddDecayedWeights(coefficient)] if at_least_zero(name, "norm_coefficient", coefficient) else []


class OnnxAdagrad(Optimizer):
    """r = rate / (1 + T * decay_factor); h += g^2; x -= r * g / (sqrt(h) + epsilon); g includes the decay."""

    def __init__(
        self,
        learning_rate: float = 1e-2,
        decay_factor: float = 0.0,
        epsilon: float = 1e-6,
        norm_coefficient: float = 0.0,
    ) -> None:
        scale = ScaleBySumOfSquares(0.0, epsilon, decay_factor)
        super().__init__(learning_rate, *_regularised("OnnxAdagrad", norm_coefficient), scale)


class _ScaleByPreviewAdam(Transform):
    slots = ("first_moment", "second_moment")

    def __init__(self, alpha: float, beta: float, epsilon: float) -> None:
        self.alpha, self.beta = share("OnnxAdam", "alpha", alpha), share("OnnxAdam", "beta", beta)
        self.epsilon = at_least_zero("OnnxAdam", "epsilon", epsilon)

    def numbers(self, now: Moment) -> Sequence[Any]:
        done = now.step - 1.0
        # in the first step, where the quotient would be 0 / 0, the rate stays
        past = above(done, 0.0, 1.0 * done, 1.0)
        corrected = root(1.0 - power(self.beta, past)) / (1.0 - power(self.alpha, past))
        return above(done, 0.0, corrected, 1.0), *running(self.alpha), *running_square(self.beta)

    def update(self, part: Part) -> Expression:
        corrected, *numbers = part.numbers
        mean = part.keep("first_moment", mean_of(part.update, part.slot("first_moment"), numbers[:2]))
        square = mean_square_of(part.update, part.slot("second_moment"), numbers[2:])
        square = part.keep("second_moment", square)
        return mean / (emit("Sqrt", square) + self.epsilon) * corrected


class _DescendAndShrink(Descend):
    """p = (1 - shrink) * (p - rate * update)."""

    def __init__(self, shrink: float) -> None:
        super().__init__()
        self.shrink = shrink

    def numbers(self, now: Moment) -> Sequence[Any]:
        kept = 1.0 - self.shrink * now.decay
        return (*super().numbers(now), kept) if self.shrink else super().numbers(now)

    def update(self, part: Part) -> Expression:
        moved = part.update * part.numbers[0] + part.parameter
        part.move(moved * part.numbers[1] if self.shrink else moved)
        return part.update


class OnnxAdam(Optimizer):
    """Adam as ONNX defines it: the rate carries the corrections, those of the steps before this one."""

    def __init__(
        self,
        learning_rate: float = 1e-3,
        alpha: float = 0.9,
        beta: float = 0.999,
        epsilon: float = 1e-6,
        norm_coefficient: float = 0.0,
        norm_coefficient_post: float = 0.0,
    ) -> None:
        after = at_least_zero("OnnxAdam", "norm_coefficient_post", norm_coefficient_post)
        before = _regularised("OnnxAdam", norm_coefficient)
        super().__init__(learning_rate, *before, _ScaleByPreviewAdam(alpha, beta, epsilon), _DescendAndShrink(after))


class _PreviewMomentum(Transform):
    slots = ("momentum",)

    def __init__(self, alpha: float, beta: float, nesterov: bool) -> None:
        self.alpha, self.beta, self.nesterov = alpha, beta, nesterov

    def numbers(self, now: Moment) -> Sequence[Any]:
        return self.alpha, above(now.step, 1.0, self.beta, 1.0)

    def update(self, part: Part) -> Expression:
        alpha, fresh = part.numbers
        velocity = part.keep("momentum", part.slot("momentum") * alpha + part.update * fresh)
        return velocity * alpha + part.update if self.nesterov else velocity


class OnnxMomentum(Optimizer):
    """v = alpha * v + beta * g, beta 1 at first; x -= rate * v, in mode ``nesterov`` x -= rate * (g + alpha * v)."""

    def __init__(
        self,
        learning_rate: float,
        alpha: float = 0.9,
        beta: float = 1.0,
        mode: str = "standard",
        norm_coefficient: float = 0.0,
    ) -> None:
        if mode not in ("standard", "nesterov"):
            raise TrainingError(f"OnnxMomentum: mode requires 'standard' or 'nesterov', got {mode!r}.")
        alpha, beta = finite("OnnxMomentum", "alpha", alpha), finite("OnnxMomentum", "beta", beta)
        trace = _PreviewMomentum(alpha, beta, mode == "nesterov")
        super().__init__(learning_rate, *_regularised("OnnxMomentum", norm_coefficient), trace)
