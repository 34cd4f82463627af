"""A row of the comparison with PyTorch: an operator, its inputs, and the function of PyTorch that is the same.

The function takes the same inputs in the same order, and returns the first output, or the first few. Where the two
libraries keep weights in another order, it turns them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs the extra torch")
functional = torch.nn.functional

TOLERANCE = {"float64": 1e-9, "float32": 2e-4}
SINGLE_CONSTANTS = 1e-6  # in float64, where one of the two keeps constants or coordinates in float32
TIED = np.array([[1.0, 2.0, 2.0, -1.0], [0.0, 0.0, 0.0, 0.0], [3.0, -3.0, 1.0, 3.0]])


def values(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> np.ndarray:
    """Evenly distributed; other shapes give other numbers."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape)


@dataclass(frozen=True)
class Row:
    """Floating-point ``inputs`` are differentiated, all others and those in ``fixed`` are constants.

    ``tolerance`` is that of float64, where it is not the usual one.
    """

    operator: str
    inputs: Sequence[np.ndarray | None]
    function: Callable[..., Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    version: int = 23
    outputs: int = 1
    fixed: Sequence[int] = ()
    tolerance: float = TOLERANCE["float64"]
    domain: str = ""
    note: str = ""

    @property
    def id(self) -> str:
        return f"{self.operator} {self.note}".strip().replace(" ", "_")


def row(operator: str, inputs: Sequence[Any], function: Callable[..., Any], **given: Any) -> Row:
    names = ("version", "outputs", "fixed", "tolerance", "domain", "note")
    own = {name: given.pop(name) for name in names if name in given}
    arrays = [None if item is None else np.asarray(item) for item in inputs]
    return Row(operator, arrays, function, given, **own)


def unary(operator: str, function: Callable[..., Any], low: float = -2.0, high: float = 2.0, **given: Any) -> Row:
    """A function of one tensor, at random places and, where it is defined there, at 0."""
    x = values(3, 5, low=low, high=high)
    return row(operator, [np.append(x, 0.0) if low < 0 < high else x], function, **given)
