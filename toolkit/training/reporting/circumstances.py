"""How a run was made: the options of its trainer, and the versions of what it ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from toolkit.training.run import Learner

PACKAGES = ("onnx-toolkit", "onnx", "numpy", "onednn-cpu-gomp")


def configuration(trainer: Learner, options: Mapping[str, Any]) -> list[list[str]]:
    """Rows of option and value."""
    network = trainer.network
    sizes = {name: int(np.prod(item.shape)) for name, item in network.parameters.items()}
    learning = [name for name, item in network.parameters.items() if item.requires_grad]
    rows = {
        "network": network.name or "without a name",
        "layers": f"{len(network.graph.leaves):,}",
        "parameters": f"{sum(sizes.values()):,}, of which {sum(sizes[name] for name in learning):,} learn",
        "loss": described(trainer.loss),
        "optimizer": repr(trainer.optimizer),
        "learning rate": f"{trainer.optimizer.learning_rate:g}",
        "seed": str(trainer.seed),
        "backend": described(trainer.backend),
        **{name.replace("_", " "): described(value) for name, value in options.items() if value is not None},
    }
    return [[name, value] for name, value in rows.items()]


def environment() -> list[list[str]]:
    """Rows of part and version."""
    rows = [["Python", platform.python_version()]]
    for name in PACKAGES:
        try:
            rows.append([name, version(name)])
        except PackageNotFoundError:
            rows.append([name, "not installed as a package"])
    return [*rows, ["system", platform.platform()], ["processors", str(os.cpu_count())]]


def described(value: Any) -> str:
    """An option in words: objects by their class and what they were given."""
    if isinstance(value, (str, bool, int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(described, value))
    if not repr(value).startswith("<"):
        return repr(value)
    if hasattr(value, "__qualname__"):  # a function; one made by another is named by that
        return str(value.__qualname__).partition(".")[0]
    given = {
        name: item
        for name, item in vars(value).items()
        if not name.startswith("_") and type(item) in (str, bool, int, float)
    }
    return f"{type(value).__name__}({', '.join(f'{name}={item!r}' for name, item in given.items())})"
