"""Optimizer steps against their rules and against PyTorch: twenty steps from the same start with the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.update_rules import RULES
from toolkit.operators import lookup

STEPS = 20
SHAPES = [(3, 4), (5,)]
SGD: list[dict[str, Any]] = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.02},
    {"lr": 0.05, "momentum": 0.9},
    {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True},
]
ADAM: list[dict[str, Any]] = [
    {"lr": 0.01},
    {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6},
    {"lr": 0.01, "weight_decay": 0.1},
]


def start() -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """Parameters, and the gradients of every step."""
    random = np.random.default_rng(1)
    parameters = [random.normal(size=shape).astype(np.float32) for shape in SHAPES]
    return parameters, [[random.normal(size=shape).astype(np.float32) for shape in SHAPES] for _ in range(STEPS)]


def by_rule(name: str, **settings: Any) -> list[np.ndarray]:
    parameters, grads = start()
    rule, slots = RULES[name](**settings), [dict[str, Any]() for _ in parameters]
    for number, step in enumerate(grads, 1):
        parameters = [rule(p, g, kept, number) for p, g, kept in zip(parameters, step, slots, strict=True)]
    return parameters


def by_torch(name: str, **settings: Any) -> list[np.ndarray]:
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs PyTorch")
    parameters, grads = start()
    tensors = [torch.nn.Parameter(torch.tensor(item)) for item in parameters]
    made = getattr(torch.optim, name)(tensors, **settings)
    for step in grads:
        for tensor, grad in zip(tensors, step, strict=True):
            tensor.grad = torch.tensor(grad)
        made.step()
    return [tensor.detach().numpy() for tensor in tensors]


Judge = Callable[..., list[np.ndarray]]
judges = pytest.mark.parametrize("judge", [by_rule, by_torch])


def reference(name: str) -> Any:
    record = lookup("toolkit", name, 1)
    assert record is not None
    return record.reference


@judges
@pytest.mark.parametrize("settings", SGD, ids=str)
def test_sgd_update_follows_its_judge(settings: dict[str, Any], judge: Judge) -> None:
    parameters, grads = start()
    slots = [np.zeros_like(item) for item in parameters]
    momentum = settings.get("momentum", 0.0)
    scalars = np.array([settings["lr"], momentum, 0.0, settings.get("weight_decay", 0.0)], np.float32)
    flags = {"momentum": int(momentum > 0), "nesterov": int(settings.get("nesterov", False))}
    for step in grads:
        given = [*parameters, *step, *(slots if momentum else [])]
        found = list(reference("SGDUpdate")(scalars, *given, count=2, **flags))
        parameters, slots = found[:2], found[2:]
    for ours, theirs in zip(parameters, judge("SGD", **settings), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@judges
def test_sgd_update_with_dampening_follows_its_judge_after_an_undamped_first_step(judge: Judge) -> None:
    parameters, grads = start()
    slots = [np.zeros_like(item) for item in parameters]
    for number, step in enumerate(grads):
        scalars = np.array([0.05, 0.9, 0.3 if number else 0.0, 0.0], np.float32)
        found = list(reference("SGDUpdate")(scalars, *parameters, *step, *slots, count=2, momentum=1))
        parameters, slots = found[:2], found[2:]
    for ours, theirs in zip(parameters, judge("SGD", lr=0.05, momentum=0.9, dampening=0.3), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@judges
@pytest.mark.parametrize("decoupled", [0, 1], ids=["Adam", "AdamW"])
@pytest.mark.parametrize("settings", ADAM, ids=str)
def test_adam_update_follows_its_judge(settings: dict[str, Any], decoupled: int, judge: Judge) -> None:
    parameters, grads = start()
    slots = [np.zeros_like(item) for item in (*parameters, *parameters)]
    settings = {"weight_decay": 0.0, **settings}
    beta1, beta2 = settings.get("betas", (0.9, 0.999))
    for number, step in enumerate(grads, 1):
        corrections = [1 - beta1**number, 1 - beta2**number]
        numbers = [settings["lr"], beta1, beta2, settings.get("eps", 1e-8), settings["weight_decay"], *corrections]
        scalars = np.array(numbers, np.float32)
        found = list(reference("AdamUpdate")(scalars, *parameters, *step, *slots, count=2, decoupled=decoupled))
        parameters, slots = found[:2], found[2:]
    theirs = judge("AdamW" if decoupled else "Adam", **settings)
    for ours, other in zip(parameters, theirs, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["SGDUpdate", "AdamUpdate"])
def test_half_width_parameters_keep_their_type_beside_float32_slots(name: str) -> None:
    parameter, grad, slot = (np.full(3, value, dtype) for value, dtype in ((1, "f2"), (0.5, "f2"), (0.0, "f4")))
    if name == "SGDUpdate":
        scalars = np.array([0.1, 0.9, 0, 0], np.float32)
        moved, *slots = reference(name)(scalars, parameter, grad, slot, count=1, momentum=1)
    else:
        scalars = np.array([0.05, 0.9, 0.999, 1e-8, 0, 0.1, 0.001], np.float32)
        moved, *slots = reference(name)(scalars, parameter, grad, slot, slot, count=1)
    assert moved.dtype == np.float16
    assert all(item.dtype == np.float32 for item in slots)
    np.testing.assert_allclose(moved, 0.95, rtol=1e-3)
