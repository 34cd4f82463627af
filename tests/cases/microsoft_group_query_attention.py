"""Cases of ``toolkit.operators.microsoft.group_query_attention``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, constant, integers, uniform, variable

HEADS = {"num_heads": 4, "kv_num_heads": 2}
CACHES = [uniform(16, 8, low=-1.0, high=1.0), uniform(16, 8, low=-1.0, high=1.0)]


def row(*inputs: Given | None, note: str, **given: Any) -> Case:
    """One row; settings of the case are told from attributes by their names."""
    settings = {key: given.pop(key) for key in ("judge", "outputs", "seeded", "tolerance") if key in given}
    return Case(
        "GroupQueryAttention", list(inputs), {**HEADS, **given}, version=1, domain="com.microsoft", note=note,
        gradient_tolerance=1e-4, **{"outputs": 3, **settings},
    )  # fmt: skip


def number(value: int) -> Given:
    return constant(value, "int32")


def tokens(length: int, size: int = 8) -> list[Given]:
    """New queries, keys and values, with heads of a size."""
    return [uniform("N", length, 4 * size), uniform("N", length, 2 * size), uniform("N", length, 2 * size)]


def lengths(value: int) -> Given:
    """The same length for every sample, as seqlens_k counts it."""
    return variable(lambda n: np.full(n, value - 1), "int32")


def judge(*inputs: Any, num_heads: int, kv_num_heads: int, q_norm_epsilon: float = 1e-6) -> np.ndarray:
    """Head by head and query by query.

    onnxruntime normalises heads on other devices only, and it gives no output without the caches, whose unused ends
    mean nothing.
    """
    query, key, value = (item.reshape(*item.shape[:2], -1, 8).astype(np.float64) for item in inputs[:3])
    if len(inputs) > 14:
        query = query / np.sqrt((query**2).mean(axis=-1, keepdims=True) + q_norm_epsilon) * inputs[14]
        key = key / np.sqrt((key**2).mean(axis=-1, keepdims=True) + 1e-6) * inputs[15]
    y = np.empty(query.shape, np.float32)
    for sample, head in np.ndindex(len(query), num_heads):
        shared, before = head // (num_heads // kv_num_heads), inputs[5][sample] + 1 - query.shape[1]
        keys, values = key[sample, :, shared], value[sample, :, shared]
        if inputs[3] is not None:
            keys = np.concatenate([inputs[3][sample, shared, :before], keys])
            values = np.concatenate([inputs[4][sample, shared, :before], values])
        for place in range(query.shape[1]):
            seen = before + place + 1
            powers = np.exp(keys[:seen] @ query[sample, place, head] / np.sqrt(8))
            y[sample, place, head] = powers @ values[:seen] / powers.sum()
    return y.reshape(inputs[0].shape)


PAST = [uniform("N", 2, 4, 8), uniform("N", 2, 4, 8)]
WIDE_PAST = [uniform("N", 2, 4, 16), uniform("N", 2, 4, 16)]
WIDE_FIRST = [*tokens(3, 16), None, None, lengths(3), number(3)]
WIDE_NEXT = [*tokens(1, 16), *WIDE_PAST, lengths(5), number(5)]
FIRST, NEXT = [*tokens(3), None, None, lengths(3), number(3)], [*tokens(1), *PAST, lengths(5), number(5)]
UNEVEN = [*tokens(1), *PAST, variable(lambda n: np.arange(n) % 4 + 1, "int32"), number(5)]

CASES = [
    row(*FIRST, note="first tokens"),
    row(*NEXT, note="next token"),
    row(*UNEVEN, note="lengths that differ", outputs=1, judge=judge),
    row(*WIDE_FIRST, *CACHES, do_rotary=1, note="first tokens, rotary"),
    row(*WIDE_NEXT, *CACHES, do_rotary=1, rotary_interleaved=1, note="next token, rotary"),
    row(*NEXT, local_window_size=2, scale=0.4, note="window"),
    row(*FIRST, local_window_size=2, softcap=1.5, note="first tokens, window and softcap"),
    row(uniform("N", 3, 64), None, None, None, None, lengths(3), number(3), note="packed"),
    row(*NEXT, None, None, None, uniform("N", 4, 1, 5), note="bias of scores"),
    row(*NEXT, None, None, None, None, uniform(4), note="sinks"),
    row(*FIRST, smooth_softmax=1, note="smooth softmax"),
    row(*FIRST, causal=0, note="both directions"),
    row(
        *FIRST,
        *[None] * 7,
        uniform(8),
        uniform(8),
        q_norm_epsilon=1e-3,
        outputs=1,
        judge=judge,
        note="normalised heads",
    ),
    row(*WIDE_NEXT, *CACHES, integers("N", 1, low=0, high=9), do_rotary=1, note="positions"),
    row(
        *tokens(1),
        uniform("N", 2, 7, 8),
        uniform("N", 2, 7, 8),
        lengths(5),
        number(5),
        outputs=1,
        judge=judge,
        note="long cache",
    ),
]
