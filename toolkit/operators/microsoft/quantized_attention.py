"""com.microsoft QAttention: self-attention whose projection is a product of integers; the rest is float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.microsoft.quantized_linear import matmul_integer_to_float
from toolkit.operators.record import TensorType, operator
from toolkit.operators.standard.quantized_linear import INTEGERS

Array = np.ndarray


def qattention(
    x: Array,
    weight: Array,
    bias: Array,
    x_scale: Array,
    weight_scale: Array,
    mask_index: Array | None = None,
    x_zero_point: Array | None = None,
    weight_zero_point: Array | None = None,
    past: Array | None = None,
    *,
    num_heads: int,
    unidirectional: int = 0,
    mask_filter_value: float = -10000.0,
    scale: float = 0.0,
    do_rotary: int = 0,
    past_present_share_buffer: int = 0,
) -> tuple[Array, Array]:
    """The attended values (batch, sequence, hidden), and keys and values for the next call."""
    if do_rotary or past_present_share_buffer:
        raise ValueError("do_rotary and past_present_share_buffer must be 0: they are of CUDA models only")
    batch, length = x.shape[:2]
    projected = matmul_integer_to_float(x, weight, x_scale, weight_scale, x_zero_point, weight_zero_point, bias)
    heads = projected.reshape(batch, length, 3, num_heads, -1)
    query, key, value = heads.transpose(2, 0, 3, 1, 4)
    if past is not None:
        key, value = np.concatenate([past[0], key], axis=2), np.concatenate([past[1], value], axis=2)
    factor = np.float32(scale or 1 / np.sqrt(query.shape[-1]))
    scores = query @ key.swapaxes(-1, -2) * factor
    if mask_index is not None:
        is_kept = _kept(mask_index, batch, length, key.shape[2])
        scores += np.where(is_kept, np.float32(0), np.float32(mask_filter_value))
    if unidirectional:
        later = np.arange(key.shape[2], like=key) > np.arange(length, like=key)[:, None] + key.shape[2] - length
        scores = np.where(later, np.finfo(np.float32).min, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    y = np.ascontiguousarray((weights @ value).transpose(0, 2, 1, 3), like=value).reshape(batch, length, -1)
    return y, np.stack([key, value])


def _kept(mask: Array, batch: int, length: int, total: int) -> Array:
    """Where keys count, in a form that broadcasts with (batch, heads, sequence, keys).

    A vector gives the end of each sequence, or all ends and then all beginnings; other masks are 1 where keys count.
    """
    if mask.ndim == 1:
        places = np.arange(total, like=mask)
        kept = places < mask[:batch, None]
        if mask.size == 2 * batch:
            kept &= places >= mask[batch:, None]
        return kept[:, None, None]
    if mask.ndim == 2:
        return (mask > 0)[:, None, None]
    if mask.ndim == 3:
        return (mask > 0)[:, None]
    raise ValueError(f"mask_index must have 1, 2 or 3 axes, got {mask.shape}")


def _infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    x, weight, bias = types[0], types[1], types[2]
    past = types[8] if len(types) > 8 else None
    assert x is not None and weight is not None and bias is not None
    heads, hidden = int(attributes["num_heads"]), weight[1][-1] // 3
    if len(x[1]) != 3 or len(weight[1]) != 2 or weight[1][0] != x[1][2] or weight[1][1] != 3 * hidden or hidden % heads:
        raise ValueError(
            f"input and weight must be (batch, sequence, hidden) and (hidden, 3 * {heads} heads * size), "
            f"got {x[1]} and {weight[1]}"
        )
    batch, length, _size = x[1]
    total = length + (0 if past is None else past[1][3])
    return [(bias[0], (batch, length, hidden)), (bias[0], (2, batch, heads, total, hidden // heads))]


operator("QAttention", domain=MICROSOFT, reference=qattention, gradient=INTEGERS, infer=_infer)
