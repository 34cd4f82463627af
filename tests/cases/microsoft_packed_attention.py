"""Cases of ``toolkit.operators.microsoft.packed_attention``; onnxruntime has none of them on the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tests.support.case import Case, Given, constant, uniform, variable

LENGTH = 3


def kept(batch: int) -> np.ndarray:
    """How many tokens each sample has: 2, 3, 1."""
    return np.asarray([2, 3, 1])[:batch]


def offsets(batch: int) -> np.ndarray:
    """The places of the kept tokens, then those of the padding."""
    is_kept = (np.arange(LENGTH) < kept(batch)[:, None]).ravel()
    return np.concatenate([np.flatnonzero(is_kept), np.flatnonzero(~is_kept)]).reshape(batch, LENGTH)


def tokens(*shape: int) -> Given:
    """One row for each kept token."""
    return Given(lambda random, batch: random.uniform(-2, 2, (kept(batch).sum(), *shape)).astype(np.float32))


def row(name: str, *inputs: Given | None, judge: Any, note: str = "", outputs: int = 1, **given: Any) -> Case:
    return Case(
        name, list(inputs), given, version=1, domain="com.microsoft", note=note, judge=judge, outputs=outputs,
        gradient_tolerance=1e-4,
    )  # fmt: skip


def attended(query: Any, key: Any, value: Any, ends: Any, bias: Any, heads: int) -> np.ndarray:
    """Sample by sample and head by head."""
    query, key, value = (item.reshape(len(item), heads, -1) for item in (query, key, value))
    y = np.empty(value.shape, np.float32)
    for sample, head in np.ndindex(len(ends) - 1, heads):
        own = slice(ends[sample], ends[sample + 1])
        scores = query[own, head].astype(np.float64) @ key[own, head].T / np.sqrt(query.shape[2])
        size = len(scores)
        if bias is not None:
            scores += bias[sample % len(bias), head, :size, :size]
        powers = np.exp(scores)
        y[own, head] = powers @ value[own, head] / powers.sum(axis=1, keepdims=True)
    return y.reshape(len(y), -1)


def judge_attention(
    x: Any, weights: Any, bias: Any, places: Any, ends: Any, added: Any = None, *, num_heads: int
) -> Any:
    query, key, value = np.split(x @ weights + bias, 3, axis=1)
    return attended(query, key, value, ends, added, num_heads)


def judge_heads(
    query: Any, key: Any, value: Any, bias: Any, places: Any, ends: Any, added: Any = None, *, num_heads: int
) -> Any:
    if key is None:
        query, key, value = (query[:, :, number].reshape(len(query), -1) for number in range(3))
    parts = [0.0] * 3 if bias is None else np.split(bias, 3)
    query, key, value = (item + part for item, part in zip((query, key, value), parts, strict=True))
    return attended(query, key, value, ends, added, num_heads)


def judge_restore(x: Any, places: Any) -> np.ndarray:
    y = np.zeros((places.size, x.shape[1]), x.dtype)
    y[places.ravel()[: len(x)]] = x
    return y.reshape(*places.shape, x.shape[1])


def judge_remove(x: Any, counts: Any) -> Any:
    batch = len(counts)
    rows = np.concatenate([sample[:count] for sample, count in zip(x, counts, strict=True)])
    ends = np.asarray([counts[:number].sum() for number in range(batch + 1)], np.int32)
    return rows, offsets(batch).astype(np.int32), ends, np.asarray([counts.max()], np.int32)


def judge_relative(table: Any, queries: Any, keys: Any, *, max_distance: int, is_bidirectional: int) -> np.ndarray:
    """Pair by pair, as T5 words it."""
    y = np.empty((1, table.shape[1], int(queries), int(keys)), table.dtype)
    for query, key in np.ndindex(int(queries), int(keys)):
        count, bucket, behind = len(table), 0, query - key
        if is_bidirectional:
            count //= 2
            bucket, behind = (count, -behind) if behind < 0 else (0, behind)
        behind, exact = max(behind, 0), count // 2
        if behind >= exact:
            wide = np.log(behind / exact) / np.log(max_distance / exact) * (count - exact)
            behind = min(exact + int(wide), count - 1)
        y[0, :, query, key] = table[bucket + behind]
    return y


def judge_gated(x: Any, query_bias: Any, rel_pos: Any, weight: Any, bias: Any, eco_a: Any, *, num_heads: int) -> Any:
    query = (x + query_bias).reshape(*x.shape[:2], num_heads, -1).transpose(0, 2, 1, 3)
    gates = (query @ weight + bias).reshape(*query.shape[:3], 2, -1).sum(axis=-1)
    update, reset = (1 / (1 + np.exp(-part)) for part in np.split(gates, 2, axis=-1))
    return ((update * (reset * eco_a - 1) + 2) * rel_pos).astype(np.float32)


PLACES = [
    variable(offsets, "int32"),
    variable(lambda n: np.concatenate([[0], np.cumsum(kept(n))]), "int32"),
]
ADDED = uniform("N", 2, LENGTH, LENGTH)
CASES = [
    row("PackedAttention", tokens(5), uniform(5, 24), uniform(24), *PLACES, num_heads=2, judge=judge_attention),
    row(
        "PackedAttention",
        tokens(5),
        uniform(5, 24),
        uniform(24),
        *PLACES,
        ADDED,
        num_heads=2,
        judge=judge_attention,
        note="bias of scores",
    ),
    row(
        "PackedMultiHeadAttention",
        tokens(8),
        tokens(8),
        tokens(8),
        uniform(24),
        *PLACES,
        num_heads=2,
        judge=judge_heads,
    ),
    row(
        "PackedMultiHeadAttention", tokens(2, 3, 4), *[None] * 3, *PLACES, num_heads=2, judge=judge_heads, note="packed"
    ),
    row("RestorePadding", tokens(4), PLACES[0], judge=judge_restore),
    row("RemovePadding", uniform("N", LENGTH, 4), constant(kept, "int32"), outputs=4, judge=judge_remove),
    replace(
        row("RemovePadding", uniform("N", LENGTH, 4), variable(kept, "int32"), outputs=4, judge=judge_remove),
        is_data_dependent=True,
        note="lengths known late",
    ),
    row(
        "RelativePositionBias",
        uniform(8, 2),
        constant(12),
        constant(12),
        max_distance=10,
        is_bidirectional=0,
        judge=judge_relative,
    ),
    row(
        "RelativePositionBias",
        uniform(8, 2),
        constant(9),
        constant(9),
        max_distance=7,
        is_bidirectional=1,
        judge=judge_relative,
        note="both directions",
    ),
    row(
        "GatedRelativePositionBias",
        uniform("N", 3, 8),
        uniform(8),
        uniform(1, 2, 3, 3),
        uniform(4, 6),
        uniform(6),
        uniform(1, 2, 1, 1),
        num_heads=2,
        judge=judge_gated,
    ),
]
