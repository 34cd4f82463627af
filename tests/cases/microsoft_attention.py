"""Cases of ``toolkit.operators.microsoft.attention``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, contributed, uniform, variable


def row(name: str, *inputs: Given | None, **given: Any) -> Case:
    return contributed(name, *inputs, **{"num_heads": 2, **given})


def judge_packed(query: Any, packed: Any = None, *, num_heads: int) -> np.ndarray:
    """Sample by sample and head by head; onnxruntime has packed inputs on other devices only."""
    batch, length = query.shape[:2]
    if packed is None:
        query, packed = query[:, :, :, 0], query[:, :, :, 1:]
    query = query.reshape(batch, length, num_heads, -1)
    y = np.empty_like(query)
    for sample, head in np.ndindex(batch, num_heads):
        key, value = packed[sample, :, head, 0], packed[sample, :, head, 1]
        powers = np.exp(query[sample, :, head].astype(np.float64) @ key.T / np.sqrt(query.shape[3]))
        y[sample, :, head] = powers @ value / powers.sum(axis=1, keepdims=True)
    return y.reshape(batch, length, -1)


X, WEIGHTS, BIAS = uniform("N", 3, 5), uniform(5, 24), uniform(24)
PAST = uniform(2, "N", 2, 4, 4)
QUERY, KEY, VALUE = uniform("N", 3, 8), uniform("N", 5, 8), uniform("N", 5, 6)
ENDS = variable(lambda n: np.arange(n) % 3 + 1, "int32")
ENDS_AND_STARTS = variable(lambda n: [*(np.arange(n) % 2 + 2), *(np.arange(n) % 2)], "int32")


def kept(*shape: int) -> Given:
    """A mask that keeps at least the first key."""

    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        mask = random.integers(0, 2, (batch, *shape)).astype(np.int32)
        mask[..., 0] = 1
        return mask

    return Given(make)


TOKEN, KEYS, VALUES = uniform("N", 1, 8), uniform("N", 2, 4, 4), uniform("N", 2, 4, 4)
CASES = [
    row("Attention", X, WEIGHTS, BIAS),
    row("Attention", X, WEIGHTS, BIAS, None, PAST, outputs=2, unidirectional=1, note="causal with past"),
    row("Attention", X, uniform(5, 22), uniform(22), qkv_hidden_sizes=[8, 8, 6], note="narrow values"),
    row("Attention", X, WEIGHTS, BIAS, ENDS, note="mask of ends"),
    row("Attention", X, WEIGHTS, BIAS, ENDS_AND_STARTS, note="mask of ends and starts"),
    row("Attention", X, WEIGHTS, BIAS, kept(3), unidirectional=1, scale=0.3, note="mask of keys"),
    row("Attention", X, WEIGHTS, BIAS, kept(3, 3), None, uniform("N", 2, 3, 3), note="mask of pairs and bias"),
    row("Attention", X, WEIGHTS, BIAS, kept(7), PAST, outputs=2, note="mask with past"),
    row("MultiHeadAttention", QUERY, KEY, VALUE),
    row("MultiHeadAttention", QUERY, KEY, VALUE, uniform(22), scale=0.4, note="bias"),
    row("MultiHeadAttention", QUERY, KEY, VALUE, None, kept(5), uniform("N", 2, 3, 5), note="mask and bias of scores"),
    row("MultiHeadAttention", QUERY, KEY, VALUE, None, ENDS, note="mask of ends"),
    row("MultiHeadAttention", QUERY, uniform("N", 3, 8), uniform("N", 3, 8), unidirectional=1, note="causal"),
    row(
        "MultiHeadAttention",
        QUERY,
        uniform("N", 3, 8),
        uniform("N", 3, 8),
        None,
        None,
        None,
        KEYS,
        VALUES,
        outputs=3,
        unidirectional=1,
        note="past",
    ),
    row("MultiHeadAttention", QUERY, uniform("N", 2, 5, 4), uniform("N", 2, 5, 4), note="keys by head"),
    row("MultiHeadAttention", uniform("N", 3, 2, 3, 4), note="packed", judge=judge_packed),
    row("MultiHeadAttention", QUERY, uniform("N", 5, 2, 2, 4), note="packed keys", judge=judge_packed),
    row(
        "DecoderMaskedMultiHeadAttention",
        TOKEN,
        TOKEN,
        TOKEN,
        None,
        None,
        KEYS,
        VALUES,
        variable([2], "int32"),
        outputs=3,
        past_present_share_buffer=1,
    ),
    row("DecoderMaskedMultiHeadAttention", TOKEN, KEYS, VALUES, note="cross"),
]
