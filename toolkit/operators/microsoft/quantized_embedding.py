"""com.microsoft QEmbedLayerNormalization: the sum of quantised embeddings of a text model, normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import TensorType, operator
from toolkit.operators.standard.quantization import dequantize
from toolkit.operators.standard.quantized_convolution import one
from toolkit.operators.standard.quantized_linear import INTEGERS

Array = np.ndarray


def qembed_layer_normalization(
    words: Array,
    segments: Array | None,
    word_table: Array,
    position_table: Array,
    segment_table: Array | None,
    gamma: Array,
    beta: Array,
    mask: Array | None,
    word_scale: Array,
    position_scale: Array,
    segment_scale: Array | None,
    gamma_scale: Array,
    beta_scale: Array,
    word_zero: Array,
    position_zero: Array,
    segment_zero: Array | None,
    gamma_zero: Array,
    beta_zero: Array,
    *,
    epsilon: float = 1e-12,
) -> tuple[Array, Array]:
    """Normalised embeddings (batch, sequence, hidden), and how many words of each text the mask lets through."""
    _within(words, word_table, "input_ids", "word_embedding")
    total = _numbers(word_table[words], word_scale, word_zero)
    total += _numbers(position_table[: words.shape[1]], position_scale, position_zero)
    if segments is not None and segment_table is not None and segment_scale is not None:
        _within(segments, segment_table, "segment_ids", "segment_embedding")
        total += _numbers(segment_table[segments], segment_scale, segment_zero)
    total -= total.mean(axis=-1, keepdims=True)
    total /= np.sqrt((total * total).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    y = total * _numbers(gamma, gamma_scale, gamma_zero) + _numbers(beta, beta_scale, beta_zero)
    count = np.zeros(len(words), like=words) if mask is None else (mask == 1).sum(axis=1)
    return y, count.astype(np.int32)


def _numbers(x: Array, scale: Array, zero_point: Array | None) -> Array:
    return dequantize(x, scale.reshape(()), one(zero_point))


def _within(index: Array, table: Array, name: str, of: str) -> None:
    if index.size and (index.min() < 0 or index.max() >= len(table)):
        raise IndexError(
            f"{name} must lie in [0, {len(table) - 1}], the rows of {of}, got {index.min()} to {index.max()}"
        )


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    words, table, positions, scale = types[0], types[2], types[3], types[8]
    assert words is not None and table is not None and positions is not None and scale is not None
    if len(words[1]) != 2 or words[1][1] > positions[1][0]:
        raise ValueError(f"input_ids must be (batch, sequence) of at most {positions[1][0]} positions, got {words[1]}")
    return [(scale[0], (*words[1], table[1][-1])), (np.dtype(np.int32), words[1][:1])]


operator(
    "QEmbedLayerNormalization",
    domain=MICROSOFT,
    reference=qembed_layer_normalization,
    gradient=INTEGERS,
    infer=_infer,
)
