"""Optimizer steps for any number of parameters at once: SGDUpdate and AdamUpdate, with the arithmetic of PyTorch.

Hyperparameters come as one float32 vector, so a schedule changes numbers, not the program. Half-width parameters are
updated in float32, because the scalars are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.record import Call, TensorType, not_differentiable, operator

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


def _operands(call: Call, count: int) -> tuple[list[Expression], list[list[Expression]]]:
    """The scalars one by one, and the tensors in groups, half-width ones as float32."""
    given = [item for item in call.inputs if item is not None]
    float32 = np.dtype(np.float32)
    scalars = [emit("Gather", given[0], np.asarray(index)) for index in range(given[0].shape[0])]
    wide = [item if item.dtype == np.float64 else cast(item, float32) for item in given[1:]]
    return scalars, [list(group) for group in _groups(wide, count)]


def _narrowed(results: Sequence[Expression], like: Sequence[Expression | None]) -> list[Expression | None]:
    return [cast(item, model.dtype) for item, model in zip(results, like, strict=True) if model is not None]


def _sgd_expansion(call: Call) -> list[Expression | None]:
    count, keeps, nesterov = (int(call.attribute(name, 0)) for name in ("count", "momentum", "nesterov"))
    scalars, (parameters, grads, *slots) = _operands(call, count)
    moved, velocities = [], []
    for index, (p, g) in enumerate(zip(parameters, grads, strict=True)):
        rate, decay, dampening, weight_decay = (cast(item, p.dtype) for item in scalars)
        step = g + weight_decay * p
        if keeps:
            velocity = decay * slots[0][index] + (1 - dampening) * step
            velocities.append(velocity)
            step = step + decay * velocity if nesterov else velocity
        moved.append(p - rate * step)
    like = call.inputs[1 : 1 + count] + (call.inputs[1 + 2 * count :] if keeps else [])
    return _narrowed([*moved, *velocities], like)


def _adam_expansion(call: Call) -> list[Expression | None]:
    count, decoupled = int(call.attributes["count"]), int(call.attribute("decoupled", 0))
    scalars, (parameters, grads, means, squares) = _operands(call, count)
    moved, new_means, new_squares = [], [], []
    for p, g, m, v in zip(parameters, grads, means, squares, strict=True):
        rate, beta1, beta2, epsilon, weight_decay, correction1, correction2 = (cast(item, p.dtype) for item in scalars)
        step = g if decoupled else g + weight_decay * p
        mean, square = beta1 * m + (1 - beta1) * step, beta2 * v + (1 - beta2) * step * step
        kept = p * (1 - rate * weight_decay) if decoupled else p
        moved.append(kept - rate / correction1 * mean / (emit("Sqrt", square / correction2) + epsilon))
        new_means.append(mean)
        new_squares.append(square)
    like = call.inputs[1 : 1 + count] + call.inputs[1 + 2 * count :]
    return _narrowed([*moved, *new_means, *new_squares], like)


STEP = not_differentiable("an optimizer step ends a training iteration; nothing is learned through it")

operator(
    "SGDUpdate",
    domain=TOOLKIT_DOMAIN,
    reference=_sgd_update,
    gradient=STEP,
    infer=_infer_sgd,
    expansion=_sgd_expansion,
)
operator(
    "AdamUpdate",
    domain=TOOLKIT_DOMAIN,
    reference=_adam_update,
    gradient=STEP,
    infer=_infer_adam,
    expansion=_adam_expansion,
)
