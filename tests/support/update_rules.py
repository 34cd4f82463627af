"""How optimizers move one parameter, stated in numpy: what the toolkit's steps are judged by without PyTorch.

A rule takes the parameter, its gradient, the slots it keeps (a dict, empty before the first step) and the number of the
step, counted from 1; it returns the moved parameter. Settings carry PyTorch's names, so that both judges take the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Rule = Callable[[np.ndarray, np.ndarray, dict[str, Any], int], np.ndarray]


def sgd(
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: dict[str, Any], number: int) -> np.ndarray:
        g = g + weight_decay * p
        if not momentum:
            return p - lr * g
        m = slots["m"] = g if number == 1 else momentum * slots["m"] + (1 - dampening) * g
        return p - lr * (g + momentum * m if nesterov else m)

    return step


def adam(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: dict[str, Any], number: int) -> np.ndarray:
        g = g + weight_decay * p
        m = slots["m"] = betas[0] * slots.get("m", 0.0) + (1 - betas[0]) * g
        v = slots["v"] = betas[1] * slots.get("v", 0.0) + (1 - betas[1]) * g * g
        return p - lr * (m / (1 - betas[0] ** number)) / (np.sqrt(v / (1 - betas[1] ** number)) + eps)

    return step


def adamw(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> Rule:
    undecayed = adam(lr, betas, eps)

    def step(p: np.ndarray, g: np.ndarray, slots: dict[str, Any], number: int) -> np.ndarray:
        return undecayed(p - lr * weight_decay * p, g, slots, number)

    return step


RULES: dict[str, Callable[..., Rule]] = {"SGD": sgd, "Adam": adam, "AdamW": adamw}  # by their names in torch.optim
