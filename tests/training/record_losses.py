"""Record what PyTorch makes of ``loss_rows``: ``python -m tests.training.record_losses``, where torch is installed.

For each row: the gradients of the first step, and the loss of every step of plain SGD on batches that alternate.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.training.loss_rows import BATCHES, RATE, ROWS, STEPS, WIDTH, Row, inputs, parameters, part

PATH = Path(__file__).with_name("loss_references.json")


def record(torch: Any, row: Row) -> dict[str, Any]:
    """What PyTorch makes of one row."""
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in parameters(row).items()}
    x, losses, first = inputs(row), [], {}
    for step in range(STEPS):
        rows = BATCHES[step % 2]
        hidden = torch.tanh(torch.tensor(x[rows]) @ tensors["w1"] + tensors["b1"])
        outputs = (hidden @ tensors["w2"] + tensors["b2"]).split(WIDTH, dim=-1)
        loss = row.torch(torch, list(outputs), part(row.labels, rows))
        grads = torch.autograd.grad(loss, list(tensors.values()))
        losses.append(loss.item())
        with torch.no_grad():
            for (name, tensor), grad in zip(tensors.items(), grads, strict=True):
                tensor -= RATE * grad
                if step == 0:
                    first[name] = rounded(grad.numpy())
    return {"losses": rounded(np.asarray(losses)), "gradients": first}


def rounded(array: np.ndarray) -> list[float]:
    """In row-major order, to the digits that float32 has."""
    return [float(f"{value:.8g}") for value in array.reshape(-1)]


if __name__ == "__main__":
    import torch

    found = {name: record(torch, row) for name, row in ROWS.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(item, separators=(',', ':'))}" for name, item in found.items())
    PATH.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
