"""Cases of ``toolkit.operators.standard.preview_training``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, constant, uniform

DOMAIN = "ai.onnx.preview.training"
MOMENTUM = {"alpha": 0.9, "beta": 0.7, "norm_coefficient": 0.01}


def inputs(count: int, groups: int, *, numbers: int = 2) -> list[Given]:
    """Rate, count of steps, and groups of tensors; the last group is positive, as squares are."""
    shapes = [("N", 3), (4,)][:numbers]
    tensors = [uniform(*shape, low=0.1 if group == groups - 1 else -2) for group in range(groups) for shape in shapes]
    return [constant(0.1), constant(count), *tensors]


def judge_adam(
    rate: Any,
    count: Any,
    *tensors: Any,
    alpha: float,
    beta: float,
    epsilon: float,
    norm_coefficient: float,
    norm_coefficient_post: float,
) -> Any:
    """One tensor, in float64; onnx.reference answers in float64 where the count is above 0."""
    x, g, mean, squares = (item.astype(np.float64) for item in tensors)
    g = norm_coefficient * x + g
    mean, squares = alpha * mean + (1 - alpha) * g, beta * squares + (1 - beta) * g**2
    step = rate * np.sqrt(1 - beta ** float(count)) / (1 - alpha ** float(count)) * mean / (np.sqrt(squares) + epsilon)
    return tuple(item.astype(np.float32) for item in ((1 - norm_coefficient_post) * (x - step), mean, squares))


CASES = [
    Case("Adagrad", inputs(0, 3), version=1, domain=DOMAIN, outputs=4),
    Case(
        "Adagrad",
        inputs(3, 3, numbers=1),
        {"decay_factor": 0.2, "norm_coefficient": 0.1, "epsilon": 1e-3},
        version=1,
        domain=DOMAIN,
        outputs=2,
        note="decay",
    ),
    Case("Adam", inputs(0, 4), version=1, domain=DOMAIN, outputs=6),
    Case(
        "Adam",
        inputs(5, 4, numbers=1),
        {"alpha": 0.8, "beta": 0.95, "epsilon": 1e-3, "norm_coefficient": 0.1, "norm_coefficient_post": 0.05},
        version=1,
        domain=DOMAIN,
        outputs=3,
        judge=judge_adam,
        note="decay",
    ),
    Case("Momentum", inputs(0, 3), {**MOMENTUM, "mode": "standard"}, version=1, domain=DOMAIN, outputs=4),
    Case(
        "Momentum",
        inputs(2, 3, numbers=1),
        {**MOMENTUM, "mode": "nesterov"},
        version=1,
        domain=DOMAIN,
        outputs=2,
        note="nesterov",
    ),
]
