"""com.microsoft rotary embeddings: of one position per token, of three (MRotaryEmbedding), of given angles (Gemma)."""

from __future__ import annotations

import numpy as np

from toolkit.operators.composed import composed, required
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, emit, indices, reshape, where
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call
from toolkit.operators.standard.rotary_embedding import beside_heads, by_head, rotated

INTERLEAVED_SECTIONS = 1  # the value of mrope_layout


def _positions(positions: Expression, batch: int, length: int) -> Expression:
    """(batch, length); a single number is the position of the first token."""
    if positions.shape == (batch, length) and positions.ndim == 2:
        return positions
    if positions.shape != (1,):
        raise ValueError(f"position_ids must be (1,) or {(batch, length)}, got {positions.shape}")
    steps = np.arange(length, dtype=np.int64).reshape(1, length)
    return emit("Expand", reshape(positions, (1, 1)) + steps, indices(positions, [batch, length]))


def _rotary_embedding(call: Call) -> list[Expression | None]:
    batch, length = _extent(call.x)
    chosen = _positions(required(call, 1, "position_ids"), batch, length)
    cosine, sine = (
        emit("Gather", required(call, index, name), chosen, axis=0)
        for index, name in ((2, "cos_cache"), (3, "sin_cache"))
    )
    return [_applied(call, cosine, sine)]


def _extent(x: Expression) -> tuple[int, int]:
    """Batch size and length of (batch, length, hidden) or (batch, heads, length, size)."""
    if x.ndim not in (3, 4):
        raise ValueError(f"the input must have 3 or 4 axes, got the shape {x.shape}")
    return x.shape[0], x.shape[1 if x.ndim == 3 else 2]


def _applied(call: Call, cosine: Expression, sine: Expression) -> Expression:
    """The input turned; without num_heads the caches tell how large a head is."""
    x, heads = call.x, int(call.attribute("num_heads", 0))
    if x.ndim == 3:
        x = by_head(x, heads or max(x.shape[2] // (2 * cosine.shape[-1]), 1))
    cosine, sine = (beside_heads(item, call.x.ndim == 4) for item in (cosine, sine))
    return reshape(rotated(x, cosine, sine, bool(call.attribute("interleaved", 0))), call.x.shape)


def _multimodal(call: Call) -> list[Expression | None]:
    """Every angle takes its position from one of three streams: time, height or width."""
    positions = required(call, 1, "position_ids")
    sections = [int(size) for size in call.attributes["mrope_section"]]
    if len(sections) != 3 or positions.shape != (3, *_extent(call.x)):
        raise ValueError(f"mrope_section must be 3 sizes and position_ids {(3, *_extent(call.x))}")
    stream = _streams(sections, int(call.attribute("mrope_layout", 0)))
    caches = (required(call, 2, "cos_cache"), required(call, 3, "sin_cache"))
    return [_applied(call, *(_chosen(emit("Gather", cache, positions, axis=0), stream) for cache in caches))]


def _streams(sections: list[int], layout: int) -> np.ndarray:
    """The stream of every angle."""
    if layout != INTERLEAVED_SECTIONS:
        return np.repeat(np.arange(3), sections)
    stream = np.zeros(sum(sections), dtype=np.int64)
    for number in (1, 2):
        stream[number : sections[number] * 3 : 3] = number
    return stream


def _chosen(angles: Expression, stream: np.ndarray) -> Expression:
    """(3, batch, length, count) as (batch, length, count)."""
    parts = [
        reshape(emit("Slice", angles, *(indices(angles, [item]) for item in (number, number + 1, 0))), angles.shape[1:])
        for number in range(3)
    ]
    like = parts[0].emitter
    found = where(like.constant(stream == 1), parts[1], parts[0])
    return where(like.constant(stream == 2), parts[2], found)


def _gemma(call: Call) -> list[Expression | None]:
    angles, query, query_turned, key, key_turned = (required(call, index, "emb") for index in range(5))
    batch, length, size = angles.shape
    sine, cosine = (cast(reshape(emit(name, angles), (batch, 1, length, size)), query.dtype) for name in ("Sin", "Cos"))
    return [query * cosine + query_turned * sine, key * cosine + key_turned * sine]


composed("RotaryEmbedding", _rotary_embedding, domain=MICROSOFT)
composed("MRotaryEmbedding", _multimodal, domain=MICROSOFT)
composed("GemmaRotaryEmbedding", _gemma, domain=MICROSOFT)
