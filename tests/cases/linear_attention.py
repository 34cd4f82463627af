"""Cases of ``toolkit.operators.standard.linear_attention``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, uniform
from tests.support.numeric import numeric_gradients

HEADS = {"q_num_heads": 4, "kv_num_heads": 2}
QUERY, KEY, VALUE = uniform("N", 5, 12), uniform("N", 5, 6, low=-0.7, high=0.7), uniform("N", 5, 4)
STATE = uniform("N", 2, 3, 2)
BY_HEAD, BY_KEY = uniform("N", 5, 2, low=-1.0, high=0.0), uniform("N", 5, 6, low=-1.0, high=0.0)
BETA, ONE_BETA = uniform("N", 5, 2, low=0.1, high=0.9), uniform("N", 5, 1, low=0.1, high=0.9)


def naive(
    query: Any, key: Any, value: Any, state: Any, decay: Any, beta: Any, *, q_num_heads: int, kv_num_heads: int,
    update_rule: str,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Sample by sample, head by head and token by token."""
    batch, length, _ = query.shape
    size, width, share = query.shape[2] // q_num_heads, value.shape[2] // kv_num_heads, q_num_heads // kv_num_heads
    states = np.zeros((batch, kv_num_heads, size, width)) if state is None else state.copy()
    y = np.zeros((batch, length, q_num_heads, width))
    for sample, head, token in np.ndindex(batch, kv_num_heads, length):
        k = key[sample, token].reshape(kv_num_heads, size)[head]
        change = value[sample, token].reshape(kv_num_heads, width)[head]
        if "gated" in update_rule:
            states[sample, head] *= np.exp(decay[sample, token].reshape(kv_num_heads, -1)[head])[:, None]
        if "delta" in update_rule:
            rate = beta[sample, token, head if beta.shape[2] > 1 else 0]
            change = rate * (change - states[sample, head].T @ k)
        states[sample, head] += np.outer(k, change)
        for member in range(head * share, (head + 1) * share):
            q = query[sample, token].reshape(q_num_heads, size)[member]
            y[sample, token, member] = states[sample, head].T @ q / np.sqrt(size)
    return y.reshape(batch, length, -1), states


def judge_gradient(*inputs: Any, **attributes: Any) -> tuple[np.ndarray, ...]:
    """By brute force through both outputs."""
    *given, g, g_state = inputs
    present = [item for item in given if item is not None]

    def flat(*arrays: np.ndarray) -> np.ndarray:
        parts = iter(arrays)
        outputs = naive(*(None if item is None else next(parts) for item in given), **attributes)
        return np.concatenate([item.ravel() for item in outputs])

    found = iter(numeric_gradients(flat, present, np.concatenate([g.ravel(), g_state.ravel()])))
    return tuple(np.zeros(0, np.float32) if item is None else next(found) for item in given)


def linear(rule: str, *more: Given | None, note: str = "") -> Case:
    """One row of both outputs."""
    return Case(
        "LinearAttention",
        [QUERY, KEY, VALUE, *more],
        {**HEADS, "update_rule": rule},
        version=27,
        outputs=2,
        gradient_tolerance=1e-4,
        judge="onnx.reference",
        note=f"{rule} {note}".strip(),
    )


def gradient(rule: str, *more: Given | None, note: str = "") -> Case:
    """One row of the fused gradient."""
    return Case(
        "LinearAttentionGradient",
        [QUERY, KEY, VALUE, *more, uniform("N", 5, 8), STATE],
        {**HEADS, "update_rule": rule},
        version=1,
        domain="toolkit",
        outputs=6,
        tolerance=1e-3,
        judge=judge_gradient,
        note=f"{rule} {note}".strip(),
    )


CASES = [
    linear("linear"),
    linear("linear", STATE, note="state"),
    linear("gated", None, BY_HEAD),
    linear("gated", STATE, BY_KEY, note="by key"),
    linear("delta", None, None, BETA),
    linear("delta", STATE, None, ONE_BETA, note="one rate"),
    linear("gated_delta", STATE, BY_HEAD, BETA),
    linear("gated_delta", None, BY_KEY, ONE_BETA, note="by key"),
    gradient("linear", STATE, None, None),
    gradient("gated", STATE, BY_KEY, None),
    gradient("delta", None, None, ONE_BETA),
    gradient("gated_delta", STATE, BY_HEAD, BETA),
]
