"""Records what PyTorch's optimizers do, for ``test_optimizers``: ``python -m tests.training.record_optimizers``.

Fifty steps in float64 on the gradients of ``trajectory``; of each row the parameters after steps 1, 2, 10 and 50.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.training.optimizer_table import OPTIMIZERS, UNKNOWN_TO_TORCH

FILE = Path(__file__).with_name("optimizers_of_pytorch.json")
STEPS, WATCHED = 50, (1, 2, 10, 50)
SHAPES = [(4, 3), (3,)]


def start() -> list[np.ndarray]:
    """The parameters before the first step."""
    random = np.random.default_rng(3)
    return [random.normal(size=shape).astype(np.float32).astype(np.float64) for shape in SHAPES]


def data(step: int) -> tuple[np.ndarray, np.ndarray]:
    """The batch of a step: inputs and targets of a linear layer."""
    random = np.random.default_rng([step, 7])
    return random.normal(size=(5, 4)).astype(np.float32), random.normal(size=(5, 3)).astype(np.float32)


def gradients(parameters: list[np.ndarray], step: int) -> list[np.ndarray]:
    """Those of the mean squared error of ``x @ w + b``."""
    x, target = data(step)
    w, b = parameters
    error = 2 * (x.astype(np.float64) @ w + b - target) / target.size
    return [x.astype(np.float64).T @ error, error.sum(0)]


def recorded(name: str, settings: dict[str, Any]) -> dict[str, list[Any]]:
    """What PyTorch does."""
    import torch

    parameters = [torch.nn.Parameter(torch.tensor(item)) for item in start()]
    made, found = getattr(torch.optim, name)(parameters, **settings), {}
    for step in range(1, STEPS + 1):
        grads = gradients([item.detach().numpy() for item in parameters], step)
        for item, grad in zip(parameters, grads, strict=True):
            item.grad = torch.tensor(grad)
        made.step()
        if step in WATCHED:
            found[str(step)] = [item.detach().numpy().tolist() for item in parameters]
    return found


def record() -> dict[str, Any]:
    """Every row that PyTorch knows."""
    import torch

    rows = {key: recorded(name, kept) for key, (_, name, kept) in OPTIMIZERS.items() if name not in UNKNOWN_TO_TORCH}
    return {"pytorch": torch.__version__.partition("+")[0], "rows": rows}


if __name__ == "__main__":
    FILE.write_text(json.dumps(record(), indent=1) + "\n")
