"""Attention as one operator of our own, and its gradient: what a backend may compute without the scores in memory.

ScaledDotProductAttention is ``softmax(scale * q k' + mask) v`` on (batch, heads, length, size); the batch axis may be
missing. ``swapQ``, ``swapK``, ``swapV`` and ``swapY`` say of a tensor that it lies as (batch, length, heads, size), as
in FusedMatMul. The mask broadcasts to (batch, heads, queries, keys) and is added; ``is_causal`` hides every key behind
the query of its number. What a query gets that sees no key at all is not defined.

The second output, the logarithm of what the softmax divides by, is all that the gradient needs of the scores. It lies
as (batch, heads, queries, 1) and is never of half width. The gradient takes dy, q, k, v, y, that logarithm and the
mask; it gives dq, dk and dv, each lying as what it is the gradient of.

DroppingAttention drops weights as Dropout does: each with the probability ``ratio``, the others are scaled up. Its
third output says which it kept, as (batch, heads, queries, keys). That is the last input of the gradient then, which is
told the ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import NotDifferentiableError, ShapeError
from toolkit.operators.composed import argument, gradient_through
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, indices, reduce_sum, transpose, where
from toolkit.operators.precision import HALF_WIDTH, in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.dropout import draw
from toolkit.operators.standard.linear import swapped
from toolkit.operators.standard.scaled_dot_product import bias_of, window

ATTENTION, ATTENTION_GRADIENT = "ScaledDotProductAttention", "ScaledDotProductAttentionGradient"
DROPPING = "DroppingAttention"
FLOAT32 = np.dtype(np.float32)


def _seen(x: np.ndarray, swap: int) -> np.ndarray:
    """(..., heads, length, size)."""
    return x.swapaxes(-3, -2) if swap else x


def _laid(x: np.ndarray, swap: int) -> np.ndarray:
    """The inverse of ``_seen``, in memory."""
    return np.ascontiguousarray(x.swapaxes(-3, -2), like=x) if swap else x


def _scores(q: np.ndarray, k: np.ndarray, mask: np.ndarray | None, scale: float, is_causal: int) -> np.ndarray:
    scores = np.matmul(q, k.swapaxes(-1, -2)) * q.dtype.type(scale)
    if mask is not None:
        scores += mask
    if is_causal:
        queries, keys = scores.shape[-2:]
        seen = np.arange(keys, like=q) <= np.arange(queries, like=q).reshape(-1, 1)
        scores = np.where(seen, scores, q.dtype.type(-np.inf))
    return scores


@in_float32(keep=(1,))
def _attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    scale: float = 1.0,
    is_causal: int = 0,
    swapQ: int = 0,
    swapK: int = 0,
    swapV: int = 0,
    swapY: int = 0,
) -> tuple[np.ndarray, ...]:
    weights, logarithm = _weights(_scores(_seen(q, swapQ), _seen(k, swapK), mask, scale, is_causal))
    return _laid(np.matmul(weights, _seen(v, swapV)), swapY), logarithm


def _weights(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The softmax, and the logarithm of what it divides by."""
    largest = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - largest)
    total = powers.sum(axis=-1, keepdims=True)
    return powers / total, largest + np.log(total)


@in_float32(keep=(1,))
def _dropping_attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    ratio: float,
    scale: float = 1.0,
    is_causal: int = 0,
    swapQ: int = 0,
    swapK: int = 0,
    swapV: int = 0,
    swapY: int = 0,
    random: np.random.Generator | None = None,
) -> tuple[np.ndarray, ...]:
    weights, logarithm = _weights(_scores(_seen(q, swapQ), _seen(k, swapK), mask, scale, is_causal))
    kept = draw(weights.shape, None, random) >= ratio
    y = np.matmul(_dropped(weights, kept, ratio), _seen(v, swapV))
    return _laid(y, swapY), logarithm, kept


def _dropped(weights: np.ndarray, kept: np.ndarray | None, ratio: float) -> np.ndarray:
    return weights if kept is None else weights * kept * weights.dtype.type(1.0 / (1.0 - ratio))


@in_float32
def _attention_gradient(
    g: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    y: np.ndarray,
    logarithm: np.ndarray,
    mask: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    *,
    ratio: float = 0.0,
    scale: float = 1.0,
    is_causal: int = 0,
    swapQ: int = 0,
    swapK: int = 0,
    swapV: int = 0,
    swapY: int = 0,
) -> tuple[np.ndarray, ...]:
    g, y = _seen(g, swapY), _seen(y, swapY)
    q, k, v = _seen(q, swapQ), _seen(k, swapK), _seen(v, swapV)
    weights = np.exp(_scores(q, k, mask, scale, is_causal) - logarithm)
    dv = np.matmul(_dropped(weights, kept, ratio).swapaxes(-1, -2), g)
    slopes = _dropped(np.matmul(g, v.swapaxes(-1, -2)), kept, ratio) - (g * y).sum(axis=-1, keepdims=True)
    slopes *= weights
    slopes *= q.dtype.type(scale)
    dq, dk = np.matmul(slopes, k), np.matmul(slopes.swapaxes(-1, -2), q)
    return _laid(dq, swapQ), _laid(dk, swapK), _laid(dv, swapV)


def _shapes(
    q: TensorType | None, k: TensorType | None, v: TensorType | None, attributes: dict[str, Any]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The three as (..., heads, length, size), in agreement."""
    assert q is not None and k is not None and v is not None
    if not 3 <= len(q[1]) <= 4 or not len(q[1]) == len(k[1]) == len(v[1]):
        raise ShapeError(f"q, k and v must have 3 or 4 axes, all as many, got {q[1]}, {k[1]} and {v[1]}")
    seen_q, seen_k, seen_v = (
        swapped(item[1], attributes.get(f"swap{letter}", 0), letter)
        for item, letter in zip((q, k, v), "QKV", strict=True)
    )
    if seen_q[:-2] != seen_k[:-2] or seen_k[:-1] != seen_v[:-1] or seen_q[-1] != seen_k[-1]:
        raise ShapeError(
            f"q {seen_q}, k {seen_k} and v {seen_v} must agree in batch and heads, q and k in size, k and v in length"
        )
    return seen_q, seen_k, seen_v


def _require_mask(mask: TensorType | None, shape: tuple[int, ...]) -> None:
    if mask is None:
        return
    pairs = zip(reversed(mask[1]), reversed(shape), strict=False)
    if len(mask[1]) > len(shape) or any(size not in (1, wanted) for size, wanted in pairs):
        raise ShapeError(f"the mask must broadcast to the scores {shape}, got {mask[1]}")


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    q, k, v, mask = (*inputs, None)[:4]
    seen_q, seen_k, seen_v = _shapes(q, k, v, attributes)
    _require_mask(mask, (*seen_q[:-1], seen_k[-2]))
    assert q is not None
    y = swapped((*seen_q[:-1], seen_v[-1]), attributes.get("swapY", 0), "Y")
    return [(q[0], y), (FLOAT32 if q[0] in HALF_WIDTH else q[0], (*seen_q[:-1], 1))]


def _infer_dropping(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    if not 0.0 < float(attributes["ratio"]) < 1.0:
        raise ShapeError(f"ratio must lie between 0 and 1, got {attributes['ratio']}")
    y, logarithm = _infer(inputs, attributes, _)
    q, k, v = inputs[:3]
    seen_q, seen_k, _ = _shapes(q, k, v, attributes)
    return [y, logarithm, (np.dtype(np.bool_), (*seen_q[:-1], seen_k[-2]))]


def _infer_gradient(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    g, q, k, v, y, logarithm, mask, kept = (*inputs, None, None)[:8]
    seen_q, seen_k, seen_v = _shapes(q, k, v, attributes)
    _require_mask(mask, (*seen_q[:-1], seen_k[-2]))
    scores = (*seen_q[:-1], seen_k[-2])
    if kept is not None and kept != (np.dtype(np.bool_), scores):
        raise ShapeError(f"what was kept must be boolean and of the shape {scores}, got {kept[1]} of {kept[0]}")
    wanted = swapped((*seen_q[:-1], seen_v[-1]), attributes.get("swapY", 0), "Y")
    for name, item, shape in (("g", g, wanted), ("y", y, wanted), ("the logarithm", logarithm, (*seen_q[:-1], 1))):
        if item is None or item[1] != shape:
            raise ShapeError(f"{name} must have the shape {shape}, got {None if item is None else item[1]}")
    assert q is not None and k is not None and v is not None
    return [q, k, v]


# in standard operators --------------------------------------------------------------------------------------------


def _exchanged(call: Call, x: Expression | None, letter: str) -> Expression:
    """``x`` seen as (..., heads, length, size), or laid back."""
    assert x is not None
    order = list(range(x.ndim))
    if call.attribute(f"swap{letter}", 0):
        order[-3], order[-2] = order[-2], order[-3]
    return transpose(x, order)


def _turned(x: Expression) -> Expression:
    return transpose(x, [*range(x.ndim - 2), x.ndim - 1, x.ndim - 2])


def _masked_scores(call: Call, q: Expression, k: Expression, mask: Expression | None) -> Expression:
    scores = q @ _turned(k) * float(call.attribute("scale", 1.0))
    if mask is not None:
        scores = scores + mask
    seen = window(scores.shape[-2], scores.shape[-1], 0, is_causal=True) if call.attribute("is_causal", 0) else None
    return scores if seen is None else scores + bias_of(seen, scores)


def _expansion(call: Call) -> list[Expression | None]:
    q, k, v = (_exchanged(call, item, letter) for item, letter in zip(call.inputs[:3], "QKV", strict=True))
    scores = _masked_scores(call, q, k, argument(call, 3))
    y = emit("Softmax", scores, axis=-1) @ v
    return [_exchanged(call, y, "Y"), emit("ReduceLogSumExp", scores, indices(scores, [-1]), keepdims=1)]


def _expand_dropping(call: Call) -> list[Expression | None]:
    q, k, v = (_exchanged(call, item, letter) for item, letter in zip(call.inputs[:3], "QKV", strict=True))
    scores = _masked_scores(call, q, k, argument(call, 3))
    ratio = np.asarray(call.attributes["ratio"], np.float32)
    weights, kept = emit("Dropout", emit("Softmax", scores, axis=-1), ratio, np.asarray(True), outputs=2)
    logarithm = emit("ReduceLogSumExp", scores, indices(scores, [-1]), keepdims=1)
    return [_exchanged(call, weights @ v, "Y"), logarithm, kept]


def _expand_kept(call: Call) -> list[Expression | None]:
    """The same, where it is known what was kept."""
    q, k, v = (_exchanged(call, item, letter) for item, letter in zip(call.inputs[:3], "QKV", strict=True))
    scores = _masked_scores(call, q, k, argument(call, 3))
    weights = _kept_part(call, emit("Softmax", scores, axis=-1), call.outputs[2])
    return [_exchanged(call, weights @ v, "Y"), emit("ReduceLogSumExp", scores, indices(scores, [-1]), keepdims=1)]


def _kept_part(call: Call, x: Expression, kept: Expression | None) -> Expression:
    """``x`` scaled up where it was kept, zero elsewhere."""
    return x if kept is None else where(kept, x * (1.0 / (1.0 - float(call.attributes["ratio"]))), 0.0)


def _gradient_expansion(call: Call) -> list[Expression | None]:
    g, q, k, v, y = (_exchanged(call, item, letter) for item, letter in zip(call.inputs[:5], "YQKVY", strict=True))
    logarithm = call.inputs[5]
    assert logarithm is not None
    weights = emit("Exp", _masked_scores(call, q, k, argument(call, 6)) - logarithm)
    kept = argument(call, 7)
    slopes = _kept_part(call, g @ _turned(v), kept) - reduce_sum(g * y, [-1])
    slopes = weights * slopes * float(call.attribute("scale", 1.0))
    found = {"Q": slopes @ k, "K": _turned(slopes) @ q, "V": _turned(_kept_part(call, weights, kept)) @ g}
    return [_exchanged(call, part, letter) for letter, part in found.items()]


_through_expansion, _through_kept = gradient_through(_expansion), gradient_through(_expand_kept)


def _gradient(call: Call, *grads: Expression | None) -> Sequence[Any]:
    """The fused gradient, where the logarithm was kept and neither it nor the mask has a part in it."""
    logarithm = call.outputs[1] if len(call.outputs) > 1 else None
    if logarithm is None or grads[0] is None or any(item is not None for item in grads[1:]) or any(call.wants[3:]):
        return _through_expansion(call, *grads)
    found = emit(
        ATTENTION_GRADIENT,
        grads[0],
        *call.inputs[:3],
        call.y,
        logarithm,
        *call.inputs[3:],
        domain=TOOLKIT_DOMAIN,
        outputs=3,
        **call.attributes,
    )
    return [*found, None][: len(call.inputs)]


def _gradient_of_dropping(call: Call, *grads: Expression | None) -> Sequence[Any]:
    if len(call.outputs) < 3 or call.outputs[2] is None:
        raise NotDifferentiableError(f"{DROPPING} has no gradient without what it kept: connect its third output.")
    return _through_kept(call, *grads)


operator(ATTENTION, domain=TOOLKIT_DOMAIN, reference=_attention, gradient=_gradient, infer=_infer, expansion=_expansion)
operator(
    DROPPING,
    domain=TOOLKIT_DOMAIN,
    reference=_dropping_attention,
    gradient=_gradient_of_dropping,
    infer=_infer_dropping,
    expansion=_expand_dropping,
    is_random=True,
)
operator(
    ATTENTION_GRADIENT,
    domain=TOOLKIT_DOMAIN,
    reference=_attention_gradient,
    gradient=gradient_through(_gradient_expansion),
    infer=_infer_gradient,
    expansion=_gradient_expansion,
)
