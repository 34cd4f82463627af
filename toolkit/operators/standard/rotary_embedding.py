"""RotaryEmbedding (since 23): pairs of features turned by angles that depend on the position.

``rotated`` is what every rotary operator is made of, the ones of other domains included.
"""

from __future__ import annotations

from toolkit.operators.composed import argument, composed, required
from toolkit.operators.expression import Expression, emit, indices, reshape
from toolkit.operators.record import Call


def rotated(x: Expression, cosine: Expression, sine: Expression, is_interleaved: bool = False) -> Expression:
    """The first features of ``x`` (..., size) turned pair by pair; the last ones stay as they are.

    Cosine and sine (..., count) broadcast to ``x`` and tell how many pairs there are. The members of a pair stand next
    to each other if the layout is interleaved, else the second half follows the first.
    """
    count = cosine.shape[-1]
    turned, rest = x, None
    if 2 * count > x.shape[-1]:
        raise ValueError(f"{count} angles turn {2 * count} features, more than the {x.shape[-1]} of a head")
    if 2 * count < x.shape[-1]:
        turned, rest = emit("Split", x, indices(x, [2 * count, x.shape[-1] - 2 * count]), axis=-1, outputs=2)
    if count:
        turned = _turned(turned, cosine, sine, is_interleaved)
    return turned if rest is None else emit("Concat", turned, rest, axis=-1)


def _turned(x: Expression, cosine: Expression, sine: Expression, is_interleaved: bool) -> Expression:
    count = cosine.shape[-1]
    if not is_interleaved:
        first, second = emit("Split", x, indices(x, [count, count]), axis=-1, outputs=2)
        real, imaginary = first * cosine - second * sine, first * sine + second * cosine
        found: Expression = emit("Concat", real, imaginary, axis=-1)
        return found
    pairs = reshape(x, (*x.shape[:-1], count, 2))
    first, second = (
        reshape(part, (*x.shape[:-1], count)) for part in emit("Split", pairs, indices(x, [1, 1]), axis=-1, outputs=2)
    )
    real, imaginary = first * cosine - second * sine, first * sine + second * cosine
    parts = [reshape(part, (*x.shape[:-1], count, 1)) for part in (real, imaginary)]
    return reshape(emit("Concat", *parts, axis=-1), x.shape)


def by_head(x: Expression, heads: int) -> Expression:
    """(batch, length, heads * size) as (batch, length, heads, size)."""
    batch, length, hidden = x.shape
    if heads < 1 or hidden % heads:
        raise ValueError(f"{hidden} features must divide into {heads} heads: set num_heads")
    return reshape(x, (batch, length, heads, hidden // heads))


def beside_heads(angles: Expression, is_heads_first: bool) -> Expression:
    """(batch, length, count) with an axis for the heads, before the length or after it."""
    batch, length, count = angles.shape
    return reshape(angles, (batch, 1, length, count) if is_heads_first else (batch, length, 1, count))


def _rotary_embedding(call: Call) -> list[Expression | None]:
    x = required(call, 0, "X")
    caches = [required(call, 1, "cos_cache"), required(call, 2, "sin_cache")]
    positions = argument(call, 3)
    if x.ndim not in (3, 4):
        raise ValueError(f"X must have 3 or 4 axes, got the shape {x.shape}")
    if positions is not None:
        caches = [emit("Gather", cache, positions, axis=0) for cache in caches]
    if any(cache.ndim != 3 for cache in caches):
        raise ValueError("the caches must be (positions, count) with position_ids, (batch, length, count) without")
    heads = x if x.ndim == 4 else by_head(x, int(call.attribute("num_heads", 0)))
    wanted = int(call.attribute("rotary_embedding_dim", 0)) or heads.shape[3]
    if caches[0].shape[-1] * 2 != wanted or caches[1].shape[-1] * 2 != wanted:
        raise ValueError(f"cos_cache and sin_cache must have {wanted // 2} columns to turn {wanted} features")
    cosine, sine = (beside_heads(cache, x.ndim == 4) for cache in caches)
    return [reshape(rotated(heads, cosine, sine, bool(call.attribute("interleaved", 0))), x.shape)]


composed("RotaryEmbedding", _rotary_embedding, since=23)
