"""com.microsoft attention: Attention with its input projection, MultiHeadAttention, and its form for one token.

Masks add ``mask_filter_value`` (-10000) to the scores, so a query whose keys are all masked still weighs them. What the
future holds is masked altogether. Beam search over a shared cache (cache_indirection) is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.operators.composed import argument, composed, required
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, emit, expand, indices, reshape, transpose
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call
from toolkit.operators.standard.scaled_dot_product import (
    as_bias,
    attention_weights,
    bias_of,
    heads_first,
    heads_last,
    similarity,
    weighted_sum,
    window,
)

FILTER = -10000.0


def split_features(x: Expression, sizes: Sequence[int]) -> list[Expression]:
    """Consecutive parts of the last axis."""
    if sum(sizes) != x.shape[-1]:
        raise ValueError(f"the last axis of {x.shape} must hold parts of {list(sizes)}")
    return list(emit("Split", x, indices(x, sizes), axis=-1, outputs=len(sizes)))


def mask_bias(mask: Expression, like: Expression, masked: float) -> Expression:
    """A mask in any of its forms as what is added to the scores ``like``.

    Lengths (batch,), exclusive ends and then starts (2 batch,), or 1 for what is kept: (batch, keys),
    (batch, queries, keys), or (batch, 1, longest, longest).
    """
    batch, _, queries, keys = like.shape
    if mask.ndim == 1:
        places = np.arange(keys).astype(mask.dtype).reshape(1, -1)
        ends = emit("Slice", mask, *(indices(mask, [item]) for item in (0, batch, 0)))
        kept = emit("Less", places, reshape(ends, (batch, 1)))
        if mask.shape[0] == 2 * batch:
            starts = emit("Slice", mask, *(indices(mask, [item]) for item in (batch, 2 * batch, 0)))
            kept = emit("And", kept, emit("GreaterOrEqual", places, reshape(starts, (batch, 1))))
        elif mask.shape[0] != batch:
            raise ValueError(f"a mask of lengths must hold {batch} or {2 * batch} numbers, got {mask.shape[0]}")
        return as_bias(reshape(kept, (batch, 1, 1, keys)), like, masked)
    kept = emit("Greater", mask, 0)
    if mask.ndim == 4:
        first = keys - queries
        kept = emit(
            "Slice", kept, indices(mask, [first, 0]), indices(mask, [first + queries, keys]), indices(mask, [2, 3])
        )
    elif mask.ndim == 3:
        kept = reshape(kept, (mask.shape[0], 1, *mask.shape[1:]))
    else:
        kept = reshape(kept, (mask.shape[0], 1, 1, mask.shape[1]))
    return as_bias(kept, like, masked)


def attend(
    call: Call,
    query: Expression,
    key: Expression,
    value: Expression,
    mask: Expression | None,
    bias: Expression | None,
    is_causal: bool,
) -> tuple[Expression, Expression]:
    """The output (batch, length, features), and the scores with all that was added to them."""
    scale = call.attribute("scale")
    scores = similarity(query, key, float(scale) if scale else None)
    scores = scores if bias is None else scores + bias
    if mask is not None:
        scores = scores + mask_bias(mask, scores, float(call.attribute("mask_filter_value", FILTER)))
    queries, keys = scores.shape[2:]
    seen = window(queries, keys, keys - queries, is_causal)
    weights = attention_weights(scores, None if seen is None else bias_of(seen, scores))
    return heads_last(weighted_sum(weights, value)), scores


def with_past(past: Expression | None, x: Expression) -> Expression:
    """The cache, followed by what is new along the length."""
    if past is None:
        return x
    present: Expression = emit("Concat", past, x, axis=2)
    return present


def _refuse(call: Call, indices_and_names: dict[int, str]) -> None:
    for index, name in indices_and_names.items():
        if argument(call, index) is not None:
            raise ValueError(f"input {name!r} (a cache shared by beams or steps) is not supported: leave it out")


def _attention(call: Call) -> list[Expression | None]:
    weights, bias = required(call, 1, "weights"), argument(call, 2)
    _refuse(call, {6: "past_sequence_length"})
    if call.attribute("do_rotary", 0):
        raise ValueError("do_rotary is not supported: apply RotaryEmbedding before a MultiHeadAttention")
    projected = call.x @ weights
    projected = projected if bias is None else projected + bias
    heads = int(call.attributes["num_heads"])
    sizes = [int(size) for size in call.attribute("qkv_hidden_sizes") or [weights.shape[1] // 3] * 3]
    query, key, value = (heads_first(part, heads) for part in split_features(projected, sizes))
    past = argument(call, 4)
    if past is not None:
        old = emit("Split", past, indices(past, [1, 1]), axis=0, outputs=2)
        key, value = (with_past(reshape(part, past.shape[1:]), x) for part, x in zip(old, (key, value), strict=True))
    is_causal = bool(call.attribute("unidirectional", 0))
    y, _ = attend(call, query, key, value, argument(call, 3), argument(call, 5), is_causal)
    if key.shape != value.shape:
        return [y, None]
    return [y, emit("Concat", *(reshape(item, (1, *item.shape)) for item in (key, value)), axis=0)]


def _unpacked(x: Expression, count: int) -> list[Expression]:
    """(batch, length, heads, count, size) as ``count`` tensors (batch, heads, length, size)."""
    batch, length, heads, _, size = x.shape
    parts = emit("Split", x, indices(x, [1] * count), axis=3, outputs=count)
    return [transpose(reshape(part, (batch, length, heads, size)), (0, 2, 1, 3)) for part in parts]


def _heads(x: Expression, heads: int, bias: Expression | None) -> Expression:
    return heads_first(x if bias is None else x + bias, heads)


def query_key_value(call: Call, heads: int, bias: Expression | None) -> list[Expression]:
    """Queries, keys and values (batch, heads, length, size) from any of the packings, with the projection's bias."""
    query, key, value = call.x, argument(call, 1), argument(call, 2)
    if query.ndim == 5 and key is None:
        parts = _unpacked(query, 3)
    elif query.ndim == 3 and key is None:
        parts = [heads_first(part, heads) for part in split_features(query, [query.shape[2] // 3] * 3)]
    elif key is not None and key.ndim == 5:
        parts = [heads_first(query, heads), *_unpacked(key, 2)]
    elif key is not None and value is not None and key.ndim == 4:
        size = query.shape[2]
        first = None if bias is None else split_features(bias, [size, bias.shape[0] - size])[0]
        return [_heads(query, heads, first), key, value]
    elif key is not None and value is not None:
        sizes = [query.shape[2], key.shape[2], value.shape[2]]
        biases = [None] * 3 if bias is None else split_features(bias, sizes)
        return [_heads(x, heads, part) for x, part in zip((query, key, value), biases, strict=True)]
    else:
        raise ValueError("key and value must be given, or be packed into the query or the key")
    if bias is None:
        return parts
    sizes = [part.shape[1] * part.shape[3] for part in parts]
    biases = [heads_first(reshape(part, (1, 1, part.shape[0])), heads) for part in split_features(bias, sizes)]
    return [part + item for part, item in zip(parts, biases, strict=True)]


def _multi_head_attention(call: Call) -> list[Expression | None]:
    _refuse(call, {8: "past_sequence_length", 9: "cache_indirection"})
    query, key, value = query_key_value(call, int(call.attributes["num_heads"]), argument(call, 3))
    key, value = with_past(argument(call, 6), key), with_past(argument(call, 7), value)
    is_causal = bool(call.attribute("unidirectional", 0))
    y, scores = attend(call, query, key, value, argument(call, 4), argument(call, 5), is_causal)
    return [y, key, value, scores]


def _one_token(call: Call) -> list[Expression | None]:
    """DecoderMaskedMultiHeadAttention: into a cache that grows, or one of full length that is written in place."""
    _refuse(call, {9: "cache_indirection"})
    query, key, value = query_key_value(call, int(call.attributes["num_heads"]), argument(call, 10))
    past_key, written = argument(call, 5), argument(call, 7)
    is_cross = required(call, 1, "key").ndim == 4 if argument(call, 1) is not None else False
    bias = argument(call, 4)
    if not is_cross and call.attribute("past_present_share_buffer", 0) and past_key is not None and written is not None:
        start = cast(reshape(written, (1, 1, 1, 1)), np.dtype(np.int64))
        key, value = (
            emit("ScatterElements", past, expand(start, x.shape), x, axis=2)
            for past, x in ((past_key, key), (required(call, 6, "past_value"), value))
        )
        reached = emit("LessOrEqual", np.arange(key.shape[2]).reshape(1, 1, 1, -1), start)
        future = as_bias(reached, query)
        bias = future if bias is None else bias + future
    elif not is_cross:
        key, value = with_past(past_key, key), with_past(argument(call, 6), value)
    y, scores = attend(call, query, key, value, argument(call, 3), bias, is_causal=False)
    return [y, key, value, scores]


composed("Attention", _attention, domain=MICROSOFT)
composed("MultiHeadAttention", _multi_head_attention, domain=MICROSOFT)
composed("DecoderMaskedMultiHeadAttention", _one_token, domain=MICROSOFT)
