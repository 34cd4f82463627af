"""Optimizer steps for any number of parameters at once: SGDUpdate and AdamUpdate, with the arithmetic of PyTorch.

Hyperparameters come as one float32 vector, so a schedule changes numbers, not the program. Half-width parameters are
updated in float32, because the scalars are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.record import TensorType, not_differentiable, operator

Groups = list[Sequence[Any]]


def _groups(tensors: Sequence[Any], count: int) -> Groups:
    """The tensors in groups of ``count``: parameters, gradients, then one group per slot."""
    return [tensors[start : start + count] for start in range(0, len(tensors), count)]


def _sgd_update(
    scalars: np.ndarray, *tensors: np.ndarray, count: int, momentum: int = 0, nesterov: int = 0
) -> tuple[np.ndarray, ...]:
    """scalars [lr, momentum, dampening, weight_decay]; p, g [, m] -> p [, m]."""
    rate, decay, dampening, weight_decay = scalars
    parameters, grads, *slots = _groups(tensors, count)
    moved, velocities = [], []
    for index, (p, g) in enumerate(zip(parameters, grads, strict=True)):
        step = g + weight_decay * p if weight_decay else g
        if momentum:
            velocity = decay * slots[0][index] + (1 - dampening) * step
            velocities.append(velocity)
            step = step + decay * velocity if nesterov else velocity
        moved.append(p - rate * step)
    return _typed([*moved, *velocities], [*parameters, *(slots[0] if momentum else ())])


def _adam_update(scalars: np.ndarray, *tensors: np.ndarray, count: int, decoupled: int = 0) -> tuple[np.ndarray, ...]:
    """scalars [lr, beta1, beta2, epsilon, weight_decay, 1 - beta1^t, 1 - beta2^t]; p, g, m, v -> p, m, v."""
    rate, beta1, beta2, epsilon, weight_decay, correction1, correction2 = scalars
    parameters, grads, means, squares = _groups(tensors, count)
    moved, new_means, new_squares = [], [], []
    for p, g, m, v in zip(parameters, grads, means, squares, strict=True):
        step = g if decoupled else g + weight_decay * p
        mean, square = beta1 * m + (1 - beta1) * step, beta2 * v + (1 - beta2) * step * step
        kept = p * (1 - rate * weight_decay) if decoupled else p
        moved.append(kept - rate / correction1 * mean / (np.sqrt(square / correction2) + epsilon))
        new_means.append(mean)
        new_squares.append(square)
    return _typed([*moved, *new_means, *new_squares], [*parameters, *means, *squares])


def _typed(results: Sequence[Any], like: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(item, dtype=model.dtype) for item, model in zip(results, like, strict=True))


def _infer_sgd(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    slots = 1 if attributes.get("momentum", 0) else 0
    groups = _checked(inputs, int(attributes["count"]), scalars=4, groups=2 + slots)
    return [item for group in (groups[0], *groups[2:]) for item in group]


def _infer_adam(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    groups = _checked(inputs, int(attributes["count"]), scalars=7, groups=4)
    return [item for group in (groups[0], *groups[2:]) for item in group]


def _checked(inputs: Sequence[TensorType | None], count: int, scalars: int, groups: int) -> Groups:
    first, *tensors = inputs
    if first is None or first[1] != (scalars,):
        raise ShapeError(f"scalars must be a vector of {scalars} numbers, got {None if first is None else first[1]}")
    if len(tensors) != count * groups or any(item is None for item in tensors):
        raise ShapeError(f"{count} parameters take {count * groups} tensors in {groups} groups, got {len(tensors)}")
    found = _groups(tensors, count)
    for group in found[1:]:
        for parameter, item in zip(found[0], group, strict=True):
            if item[1] != parameter[1]:
                raise ShapeError(f"a parameter of shape {parameter[1]} came with a tensor of shape {item[1]}")
    return found


STEP = not_differentiable("an optimizer step ends a training iteration; nothing is learned through it")

operator("SGDUpdate", domain=TOOLKIT_DOMAIN, reference=_sgd_update, gradient=STEP, infer=_infer_sgd)
operator("AdamUpdate", domain=TOOLKIT_DOMAIN, reference=_adam_update, gradient=STEP, infer=_infer_adam)
