"""Cases of ``toolkit.operators.standard.softmax``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, spread, uniform
from tests.support.numeric import numeric_gradients

X = spread("N", 3, 4)


def naive_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    """By the definition; only for small numbers."""
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def judge(g: np.ndarray, y: np.ndarray, *, axis: int, log: int) -> Any:
    """The gradient at the logarithm of the probabilities, which softmax maps to themselves."""
    x = y if log else np.log(y)
    function = (lambda x: np.log(naive_softmax(x, axis))) if log else (lambda x: naive_softmax(x, axis))
    return numeric_gradients(function, [x], g)[0]


def probabilities(*shape: Any, axis: int, log: int) -> Any:
    """Random probabilities or their logarithms along ``axis``."""
    given = uniform(*shape)
    return type(given)(
        lambda random, batch: (np.log if log else np.positive)(naive_softmax(given.make(random, batch), axis))
    )


def gradient(axis: int, log: int) -> Case:
    """The fused gradient."""
    return Case(
        "SoftmaxGradient",
        [uniform("N", 3, 4), probabilities("N", 3, 4, axis=axis, log=log)],
        {"axis": axis, "log": log},
        version=1,
        domain="toolkit",
        judge=judge,
        tolerance=1e-4,
        note=f"axis {axis} log {log}",
    )


CASES = [
    *(Case(name, [X], version=1) for name in ("Softmax", "LogSoftmax", "Hardmax")),
    *(Case(name, [X], {"axis": 0}, version=9, note="axis 0") for name in ("Softmax", "LogSoftmax", "Hardmax")),
    *(Case(name, [X], {"axis": -1}, version=11, note="last axis") for name in ("Softmax", "LogSoftmax", "Hardmax")),
    *(Case(name, [X], version=13) for name in ("Softmax", "LogSoftmax", "Hardmax")),
    *(Case(name, [X], {"axis": 1}, note="axis 1") for name in ("Softmax", "LogSoftmax", "Hardmax")),
    Case("Softmax", [spread("N", 5, low=-300, high=300)], note="large"),
    Case("LogSoftmax", [spread("N", 5, low=-300, high=300)], note="large"),
    Case("Softmax", [spread("N", 5, dtype="float16")], note="float16", tolerance=2e-3),
    gradient(axis=1, log=0),
    gradient(axis=-1, log=0),
    gradient(axis=1, log=1),
]
