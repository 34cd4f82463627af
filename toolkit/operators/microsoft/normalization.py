"""com.microsoft normalisations: behind a residual sum, behind embeddings, by group or by branch, gated or activated.

Statistics that onnxruntime only names for its training (mean, inv_std_var) are given too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.operators.composed import Expansion, argument, composed, required
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, as_expression, emit, indices, reshape, transpose
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call
from toolkit.operators.standard.gated_activation import swish
from toolkit.operators.standard.normalization import standardize

SKIP_EPSILON = 9.999999960041972e-13  # the float32 defaults of the schemas
EPSILON = 9.999999747378752e-06
SILU = 1  # what the attribute activation of group normalisations calls it


def _inverse_root(x: Expression, epsilon: float) -> Expression:
    """1 / the root of the mean square over the last axis."""
    return 1.0 / emit("Sqrt", emit("ReduceMean", x * x, indices(x, [-1]), keepdims=1) + epsilon)


def _skip_layer(call: Call) -> list[Expression | None]:
    beta, bias = argument(call, 3), argument(call, 4)
    total = call.x + required(call, 1, "skip")
    total = total if bias is None else total + bias
    epsilon = float(call.attribute("epsilon", SKIP_EPSILON))
    y, mean, inverse = emit("LayerNormalization", total, required(call, 2, "gamma"), beta, epsilon=epsilon, outputs=3)
    return [y, mean, inverse, total]


def _skip_simplified_layer(call: Call) -> list[Expression | None]:
    bias = argument(call, 3)
    total = call.x + required(call, 1, "skip")
    total = total if bias is None else total + bias
    inverse = _inverse_root(total, float(call.attribute("epsilon", SKIP_EPSILON)))
    mean = emit("ReduceMean", total, indices(total, [-1]), keepdims=1)
    stored = np.dtype(np.float32)
    return [total * inverse * required(call, 2, "gamma"), cast(mean, stored), cast(inverse, stored), total]


def _embed_layer(call: Call) -> list[Expression | None]:
    """Words, positions and segments looked up, added and normalised; and how many tokens each mask keeps."""
    words, segments, mask, positions = call.x, argument(call, 1), argument(call, 7), argument(call, 8)
    length = words.shape[1]
    chosen = np.arange(length) if positions is None else positions
    table = required(call, 3, "position_embedding")
    total = emit("Gather", required(call, 2, "word_embedding"), words, axis=0) + emit("Gather", table, chosen, axis=0)
    if segments is not None:
        total = total + emit("Gather", required(call, 4, "segment_embedding"), segments, axis=0)
    epsilon = float(call.attribute("epsilon", SKIP_EPSILON))
    y = emit("LayerNormalization", total, required(call, 5, "gamma"), required(call, 6, "beta"), epsilon=epsilon)
    counted = as_expression(np.zeros(words.shape[:1], np.int32), words)
    if mask is not None:
        kept = cast(emit("Equal", mask, 1), np.dtype(np.int32))
        counted = emit("ReduceSum", kept, indices(mask, [1]), keepdims=0)
    return [y, counted, total]


def _grouped(call: Call, x: Expression, scale: Expression, shift: Expression) -> Expression:
    """Group normalisation in either layout, and the activation behind it."""
    groups, is_last = int(call.attributes["groups"]), bool(call.attribute("channels_last", 1))
    if x.ndim < 3:
        raise ValueError(f"the input must be (batch, ..., channels) or (batch, channels, ...), got {x.shape}")
    images = transpose(x, [0, x.ndim - 1, *range(1, x.ndim - 1)]) if is_last else x
    batch, channels = images.shape[:2]
    if groups < 1 or channels % groups:
        raise ValueError(f"{channels} channels must divide into {groups} groups")
    apart = (batch, groups, int(np.prod(images.shape[1:], dtype=np.int64)) // groups)
    normal, _ = standardize(reshape(images, apart), [2], float(call.attribute("epsilon", EPSILON)))
    by_channel = (channels, *(1,) * (x.ndim - 2))
    numbers = (reshape(cast(item, x.dtype), by_channel) for item in (scale, shift))
    y = reshape(normal, images.shape) * next(numbers) + next(numbers)
    y = swish(y) if int(call.attribute("activation", 0)) == SILU else y
    return transpose(y, [0, *range(2, x.ndim), 1]) if is_last else y


def _group(call: Call) -> list[Expression | None]:
    return [_grouped(call, call.x, required(call, 1, "gamma"), required(call, 2, "beta"))]


def _skip_group(call: Call) -> list[Expression | None]:
    skip, bias = required(call, 3, "skip"), argument(call, 4)
    is_last = bool(call.attribute("channels_last", 1))
    if skip.ndim == 2:
        positions = (1,) * (call.x.ndim - 2)
        skip = reshape(skip, (skip.shape[0], *positions, skip.shape[1]) if is_last else (*skip.shape, *positions))
    total = call.x + skip
    if bias is not None:
        total = total + (bias if is_last else reshape(bias, (*bias.shape, *(1,) * (call.x.ndim - 2))))
    return [_grouped(call, total, required(call, 1, "gamma"), required(call, 2, "beta")), total]


def _gated_rms(call: Call) -> list[Expression | None]:
    scale, gate = required(call, 1, "scale"), required(call, 2, "gate")
    size = scale.shape[0]
    if not size or call.x.shape[-1] % size:
        raise ValueError(f"the last axis of {call.x.shape} must be a multiple of the {size} scales")
    apart = reshape(call.x, (*call.x.shape[:-1], call.x.shape[-1] // size, size))
    normal = apart * _inverse_root(apart, float(call.attribute("epsilon", EPSILON))) * scale
    opened = emit("Sigmoid", gate) if call.attribute("activation", "silu") == "sigmoid" else swish(gate)
    return [reshape(normal, call.x.shape) * opened]


def _branchwise_rms(call: Call) -> list[Expression | None]:
    scale, branches = argument(call, 1), int(call.attribute("num_branches", 0))
    shape: Sequence[int] = call.x.shape
    if branches:
        shape = (*shape[:-1], branches, shape[-1] // branches)
    apart = reshape(call.x, shape)
    normal = apart * _inverse_root(apart, float(call.attribute("epsilon", EPSILON)))
    if scale is not None:
        flat = scale.ndim == 1 and scale.shape[0] != shape[-1]
        normal = normal * cast(reshape(scale, tuple(shape[-2:])) if flat else scale, call.x.dtype)
    return [reshape(normal, call.x.shape)]


FAMILY: dict[str, Expansion] = {
    "SkipLayerNormalization": _skip_layer,
    "SkipSimplifiedLayerNormalization": _skip_simplified_layer,
    "EmbedLayerNormalization": _embed_layer,
    "GroupNorm": _group,
    "SkipGroupNorm": _skip_group,
    "GatedRMSNorm": _gated_rms,
    "BranchwiseRMSNorm": _branchwise_rms,
}
for _name, _expansion in FAMILY.items():
    composed(_name, _expansion, domain=MICROSOFT)
