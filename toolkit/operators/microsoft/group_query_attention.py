"""com.microsoft GroupQueryAttention: grouped heads, a cache, rotary embedding, sinks and windows in one operator.

``seqlens_k`` counts the keys of each sample once the new ones are in the cache, less one. New ones stand at the end;
what the cache holds beyond them is never looked at. Quantised caches and caches that evict are refused.
"""

from __future__ import annotations

import math

import numpy as np

from toolkit.operators.axes import known
from toolkit.operators.composed import argument, composed, required
from toolkit.operators.derivative import cast, filled
from toolkit.operators.expression import Expression, emit, expand, indices, reshape, where
from toolkit.operators.microsoft.attention import split_features
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call
from toolkit.operators.standard.rotary_embedding import beside_heads, rotated
from toolkit.operators.standard.scaled_dot_product import (
    as_bias,
    attention_weights,
    heads_first,
    heads_last,
    similarity,
    softcapped,
    softmax,
    weighted_sum,
    window_at,
)

NORM_EPSILON = 9.999999974752427e-07
INT64 = np.dtype(np.int64)
REFUSED = ((12, "k_scale"), (13, "v_scale"))


def _heads(call: Call) -> list[Expression]:
    """Queries, keys and values by head, normalised if weights for that are given."""
    query, key, value = call.x, argument(call, 1), argument(call, 2)
    heads, key_heads = int(call.attributes["num_heads"]), int(call.attributes["kv_num_heads"])
    if key is None or value is None:
        size = query.shape[2] // (heads + 2 * key_heads)
        query, key, value = split_features(query, [heads * size, key_heads * size, key_heads * size])
    found = [heads_first(query, heads), heads_first(key, key_heads), heads_first(value, key_heads)]
    epsilon = float(call.attribute("qk_norm_epsilon", NORM_EPSILON))
    for place, name in enumerate("qk"):
        weight = argument(call, 14 + place)
        if weight is not None:
            found[place] = _normalised(found[place], weight, float(call.attribute(f"{name}_norm_epsilon", epsilon)))
    return found


def _normalised(x: Expression, weight: Expression, epsilon: float) -> Expression:
    squares = emit("ReduceMean", x * x, indices(x, [-1]), keepdims=1)
    return x / emit("Sqrt", squares + epsilon) * weight


def _lengths(call: Call, length: int) -> tuple[Expression, Expression, int]:
    """How many keys each sample has in the end, how many were there before (both (batch,)), and the most of all."""
    total_known = known(required(call, 6, "total_sequence_length").value, "total_sequence_length")
    total = int(total_known.reshape(-1)[0])
    after = cast(reshape(required(call, 5, "seqlens_k"), (call.x.shape[0],)), INT64) + 1
    valid = argument(call, 16)
    if valid is not None:
        return after, after - cast(valid, INT64), total
    if total == length:  # the first tokens, which may be padded behind
        return after, after * 0, total
    return after, after - length, total


def _cached(past: Expression | None, x: Expression, before: Expression, length: int) -> Expression:
    """The cache, at least ``length`` long, with what is new written behind what was there before."""
    if past is None and x.shape[2] >= length:
        return x
    if past is None:
        past = filled(x, (*x.shape[:2], 0, x.shape[3]))
    if past.shape[2] < length:
        past = emit("Concat", past, filled(x, (*x.shape[:2], length - past.shape[2], x.shape[3])), axis=2)
    places = reshape(before, (before.shape[0], 1, 1, 1)) + np.arange(x.shape[2]).reshape(1, 1, -1, 1)
    cache: Expression = emit("ScatterElements", past, expand(places, x.shape), x, axis=2)
    return cache


def _rotated(call: Call, x: Expression, positions: Expression) -> Expression:
    angles = (
        beside_heads(emit("Gather", required(call, index, name), positions, axis=0), is_heads_first=True)
        for index, name in ((7, "cos_cache"), (8, "sin_cache"))
    )
    return rotated(x, next(angles), next(angles), bool(call.attribute("rotary_interleaved", 0)))


def _weights(call: Call, scores: Expression, bias: Expression | None) -> Expression:
    """Softmax with a sink: one more score of each head, which takes its share and gives nothing."""
    sink, is_smooth = argument(call, 11), int(call.attribute("smooth_softmax", -1)) == 1
    if sink is None and not is_smooth:
        return attention_weights(scores, bias)
    shape = (*scores.shape[:3], 1)
    extra = filled(scores, shape) if sink is None else expand(reshape(sink, (1, sink.shape[0], 1, 1)), shape)
    total = scores if bias is None else scores + bias
    weights = softmax(emit("Concat", total, extra, axis=-1))
    return split_features(weights, [scores.shape[3], 1])[0]


def _group_query_attention(call: Call) -> list[Expression | None]:
    for index, name in REFUSED:
        if argument(call, index) is not None:
            raise ValueError(f"input {name!r} (a quantised cache) is not supported: use a cache of floats")
    if call.attribute("sliding_window_cache", 0):
        raise ValueError("sliding_window_cache is not supported: give a cache that holds every token")
    query, key, value = _heads(call)
    length = query.shape[2]
    after, before, total = _lengths(call, length)
    if call.attribute("do_rotary", 0):
        positions = argument(call, 9)
        if positions is None:
            positions = reshape(before, (before.shape[0], 1)) + np.arange(length).reshape(1, -1)
        query, key = _rotated(call, query, positions), _rotated(call, key, positions)
    past_key, past_value = argument(call, 3), argument(call, 4)
    held = max(total, 0 if past_key is None else past_key.shape[2])
    key, value = _cached(past_key, key, before, held), _cached(past_value, value, before, held)

    scale = call.attribute("scale")
    scores = similarity(query, key, float(scale) if scale else None)
    scores = softcapped(scores, float(call.attribute("softcap", 0.0)))
    given = argument(call, 10)
    if given is not None:
        missing = (*given.shape[:3], scores.shape[3] - given.shape[3])
        scores = scores + (emit("Concat", given, filled(given, missing), axis=-1) if missing[3] > 0 else given)
    if int(call.attribute("causal", 1)):
        reach = int(call.attribute("local_window_size", -1))
        left = reach - 1 if reach > 0 else -1
        seen = window_at(before, length, scores.shape[3], True, left)
    else:
        ends = reshape(after, (after.shape[0], 1, 1, 1))
        seen = emit("Less", np.arange(scores.shape[3]).reshape(1, 1, 1, -1), ends)
    bias = None if seen is None else as_bias(seen, scores, -math.inf)
    weights = _weights(call, scores, bias)
    shown = _shown(int(call.attribute("qk_output", 0)), scores, seen, weights, total)
    return [heads_last(weighted_sum(weights, value)), key, value, shown]


def _shown(
    mode: int, scores: Expression, seen: Expression | None, weights: Expression, total: int
) -> Expression | None:
    """The scores (1) or weights (2) of the keys that count, zeros for what a query may not see."""
    if mode not in (1, 2):
        return None
    found = weights if mode == 2 else scores if seen is None else where(seen, scores, 0.0)
    return found if found.shape[3] == total else split_features(found, [total, found.shape[3] - total])[0]


composed("GroupQueryAttention", _group_query_attention, domain=MICROSOFT)
