"""The gradients of BatchNormalization: frozen, of the batch's statistics, and the fused operator that takes these.

The fused gradient takes mean and variance as given; what they owe to the input comes through the training form's other
outputs, so second derivatives and losses on running statistics are right too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.composed import gradient_through
from toolkit.operators.derivative import cast, masked
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, expand, reduce_sum, reshape, unbroadcast
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.record import Call, TensorType, operator


def channelwise(vector: np.ndarray, ndim: int) -> np.ndarray:
    """Broadcastable to (batch, channels, ...)."""
    return vector.reshape(1, -1, *(1,) * (ndim - 2))


def _gradient_reference(
    g: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray,
    batch_mean: np.ndarray,
    batch_variance: np.ndarray,
    mask: np.ndarray | None = None,
    more: np.ndarray | None = None,
    *,
    epsilon: float = 1e-5,
    activation: str = "",
) -> tuple[np.ndarray, ...]:
    """In float32 where anything is of half width, as the statistics are beside images of that.

    ``more`` is added to the gradient. What the activation lets through of it comes last: the gradient of a residual.
    """
    types = x.dtype, scale.dtype, scale.dtype, x.dtype
    given = (g, x, scale, batch_mean, batch_variance)
    g, x, scale, batch_mean, batch_variance = (
        item.astype(np.float32) if item.dtype in HALF_WIDTH else item for item in given
    )
    if more is not None:
        g = g + more
    if activation:
        assert mask is not None
        g = np.where(mask, g, g.dtype.type(0))
    axes, count = (0, *range(2, x.ndim)), x.size // max(x.shape[1], 1)
    inverse = 1.0 / np.sqrt(batch_variance + batch_variance.dtype.type(epsilon))
    centred = (x - channelwise(batch_mean, x.ndim)) * channelwise(inverse, x.ndim)
    dbias, dscale = g.sum(axis=axes), (g * centred).sum(axis=axes)
    dx = g - centred * channelwise(dscale / count, x.ndim) - channelwise(dbias / count, x.ndim)
    dx *= channelwise(scale * inverse, x.ndim)
    return tuple(item.astype(dtype, copy=False) for item, dtype in zip((dx, dscale, dbias, g), types, strict=True))


def _infer_gradient(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    g, x, scale, *rest = inputs
    assert x is not None
    assert scale is not None
    given = [item for item in (g, *rest[3:]) if item is not None]
    if g is None or any(item[1] != x[1] for item in given):
        raise ShapeError(f"the gradient must have the input's shape {x[1]}")
    if attributes.get("activation", "") and (len(rest) < 3 or rest[2] is None):
        raise ShapeError("the gradient through an activation needs its mask as sixth input")
    return [x, scale, scale, x]


def gradient_of_inputs(
    call: Call, grads: Sequence[Expression | None], trains: bool, view: Sequence[int]
) -> list[Expression | None]:
    """The gradients of all inputs from those of the outputs; frozen statistics get none.

    ``view`` is the shape in which the input has one statistic per entry of axis 1.
    """
    if all(item is None for item in grads):
        return [None] * 5
    first, *vectors = (item for item in call.inputs if item is not None)
    types = {item.dtype for item in (first, *vectors)}
    dtype = types.pop() if len(types) == 1 else np.dtype(np.float32)
    g, *moved = (
        None if item is None else cast(reshape(item, (view[1],) if place else view), dtype)
        for place, item in enumerate(grads)
    )
    x, channels = cast(reshape(first, view), dtype), [cast(reshape(item, (view[1],)), dtype) for item in vectors]
    if trains:
        parts = _batch_gradient(call, g, moved, x, channels)
    else:
        assert g is not None
        parts = _frozen_gradient(call, g, x, channels)
    pairs = zip(parts, (first, *vectors), strict=True)
    return [None if part is None else cast(reshape(part, item.shape), item.dtype) for part, item in pairs]


def _frozen_gradient(
    call: Call, g: Expression, x: Expression, vectors: Sequence[Expression]
) -> Sequence[Expression | None]:
    """Statistics are frozen: the operator is a scale and a shift of every channel."""
    across = _across(x)
    scale, _, mean, variance = (reshape(item, across) for item in vectors)
    inverse = 1.0 / emit("Sqrt", variance + float(call.attribute("epsilon", 1e-5)))
    return [
        g * (scale * inverse) if call.wants[0] else None,
        unbroadcast(g * ((x - mean) * inverse), across) if call.wants[1] else None,
        unbroadcast(g, across) if call.wants[2] else None,
        None,
        None,
    ]


def _across(x: Expression) -> tuple[int, ...]:
    """The shape in which a vector of channels broadcasts to ``x``."""
    return (1, x.shape[1], *(1,) * (x.ndim - 2))


def _batch_gradient(
    call: Call, g: Expression | None, moved: Sequence[Expression | None], x: Expression, vectors: Sequence[Expression]
) -> Sequence[Expression | None]:
    """For a node that was not replaced by its training form: the statistics of the batch are taken again."""
    epsilon, momentum = float(call.attribute("epsilon", 1e-5)), float(call.attribute("momentum", 0.9))
    made = emit("BatchNormalizationTraining", x, *vectors, domain=TOOLKIT_DOMAIN, epsilon=epsilon, outputs=5)
    parts: list[Expression | None] = [None] * 3
    if g is not None:
        parts = [*_emitted(g, x, vectors[0], made[3], made[4], None, {"epsilon": epsilon, "activation": ""})]
    return _with_statistics(parts, x, made[3], moved, momentum)


def _with_statistics(
    parts: list[Expression | None],
    x: Expression,
    batch_mean: Expression,
    grads: Sequence[Expression | None],
    momentum: float,
) -> list[Expression | None]:
    """Adds what the gradients of moved and batch statistics send to the input and to the running statistics."""
    moved_mean, moved_variance, of_mean, of_variance = (*grads, None, None, None, None)[:4]
    mean_grad = _weighted_sum((moved_mean, 1.0 - momentum), (of_mean, 1.0))
    variance_grad = _weighted_sum((moved_variance, 1.0 - momentum), (of_variance, 1.0))
    across, count = _across(x), max(math.prod(x.shape) // max(x.shape[1], 1), 1)
    dx = [] if parts[0] is None else [parts[0]]
    if mean_grad is not None:
        dx.append(expand(reshape(mean_grad * (1.0 / count), across), x.shape))
    if variance_grad is not None:
        dx.append((x - reshape(batch_mean, across)) * reshape(variance_grad * (2.0 / count), across))
    running = [_weighted_sum((item, momentum)) for item in (moved_mean, moved_variance)]
    return [sum(dx[1:], dx[0]) if dx else None, *parts[1:], *running]


def _weighted_sum(*terms: tuple[Expression | None, float]) -> Expression | None:
    present = [item * factor for item, factor in terms if item is not None]
    return sum(present[1:], present[0]) if present else None


def training_gradient(call: Call, g: Expression | None, *further: Expression | None) -> list[Expression | None]:
    """The rule of the training form: it hands its statistics, and what its activation let through, to the gradient.

    The gradient of a residual is what the activation lets through.
    """
    mean, variance = call.outputs[3:5]
    assert mean is not None
    has_residual = len(call.inputs) > 5 and call.inputs[5] is not None
    parts: list[Expression | None] = [None] * (3 + int(has_residual))
    if g is not None:
        mask = call.outputs[5] if len(call.outputs) > 5 else None
        attributes = {"epsilon": call.attribute("epsilon", 1e-5), "activation": call.attribute("activation", "")}
        parts = [*_emitted(g, call.x, call.inputs[1], mean, variance, mask, attributes, outputs=len(parts))]
    of_residual = parts[3:]
    if all(item is None for item in further[:4]):
        return [*parts[:3], None, None, *of_residual]
    momentum = float(call.attribute("momentum", 0.9))
    return [*_with_statistics(parts[:3], call.x, mean, further[:4], momentum), *of_residual]


def _emitted(
    g: Expression,
    x: Expression,
    scale: Expression | None,
    mean: Expression | None,
    variance: Expression | None,
    mask: Expression | None,
    attributes: dict[str, Any],
    outputs: int = 3,
) -> list[Expression]:
    inputs = [g, x, scale, mean, variance, *([] if mask is None else [mask])]
    made: list[Expression] = emit(
        "BatchNormalizationGradient", *inputs, domain=TOOLKIT_DOMAIN, **attributes, outputs=outputs
    )
    return made


def _gradient_from_parts(call: Call) -> list[Expression | None]:
    """The fused gradient from standard operators."""
    g, x, *vectors = call.inputs[:5]
    assert g is not None and x is not None
    types = {item.dtype for item in (x, *vectors) if item is not None}
    dtype = x.dtype if len(types) == 1 else np.dtype(np.float32)
    across, axes = _across(x), [axis for axis in range(x.ndim) if axis != 1]
    scale, mean, variance = (cast(reshape(item, across), dtype) for item in vectors if item is not None)
    g, wide = cast(g, dtype), cast(x, dtype)
    if len(call.inputs) > 6 and call.inputs[6] is not None:
        g = g + cast(call.inputs[6], dtype)
    if call.attribute("activation", ""):
        mask = call.inputs[5]
        assert mask is not None
        g = masked(cast(mask, np.dtype(np.bool_)), g)
    inverse = 1.0 / emit("Sqrt", variance + float(call.attribute("epsilon", 1e-5)))
    normal = (wide - mean) * inverse
    dbias, dscale = reduce_sum(g, axes), reduce_sum(g * normal, axes)
    share = 1.0 / max(math.prod(x.shape) // max(x.shape[1], 1), 1)
    dx = (g - normal * (dscale * share) - dbias * share) * (scale * inverse)
    model = call.inputs[2]
    assert model is not None
    vectors_of = [cast(reshape(item, model.shape), model.dtype) for item in (dscale, dbias)]
    return [cast(dx, x.dtype), *vectors_of, cast(g, x.dtype)]


operator(
    "BatchNormalizationGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_gradient_reference,
    gradient=gradient_through(_gradient_from_parts),
    infer=_infer_gradient,
    expansion=_gradient_from_parts,
)
