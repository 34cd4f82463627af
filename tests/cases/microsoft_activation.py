"""Cases of ``toolkit.operators.microsoft.activation``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import contributed as row
from tests.support.case import uniform, variable
from toolkit.operators.special_functions import erf


def judge_split(x: Any, bias: Any) -> Any:
    value, gate = np.split(x + bias, 2, axis=-1)
    return value * gate * (1 + erf(gate / np.sqrt(2).astype(x.dtype))) / 2


def judge_softmax(x: Any, bias: Any, *, axis: int, is_inner_broadcast: int) -> Any:
    """Row by row."""
    rows = x.reshape(int(np.prod(x.shape[:axis])), -1)
    biases = bias.reshape(-1, rows.shape[1])
    y = np.empty_like(rows)
    for index, values in enumerate(rows):
        share = index // (len(rows) // len(biases)) if is_inner_broadcast else index % len(biases)
        powers = np.exp(values.astype(np.float64) + biases[share])
        y[index] = powers / powers.sum()
    return y.reshape(x.shape)


def judge_swiglu(
    gate: Any, up: Any = None, *, activation_alpha: float = 1.0, activation_beta: float = 0.0, limit: float = 0.0
) -> Any:
    if up is None:
        gate, up = np.split(gate, 2, axis=-1)
    if limit > 0:
        gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
    return gate / (1 + np.exp(-activation_alpha * gate)) * (up + activation_beta)


def judge_projected(x: Any, y: Any, gate: Any, weight: Any) -> Any:
    return x + y / (1 + np.exp(-(gate @ weight)))


X = uniform("N", 3, 4)
CASES = [
    row("Gelu", X),
    row("BiasGelu", X, uniform(4)),
    row("FastGelu", X),
    row("FastGelu", X, uniform(4), note="bias"),
    row("QuickGelu", X),
    row("QuickGelu", X, alpha=0.7, note="alpha"),
    row("BiasAdd", X, uniform(4), X, judge=lambda x, bias, skip: x + bias + skip),
    row("BiasSplitGelu", X, uniform(4), judge=judge_split),
    row("BiasSoftmax", uniform("N", 2, 3, 4), uniform("N", 1, 1, 4), axis=3, is_inner_broadcast=1, judge=judge_softmax),
    row(
        "BiasSoftmax",
        uniform("N", 2, 3, 4),
        uniform(1, 1, 3, 4),
        axis=3,
        is_inner_broadcast=0,
        judge=judge_softmax,
        note="outer",
    ),
    row("BiasSoftmax", X, uniform("N", 3, 4), axis=1, is_inner_broadcast=1, judge=judge_softmax, note="two axes"),
    row("ScaledSiLU", X, alpha=1.3),
    row("ScaledSiLU", X, variable(0.5), note="scale"),
    row("SwiGLU", X, uniform("N", 3, 4), activation_alpha=1.7, judge=judge_swiglu),
    row("SwiGLU", X, limit=1.1, activation_beta=1.0, judge=judge_swiglu, note="one input"),
    row("GatedAdd", X, X, uniform("N", 3, 1)),
    row("GatedAdd", X, X, uniform("N", 3, 5), uniform(5, 1), judge=judge_projected, note="projected"),
]
