"""com.microsoft attention over packed tokens (padding left out), and the relative biases that such models add.

``token_offset`` (batch, length) lists where the kept tokens stood among all, then where the padding stood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import known
from toolkit.operators.composed import argument, composed, required
from toolkit.operators.derivative import cast, filled
from toolkit.operators.expression import Expression, as_expression, emit, indices, reduce_sum, reshape, transpose
from toolkit.operators.microsoft.attention import query_key_value, split_features
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.scaled_dot_product import (
    as_bias,
    attention_weights,
    heads_first,
    heads_last,
    similarity,
    weighted_sum,
)

INT64 = np.dtype(np.int64)


def _places(offsets: Expression, count: int) -> Expression:
    """(count, 1): the place of each kept token among all."""
    flat = reshape(cast(offsets, INT64), (offsets.shape[0] * offsets.shape[1],))
    return reshape(emit("Slice", flat, indices(flat, [0]), indices(flat, [count])), (count, 1))


def _restored(x: Expression, offsets: Expression) -> Expression:
    """Packed rows (tokens, features) as (batch, length, features), zeros for the padding."""
    batch, length = offsets.shape
    empty = filled(x, (batch * length, x.shape[1]))
    full = emit("ScatterND", empty, _places(offsets, x.shape[0]), x)
    return reshape(full, (batch, length, x.shape[1]))


def _packed(x: Expression, offsets: Expression, count: int) -> Expression:
    """The rows of the kept tokens."""
    flat = reshape(x, (x.shape[0] * x.shape[1], x.shape[2]))
    found: Expression = emit("Gather", flat, reshape(_places(offsets, count), (count,)), axis=0)
    return found


def _attended(
    call: Call, parts: list[Expression], offsets: Expression, ends: Expression, bias: Expression | None, count: int
) -> Expression:
    """Attention within each sample, whose length the cumulative ``ends`` tell."""
    batch, length = offsets.shape
    scale = call.attribute("scale")
    scores = similarity(parts[0], parts[1], float(scale) if scale else None)
    scores = scores if bias is None else scores + bias
    first, last = (emit("Slice", ends, *(indices(ends, [item]) for item in (at, at + batch))) for at in (0, 1))
    lengths = reshape(last - first, (batch, 1, 1, 1))
    kept = emit("Less", np.arange(length).astype(ends.dtype).reshape(1, 1, 1, length), lengths)
    y = weighted_sum(attention_weights(scores, as_bias(kept, scores)), parts[2])
    return _packed(heads_last(y), offsets, count)


def _packed_attention(call: Call) -> list[Expression | None]:
    weights, offsets, heads = (
        required(call, 1, "weights"),
        required(call, 3, "token_offset"),
        call.attributes["num_heads"],
    )
    projected = call.x @ weights + required(call, 2, "bias")
    sizes = [int(size) for size in call.attribute("qkv_hidden_sizes") or [weights.shape[1] // 3] * 3]
    parts = [heads_first(part, int(heads)) for part in split_features(_restored(projected, offsets), sizes)]
    ends = required(call, 4, "cumulative_sequence_length")
    return [_attended(call, parts, offsets, ends, argument(call, 5), call.x.shape[0])]


def _packed_multi_head_attention(call: Call) -> list[Expression | None]:
    offsets, heads = required(call, 4, "token_offset"), int(call.attributes["num_heads"])
    given = [call.x, argument(call, 1), argument(call, 2)]
    if call.x.ndim == 4:  # (tokens, heads, 3, size)
        parts = emit("Split", call.x, indices(call.x, [1, 1, 1]), axis=2, outputs=3)
        given = [reshape(part, (part.shape[0], part.shape[1] * part.shape[3])) for part in parts]
    whole = [None if item is None else _restored(item, offsets) for item in given]
    inner = Call([*whole, argument(call, 3)], [], call.attributes, [False] * 4, call.version)
    ends = required(call, 5, "cumulative_sequence_length")
    made = query_key_value(inner, heads, argument(call, 3))
    return [_attended(call, made, offsets, ends, argument(call, 6), call.x.shape[0])]


def _restore_padding(call: Call) -> list[Expression | None]:
    return [_restored(call.x, required(call, 1, "token_offset"))]


def _remove_padding(x: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Kept rows, the places of all tokens, the ends of the samples, and the largest length."""
    batch, length = x.shape[:2]
    is_kept = (np.arange(length) < counts.reshape(batch, 1)).reshape(-1)
    places = np.concatenate([np.flatnonzero(is_kept), np.flatnonzero(~is_kept)]).astype(counts.dtype)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(counts.dtype)
    rows = x.reshape(batch * length, -1)[is_kept]
    return rows, places.reshape(batch, length), ends, np.asarray([counts.max(initial=0)], counts.dtype)


def _infer_remove_padding(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """How many tokens are kept must be known."""
    assert types[0] is not None
    (dtype, (batch, length, *features)), counts = types[0], known(constants[1], "sequence_token_count")
    sizes = [(int(counts.sum()), math.prod(features)), (batch, length), (batch + 1,), (1,)]
    return list(zip([dtype, *[counts.dtype] * 3], sizes, strict=True))


def _remove_padding_gradient(call: Call, g: Expression | None, *places: Expression | None) -> list[Expression | None]:
    offsets = call.outputs[1]
    assert offsets is not None
    return [None if g is None else reshape(_restored(g, offsets), call.x.shape), None]


def _bucket(distance: np.ndarray, count: int, farthest: int, is_bidirectional: bool) -> np.ndarray:
    """T5's buckets of key minus query: one each for small distances, then ever wider ones."""
    behind = -distance
    start = np.zeros_like(behind)
    if is_bidirectional:
        count //= 2
        start = np.where(behind < 0, count, 0)
        behind = np.abs(behind)
    behind = np.maximum(behind, 0)
    exact = count // 2
    ratio = np.log(np.maximum(behind, 1) / exact) / np.log(farthest / exact)
    wide = exact + (ratio * (count - exact)).astype(np.int64)
    return start + np.where(behind < exact, behind, np.minimum(wide, count - 1))


def _relative_position_bias(call: Call) -> list[Expression | None]:
    queries, keys = (
        int(known(required(call, index, name).value, name).reshape(-1)[0])
        for index, name in ((1, "query_length"), (2, "key_length"))
    )
    distance = np.arange(keys) - np.arange(queries).reshape(-1, 1)
    is_bidirectional = bool(call.attribute("is_bidirectional", 0))
    chosen = _bucket(distance, call.x.shape[0], int(call.attributes["max_distance"]), is_bidirectional)
    found = emit("Gather", call.x, chosen.astype(np.int64), axis=0)
    return [reshape(transpose(found, (2, 0, 1)), (1, call.x.shape[1], queries, keys))]


def _gated_relative_position_bias(call: Call) -> list[Expression | None]:
    heads, offsets = int(call.attributes["num_heads"]), argument(call, 6)
    query, bias = call.x + required(call, 1, "query_bias"), required(call, 4, "bias")
    query = query if offsets is None else _restored(query, offsets)
    gates = heads_first(query, heads) @ required(call, 3, "weight") + bias
    halves = reshape(gates, (*gates.shape[:3], 2, gates.shape[3] // 2))
    opened = emit("Sigmoid", reduce_sum(halves, [4], keepdims=False))
    update, reset = split_features(opened, [1, 1])
    return [
        (update * (reset * required(call, 5, "eco_a") - as_expression(1.0, reset)) + 2.0) * required(call, 2, "rel_pos")
    ]


composed("PackedAttention", _packed_attention, domain=MICROSOFT)
composed("PackedMultiHeadAttention", _packed_multi_head_attention, domain=MICROSOFT)
composed("RestorePadding", _restore_padding, domain=MICROSOFT)
composed("RelativePositionBias", _relative_position_bias, domain=MICROSOFT)
composed("GatedRelativePositionBias", _gated_relative_position_bias, domain=MICROSOFT)
operator(
    "RemovePadding",
    domain=MICROSOFT,
    reference=_remove_padding,
    gradient=_remove_padding_gradient,
    infer=_infer_remove_padding,
    host_only="how many rows are kept is known only when it has run",
)
