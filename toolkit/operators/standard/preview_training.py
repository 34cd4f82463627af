"""Adagrad, Adam and Momentum of ai.onnx.preview.training: one optimizer step for any number of tensors at once.

Inputs are the rate R, the count T of steps done before, and groups of equal length: tensors, gradients, accumulators.
Outputs are the new tensors, then the new accumulators. The toolkit's own trainer uses ``optimization`` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.operators.record import Inference, Reference, TensorType, not_differentiable, operator

DOMAIN = "ai.onnx.preview.training"
Step = Callable[..., tuple[np.ndarray, ...]]  # (rate, count, x, gradient, accumulators...) -> x, accumulators...


def _for_each(step: Step, tensors: Sequence[np.ndarray], groups: int) -> tuple[np.ndarray, ...]:
    """``step`` on each tensor with its companions; the results group by group, in the types of what they replace."""
    count = len(tensors) // groups
    rows = [tensors[index::count] for index in range(count)]
    results = [
        [np.asarray(item, model.dtype, like=model) for item, model in zip(step(*row), (row[0], *row[2:]), strict=True)]
        for row in rows
    ]
    return tuple(item for group in zip(*results, strict=True) for item in group)


def _number(x: np.ndarray) -> float:
    return float(x.reshape(-1)[0])


def adagrad(
    rate: np.ndarray,
    count: np.ndarray,
    *tensors: np.ndarray,
    decay_factor: float = 0.0,
    epsilon: float = 1e-6,
    norm_coefficient: float = 0.0,
) -> tuple[np.ndarray, ...]:
    """Steps divided by the root of all squared gradients so far."""
    r = _number(rate) / (1 + _number(count) * decay_factor)

    def step(x: np.ndarray, g: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, ...]:
        g = g + norm_coefficient * x
        squares = squares + g * g
        return x - r * g / (np.sqrt(squares) + epsilon), squares

    return _for_each(step, tensors, 3)


def adam(
    rate: np.ndarray,
    count: np.ndarray,
    *tensors: np.ndarray,
    alpha: float = 0.9,
    beta: float = 0.999,
    epsilon: float = 1e-6,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> tuple[np.ndarray, ...]:
    """Steps along the running mean of gradients, divided by the root of the running mean of their squares."""
    r, t = _number(rate), _number(count)
    if t > 0:
        r = r * np.sqrt(1 - beta**t) / (1 - alpha**t)

    def step(x: np.ndarray, g: np.ndarray, mean: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, ...]:
        g = g + norm_coefficient * x
        mean = alpha * mean + (1 - alpha) * g
        squares = beta * squares + (1 - beta) * g * g
        moved = x - r * mean / (np.sqrt(squares) + epsilon)
        return (1 - norm_coefficient_post) * moved, mean, squares

    return _for_each(step, tensors, 4)


def momentum(
    rate: np.ndarray,
    count: np.ndarray,
    *tensors: np.ndarray,
    alpha: float,
    beta: float,
    mode: str,
    norm_coefficient: float,
) -> tuple[np.ndarray, ...]:
    """Steps along a decaying sum of gradients; ``mode`` is ``standard`` or ``nesterov``."""
    r = _number(rate)
    share = beta if _number(count) > 0 else 1.0

    def step(x: np.ndarray, g: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, ...]:
        g = g + norm_coefficient * x
        velocity = alpha * velocity + share * g
        return x - r * (g + alpha * velocity if mode == "nesterov" else velocity), velocity

    return _for_each(step, tensors, 3)


def _infer(groups: int) -> Inference:
    """Tensors and accumulators keep their types. Raises ``ValueError`` where a companion has another shape."""

    def infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
        if attributes.get("mode", "standard") not in ("standard", "nesterov"):
            raise ValueError(f"mode must be 'standard' or 'nesterov', got {attributes['mode']!r}")
        rate, count, *tensors = (item for item in types if item is not None)
        if rate[1] not in ((), (1,)) or count[1] not in ((), (1,)):
            raise ValueError(f"R and T must be numbers, got the shapes {rate[1]} and {count[1]}")
        number, rest = divmod(len(tensors), groups)
        if rest or not number:
            raise ValueError(f"the tensors must come in {groups} groups of equal length, got {len(tensors)} of them")
        for index, item in enumerate(tensors):
            if item[1] != tensors[index % number][1]:
                raise ValueError(f"a tensor of shape {tensors[index % number][1]} came with one of shape {item[1]}")
        return [*tensors[:number], *tensors[2 * number :]]

    return infer


STEP = not_differentiable("an optimizer step ends a training iteration; nothing is learned through it")
_STEPS: tuple[tuple[str, Reference, int], ...] = (("Adagrad", adagrad, 3), ("Adam", adam, 4), ("Momentum", momentum, 3))
for _name, _reference, _groups in _STEPS:
    operator(_name, domain=DOMAIN, reference=_reference, gradient=STEP, infer=_infer(_groups))
