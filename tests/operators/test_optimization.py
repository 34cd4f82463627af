"""Optimizer steps against PyTorch: twenty steps from the same start with the same gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toolkit.operators import lookup

torch = pytest.importorskip("torch", reason="PyTorch is the judge of optimizer steps and is not installed")

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


def by_torch(optimizer: Any, **settings: Any) -> list[np.ndarray]:
    parameters, grads = start()
    tensors = [torch.nn.Parameter(torch.tensor(item)) for item in parameters]
    made = optimizer(tensors, **settings)
    for step in grads:
        for tensor, grad in zip(tensors, step, strict=True):
            tensor.grad = torch.tensor(grad)
        made.step()
    return [tensor.detach().numpy() for tensor in tensors]


def reference(name: str) -> Any:
    record = lookup("toolkit", name, 1)
    assert record is not None
    return record.reference


@pytest.mark.parametrize("settings", SGD, ids=str)
def test_sgd_update_follows_pytorch(settings: dict[str, Any]) -> None:
    parameters, grads = start()
    slots = [np.zeros_like(item) for item in parameters]
    momentum = settings.get("momentum", 0.0)
    scalars = np.array([settings["lr"], momentum, 0.0, settings.get("weight_decay", 0.0)], np.float32)
    flags = {"momentum": int(momentum > 0), "nesterov": int(settings.get("nesterov", False))}
    for step in grads:
        given = [*parameters, *step, *(slots if momentum else [])]
        found = list(reference("SGDUpdate")(scalars, *given, count=2, **flags))
        parameters, slots = found[:2], found[2:]
    for ours, theirs in zip(parameters, by_torch(torch.optim.SGD, **settings), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_sgd_update_with_dampening_follows_pytorch_after_its_undamped_first_step() -> None:
    parameters, grads = start()
    slots = [np.zeros_like(item) for item in parameters]
    for number, step in enumerate(grads):
        scalars = np.array([0.05, 0.9, 0.3 if number else 0.0, 0.0], np.float32)
        found = list(reference("SGDUpdate")(scalars, *parameters, *step, *slots, count=2, momentum=1))
        parameters, slots = found[:2], found[2:]
    for ours, theirs in zip(parameters, by_torch(torch.optim.SGD, lr=0.05, momentum=0.9, dampening=0.3), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decoupled", [0, 1], ids=["Adam", "AdamW"])
@pytest.mark.parametrize("settings", ADAM, ids=str)
def test_adam_update_follows_pytorch(settings: dict[str, Any], decoupled: int) -> None:
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
    theirs = by_torch(torch.optim.AdamW if decoupled else torch.optim.Adam, **settings)
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
