"""Scaled dot-product attention over expressions: what all attention operators, of ONNX and others, are made of.

Queries, keys and values are (batch, heads, length, head size). Keys and values may have fewer heads than the queries:
each one then serves a contiguous group of query heads, which is one larger matrix product and not a copy of the keys.
Masks add 0 or -inf; a query that may attend to nothing gets zeros.
"""

from __future__ import annotations

import math

import numpy as np

from toolkit.operators.derivative import cast, filled
from toolkit.operators.expression import Expression, as_expression, emit, indices, reshape, transpose, where


def heads_first(x: Expression, heads: int) -> Expression:
    """(batch, length, heads * size) as (batch, heads, length, size)."""
    batch, length, hidden = x.shape
    if heads < 1 or hidden % heads:
        raise ValueError(f"{hidden} features must divide into {heads} heads: correct the number of heads")
    return transpose(reshape(x, (batch, length, heads, hidden // heads)), (0, 2, 1, 3))


def heads_last(x: Expression) -> Expression:
    """(batch, heads, length, size) as (batch, length, heads * size)."""
    batch, heads, length, size = x.shape
    return reshape(transpose(x, (0, 2, 1, 3)), (batch, length, heads * size))


def _grouped(x: Expression, heads: int) -> Expression:
    """All rows of the query heads that share a key, below each other."""
    batch, all_heads, length, size = x.shape
    if heads < 1 or all_heads % heads:
        raise ValueError(f"{all_heads} query heads must be a multiple of {heads} key heads")
    return reshape(x, (batch, heads, all_heads // heads * length, size))


def similarity(query: Expression, key: Expression, scale: float | None = None) -> Expression:
    """Products of every query with every key of its head; ``scale`` is 1 / sqrt(head size) by default."""
    factor = 1.0 / math.sqrt(max(query.shape[3], 1)) if scale is None else scale
    scaled = query if factor == 1.0 else query * factor
    products = _grouped(scaled, key.shape[1]) @ transpose(key, (0, 1, 3, 2))
    return reshape(products, (*query.shape[:3], key.shape[2]))


def weighted_sum(weights: Expression, value: Expression) -> Expression:
    """The values of every head, weighted for each query."""
    return reshape(_grouped(weights, value.shape[1]) @ value, (*weights.shape[:3], value.shape[3]))


def softcapped(scores: Expression, softcap: float) -> Expression:
    """``scores`` squashed smoothly into (-softcap, softcap); 0 leaves them as they are."""
    return emit("Tanh", scores * (1.0 / softcap)) * softcap if softcap > 0 else scores


def window(queries: int, keys: int, offset: int, is_causal: bool, left: int = -1, right: int = -1) -> np.ndarray | None:
    """Which keys each query may see, (queries, keys): query i stands at key ``offset + i``. ``None`` if all of them."""
    distance = np.arange(keys) - (offset + np.arange(queries)).reshape(-1, 1)
    seen = np.ones(distance.shape, dtype=bool)
    seen &= (distance <= 0) if is_causal else True
    seen &= (distance >= -left) if left >= 0 else True
    seen &= (distance <= right) if right >= 0 else True
    return None if seen.all() else seen


def window_at(
    offsets: Expression, queries: int, keys: int, is_causal: bool, left: int = -1, right: int = -1
) -> Expression | None:
    """``window`` for ``offsets`` that differ by sample: (batch, 1, queries, keys)."""
    places = reshape(offsets, (offsets.shape[0], 1, 1, 1)) + np.arange(queries).reshape(1, 1, -1, 1)
    distance = emit("Sub", np.arange(keys).reshape(1, 1, 1, -1), places)
    limits = []
    if is_causal:
        limits.append(emit("LessOrEqual", distance, 0))
    if left >= 0:
        limits.append(emit("GreaterOrEqual", distance, -left))
    if right >= 0:
        limits.append(emit("LessOrEqual", distance, right))
    return all_of(limits)


def all_of(conditions: list[Expression]) -> Expression | None:
    """Where every condition holds; ``None`` for no conditions."""
    found = None
    for condition in conditions:
        found = condition if found is None else emit("And", found, condition)
    return found


def as_bias(condition: Expression, like: Expression, masked: float = -math.inf) -> Expression:
    """0 where the condition holds, ``masked`` elsewhere, in the element type of ``like``."""
    return where(condition, as_expression(0.0, like), as_expression(masked, like))


def bias_of(condition: np.ndarray, like: Expression, masked: float = -math.inf) -> Expression:
    """``as_bias`` of a condition that is known."""
    return as_expression(np.where(condition, 0.0, masked).astype(like.dtype), like)


def attention_weights(scores: Expression, bias: Expression | None) -> Expression:
    """The softmax of ``scores + bias``; zeros for a query whose keys are all masked."""
    if bias is None or scores.shape[-1] == 0:
        return softmax(scores)
    if isinstance(bias.value, np.ndarray) and bool((bias.value.max(axis=-1, initial=-np.inf) > -np.inf).all()):
        return softmax(scores + bias)
    alive = emit("Greater", emit("ReduceMax", bias, indices(bias, [-1]), keepdims=1), -math.inf)
    weights = softmax(where(alive, scores + bias, 0.0))
    return where(alive, weights, 0.0)


def softmax(scores: Expression) -> Expression:
    """Softmax over the last axis."""
    found: Expression = emit("Softmax", scores, axis=-1)
    return found


def padded_mask(mask: Expression, length: int) -> Expression:
    """A mask whose last axis is too short, with the keys beyond it masked."""
    missing = length - mask.shape[-1]
    if missing <= 0:
        return mask
    shape = (*mask.shape[:-1], missing)
    is_boolean = mask.dtype == np.bool_
    rest = as_expression(np.zeros(shape, np.bool_), mask) if is_boolean else filled(mask, shape, -math.inf)
    found: Expression = emit("Concat", mask, rest, axis=-1)
    return found


def additive(mask: Expression, like: Expression) -> Expression:
    """A mask as what is added to the scores."""
    return as_bias(mask, like) if mask.dtype == np.bool_ else cast(mask, like.dtype)
