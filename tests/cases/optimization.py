"""Cases of ``operators.standard.optimization``; ``test_optimization.py`` compares steps with PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, constant, uniform

SHAPES = [("N", 3), (4,)]
ADAM = constant([0.1, 0.9, 0.99, 1e-8, 0.01, 1 - 0.9**2, 1 - 0.99**2])


def tensors(groups: int) -> list[Any]:
    """Parameters, gradients and slots; the last group is positive, as squares are."""
    return [uniform(*shape, low=0.1 if group == 3 else -2) for group in range(groups) for shape in SHAPES]


def judge_sgd(scalars: Any, *given: Any, count: int, momentum: int, nesterov: int) -> Any:
    """One parameter at a time, in float64."""
    rate, decay, dampening, weight_decay = (float(item) for item in scalars)
    moved, slots = [], []
    for index in range(count):
        p, g = given[index].astype(np.float64), given[count + index].astype(np.float64)
        g = g + weight_decay * p
        if momentum:
            slots.append(decay * given[2 * count + index] + (1 - dampening) * g)
            g = g + decay * slots[-1] if nesterov else slots[-1]
        moved.append(p - rate * g)
    return tuple(item.astype(np.float32) for item in (*moved, *slots))


def judge_adam(scalars: Any, *given: Any, count: int, decoupled: int) -> Any:
    """One parameter at a time, in float64."""
    rate, beta1, beta2, epsilon, weight_decay, correction1, correction2 = (float(item) for item in scalars)
    moved, means, squares = [], [], []
    for index in range(count):
        p, g, m, v = (given[group * count + index].astype(np.float64) for group in range(4))
        if decoupled:
            p = p - rate * weight_decay * p
        else:
            g = g + weight_decay * p
        means.append(beta1 * m + (1 - beta1) * g)
        squares.append(beta2 * v + (1 - beta2) * g**2)
        moved.append(p - rate * (means[-1] / correction1) / ((squares[-1] / correction2) ** 0.5 + epsilon))
    return tuple(item.astype(np.float32) for item in (*moved, *means, *squares))


def sgd(momentum: int, nesterov: int) -> Case:
    """A step of gradient descent."""
    return Case(
        "SGDUpdate",
        [constant([0.1, 0.9, 0.0 if nesterov else 0.2, 0.01]), *tensors(3 if momentum else 2)],
        {"count": 2, "momentum": momentum, "nesterov": nesterov},
        version=1,
        domain="toolkit",
        outputs=4 if momentum else 2,
        judge=judge_sgd,
        note=f"momentum {momentum} nesterov {nesterov}",
    )


CASES = [
    sgd(0, 0),
    sgd(1, 0),
    sgd(1, 1),
    *(
        Case(
            "AdamUpdate",
            [ADAM, *tensors(4)],
            {"count": 2, "decoupled": decoupled},
            version=1,
            domain="toolkit",
            outputs=6,
            judge=judge_adam,
            note=f"decoupled {decoupled}",
        )
        for decoupled in (0, 1)
    ),
]
