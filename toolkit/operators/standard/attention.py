"""Attention of ONNX (since 23): multi-head, grouped-query and multi-query, with cache, masks, softcap and windows.

Version 24 adds a cache that is updated outside (``nonpad_kv_seqlen``) and masks that are shorter than the keys, version
25 sliding windows. ``qk_matmul_output`` gives the scores at one of four stages.
"""

from __future__ import annotations

import numpy as np

from toolkit.operators import wire
from toolkit.operators.composed import argument, composed, required
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, emit, reshape
from toolkit.operators.record import Call
from toolkit.operators.standard.scaled_dot_product import (
    additive,
    all_of,
    as_bias,
    attention_weights,
    bias_of,
    heads_first,
    heads_last,
    padded_mask,
    similarity,
    softcapped,
    weighted_sum,
    window,
    window_at,
)

FIRST_WITH_SHORT_MASKS = 24


def _split_heads(call: Call, x: Expression, attribute: str) -> Expression:
    if x.ndim == 4:
        return x
    if x.ndim != 3:
        raise ValueError(f"queries, keys and values must have 3 or 4 axes, got the shape {x.shape}")
    if attribute not in call.attributes:
        raise ValueError(f"inputs with 3 axes need the attribute {attribute!r}: set it")
    return heads_first(x, int(call.attributes[attribute]))


def _with_past(past: Expression | None, x: Expression) -> Expression:
    if past is None:
        return x
    present: Expression = emit("Concat", past, x, axis=2)
    return present


def _bias(call: Call, scores: Expression, past_length: int) -> Expression | None:
    """What is added to the scores: 0 or -inf for what may be seen, and a mask of floats as it is."""
    queries, keys = scores.shape[2:]
    is_causal = bool(call.attribute("is_causal", 0))
    left, right = (int(call.attribute(f"{side}_window_size", -1)) for side in ("left", "right"))
    mask, lengths = argument(call, 3), argument(call, 6)
    conditions: list[Expression] = []
    bias = None
    if lengths is not None:
        valid = reshape(cast(lengths, np.dtype(np.int64)), (scores.shape[0], 1, 1, 1))
        conditions.append(emit("Less", np.arange(keys).reshape(1, 1, 1, -1), valid))
        seen = window_at(valid - queries, queries, keys, is_causal, left, right)
        conditions += [] if seen is None else [seen]
    else:
        known = window(queries, keys, past_length, is_causal, left, right)
        bias = None if known is None else bias_of(known, scores)
    if mask is not None:
        is_short = mask.shape[-1:] != (1,) or call.version >= FIRST_WITH_SHORT_MASKS
        mask = padded_mask(mask, keys) if is_short else mask
        if mask.dtype == np.bool_:
            conditions.append(mask)
        else:
            bias = additive(mask, scores) if bias is None else bias + additive(mask, scores)
    condition = all_of(conditions)
    if condition is not None:
        bias = as_bias(condition, scores) if bias is None else bias + as_bias(condition, scores)
    return bias


def attention(call: Call) -> list[Expression | None]:
    """Y, present_key, present_value and qk_matmul_output."""
    query = _split_heads(call, required(call, 0, "Q"), "q_num_heads")
    key = _split_heads(call, required(call, 1, "K"), "kv_num_heads")
    value = _split_heads(call, required(call, 2, "V"), "kv_num_heads")
    past_key, past_value = argument(call, 4), argument(call, 5)
    if (past_key is None) != (past_value is None):
        raise ValueError("past_key and past_value must be given together")
    if past_key is not None and argument(call, 6) is not None:
        raise ValueError("nonpad_kv_seqlen tells of a cache outside: give no past_key and past_value with it")
    key, value = _with_past(past_key, key), _with_past(past_value, value)
    past_length = 0 if past_key is None else past_key.shape[2]

    scale = call.attribute("scale")
    raw = similarity(query, key, None if scale is None else float(scale))
    capped = softcapped(raw, float(call.attribute("softcap", 0.0)))
    bias = _bias(call, capped, past_length)
    precision = call.attribute("softmax_precision")
    exact = capped.dtype if precision is None else wire.element_dtype(int(precision))
    weights = attention_weights(cast(capped, exact), None if bias is None else cast(bias, exact))
    y = cast(weighted_sum(cast(weights, value.dtype), value), query.dtype)
    shown = _stage(int(call.attribute("qk_matmul_output_mode", 0)), raw, capped, bias, weights)
    return [y if call.x.ndim == 4 else heads_last(y), key, value, shown]


def _stage(mode: int, raw: Expression, capped: Expression, bias: Expression | None, weights: Expression) -> Expression:
    """What qk_matmul_output shows."""
    if mode == 2:
        return capped if bias is None else capped + bias
    return (raw, capped, capped, cast(weights, raw.dtype))[mode]


for _since in (23, 24, 25):
    composed("Attention", attention, since=_since)
