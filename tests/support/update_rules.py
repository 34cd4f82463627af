"""How optimizers move one parameter, stated in numpy: what the toolkit's steps are judged by without PyTorch.

A rule takes the parameter, its gradient, the slots it keeps (a dict, empty before the first step) and the number of the
step, counted from 1; it returns the moved parameter. Settings carry PyTorch's names where it has the optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Slots = dict[str, Any]
Rule = Callable[[np.ndarray, np.ndarray, Slots, int], np.ndarray]


def mean(slots: Slots, name: str, decay: float, value: Any) -> Any:
    """The running mean of ``value``, from zero."""
    slots[name] = decay * slots.get(name, 0.0) + (1 - decay) * value
    return slots[name]


def sgd(
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: Slots, number: int) -> np.ndarray:
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
    amsgrad: bool = False,
) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: Slots, number: int) -> np.ndarray:
        g = g + weight_decay * p
        m, v = mean(slots, "m", betas[0], g), mean(slots, "v", betas[1], g * g)
        if amsgrad:
            v = slots["largest"] = np.maximum(slots.get("largest", 0.0), v)
        return p - lr * (m / (1 - betas[0] ** number)) / (np.sqrt(v / (1 - betas[1] ** number)) + eps)

    return step


def decoupled(rule: Callable[..., Rule]) -> Callable[..., Rule]:
    """The same with its decay apart from the gradient."""

    def made(lr: float = 1e-3, weight_decay: float = 0.01, **settings: Any) -> Rule:
        undecayed = rule(lr, **settings)
        return lambda p, g, slots, number: undecayed(p - lr * weight_decay * p, g, slots, number)

    return made


def nadam(
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
) -> Rule:
    def momentum(number: int) -> float:
        return betas[0] * (1 - 0.5 * 0.96 ** (number * momentum_decay))

    def step(p: np.ndarray, g: np.ndarray, slots: Slots, number: int) -> np.ndarray:
        g = g + weight_decay * p
        product = slots["product"] = slots.get("product", 1.0) * momentum(number)
        m, v = mean(slots, "m", betas[0], g), mean(slots, "v", betas[1], g * g)
        ahead = momentum(number + 1)
        looked = ahead * m / (1 - product * ahead) + (1 - momentum(number)) * g / (1 - product)
        return p - lr * looked / (np.sqrt(v / (1 - betas[1] ** number)) + eps)

    return step


def radam(
    lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: Slots, number: int) -> np.ndarray:
        g = g + weight_decay * p
        m, v = mean(slots, "m", betas[0], g), mean(slots, "v", betas[1], g * g)
        corrected, second = m / (1 - betas[0] ** number), 1 - betas[1] ** number
        longest = 2 / (1 - betas[1]) - 1
        length = longest - 2 * number * betas[1] ** number / second
        if length <= 5:
            return p - lr * corrected
        ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        return p - lr * corrected * np.sqrt(ratio) * np.sqrt(second) / (np.sqrt(v) + eps)

    return step


def adagrad(
    lr: float = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: Slots, number: int) -> np.ndarray:
        g = g + weight_decay * p
        total = slots["sum"] = slots.get("sum", initial_accumulator_value) + g * g
        return p - lr / (1 + (number - 1) * lr_decay) * g / (np.sqrt(total) + eps)

    return step


def adadelta(lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: Slots, number: int) -> np.ndarray:
        g = g + weight_decay * p
        v = mean(slots, "v", rho, g * g)
        delta = np.sqrt(slots.get("d", 0.0) + eps) / np.sqrt(v + eps) * g
        mean(slots, "d", rho, delta * delta)
        return p - lr * delta

    return step


def rmsprop(
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: Slots, number: int) -> np.ndarray:
        g = g + weight_decay * p
        v = mean(slots, "v", alpha, g * g)
        if centered:
            v = v - mean(slots, "m", alpha, g) ** 2
        moved = slots["b"] = momentum * slots.get("b", 0.0) + g / (np.sqrt(v) + eps)
        return p - lr * moved

    return step


def lion(lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: Slots, number: int) -> np.ndarray:
        direction = np.sign(betas[0] * slots.get("m", 0.0) + (1 - betas[0]) * g)
        mean(slots, "m", betas[1], g)
        return p - lr * (direction + weight_decay * p)

    return step


def lamb(
    lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6, weight_decay: float = 0.01
) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: Slots, number: int) -> np.ndarray:
        m, v = mean(slots, "m", betas[0], g), mean(slots, "v", betas[1], g * g)
        moved = m / (1 - betas[0] ** number) / (np.sqrt(v / (1 - betas[1] ** number)) + eps) + weight_decay * p
        own, other = np.linalg.norm(p), np.linalg.norm(moved)
        return p - lr * (own / other if own > 0 and other > 0 else 1.0) * moved

    return step


def adafactor(
    lr: float = 1e-2,
    beta2_decay: float = -0.8,
    eps: tuple[float, float] = (float(np.finfo(np.float32).eps), 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
) -> Rule:
    def step(p: np.ndarray, g: np.ndarray, slots: Slots, number: int) -> np.ndarray:
        kept, size = 1 - number**beta2_decay, np.sqrt(p.size)
        alpha = max(eps[1], np.linalg.norm(p) / size) * min(lr, 1 / np.sqrt(number))
        p = p * (1 - lr * weight_decay)
        if p.ndim > 1:
            rows = mean(slots, "r", kept, (g * g).mean(-1, keepdims=True))
            columns = mean(slots, "c", kept, (g * g).mean(-2, keepdims=True))
            v = rows * columns / np.maximum(rows.mean(-2, keepdims=True), eps[0])
        else:
            v = mean(slots, "v", kept, g * g)
        moved = g / np.sqrt(np.maximum(v, eps[0] ** 2))
        return p - alpha / max(1.0, np.linalg.norm(moved) / (size * d)) * moved

    return step


def preview(operator: Callable[..., Any], lr: float, slots: int, **attributes: Any) -> Rule:
    """An operator of ai.onnx.preview.training as a rule."""

    def step(p: np.ndarray, g: np.ndarray, kept: Slots, number: int) -> np.ndarray:
        given = [kept.get(str(index), np.zeros_like(p)) for index in range(slots)]
        moved, *after = operator(np.asarray(lr), np.asarray(number - 1), p, g, *given, **attributes)
        kept.update((str(index), item) for index, item in enumerate(after))
        return moved

    return step


RULES: dict[str, Callable[..., Rule]] = {  # by their names in torch.optim, where it has them
    "SGD": sgd,
    "Adam": adam,
    "AdamW": decoupled(adam),
    "NAdam": nadam,
    "RAdam": radam,
    "Adagrad": adagrad,
    "Adadelta": adadelta,
    "RMSprop": rmsprop,
    "Lion": lion,
    "LAMB": lamb,
    "Adafactor": adafactor,
}
