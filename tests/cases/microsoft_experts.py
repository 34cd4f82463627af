"""Cases of ``toolkit.operators.microsoft.experts``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, contributed, spread, uniform

ROUTER = spread("N", 4)


def layers(fused: int = 1) -> list[Given]:
    """The two layers of four experts, with biases."""
    return [uniform(4, fused * 6, 3), uniform(4, fused * 6), uniform(4, 3, 6), uniform(4, 3)]


def row(*inputs: Given | None, **given: Any) -> Case:
    return contributed("MoE", *inputs, tolerance=1e-4, **given)


def judge_swiglu(
    x: Any, router: Any, first: Any, first_bias: Any, second: Any, second_bias: Any, third: Any = None,
    third_bias: Any = None, *, activation_type: str, swiglu_fusion: int, k: int,
) -> np.ndarray:  # fmt: skip
    """Token by token; onnxruntime has these forms of swiglu on other devices only."""
    y = np.zeros_like(x)
    for token, scores in enumerate(router):
        shares = np.exp(scores) / np.exp(scores).sum()
        for expert in np.argsort(-scores)[:k]:
            gate = first[expert] @ x[token] + first_bias[expert]
            if swiglu_fusion:
                gate, linear = np.split(gate, 2)
            else:
                linear = third[expert] @ x[token] + third_bias[expert]
            hidden = gate / (1 + np.exp(-gate)) * linear
            y[token] += shares[expert] * (second[expert] @ hidden + second_bias[expert])
    return y


X = uniform("N", 3)
CASES = [
    row(X, ROUTER, *layers(), note="one expert"),
    row(X, ROUTER, *layers(), k=2, normalize_routing_weights=1, activation_type="silu", note="two experts"),
    row(uniform(1, "N", 3), ROUTER, layers()[0], None, layers()[2], k=2, activation_type="gelu", note="three axes"),
    row(X, ROUTER, *layers(), k=4, activation_type="identity", note="all experts"),
    row(
        X,
        ROUTER,
        *layers(2),
        k=2,
        activation_type="swiglu",
        swiglu_fusion=1,
        activation_alpha=1.7,
        activation_beta=1.0,
        swiglu_limit=2.5,
        note="swiglu",
    ),
    row(X, ROUTER, *layers(2), k=2, activation_type="swiglu", swiglu_fusion=2, judge=judge_swiglu, note="halves"),
    row(
        X,
        ROUTER,
        *layers(),
        uniform(4, 6, 3),
        uniform(4, 6),
        k=2,
        activation_type="swiglu",
        swiglu_fusion=0,
        judge=judge_swiglu,
        note="apart",
    ),
]
