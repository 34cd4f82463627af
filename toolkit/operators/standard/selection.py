"""Compress and Unique: which elements, or slices along an axis, are kept.

What Compress keeps is known beforehand when its condition is constant; only then it has a shape, and a gradient. What
Unique keeps is known when it has run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import known, normalised
from toolkit.operators.derivative import element_count, filled, scatter_to_positions
from toolkit.operators.expression import Expression, emit, transpose
from toolkit.operators.record import Call, TensorType, data_dependent, not_differentiable, operator


def compress(x: np.ndarray, condition: np.ndarray, *, axis: int | None = None) -> np.ndarray:
    """The slices along ``axis``, or without one the elements, where the condition holds; it may end early."""
    flat, place = (x.reshape(-1), 0) if axis is None else (x, normalised(axis, x.ndim)[0])
    return np.take(flat, _kept(condition, flat.shape[place]), axis=place)


def _kept(condition: np.ndarray, size: int) -> np.ndarray:
    """Where the condition holds. Raises ``ValueError`` when that is beyond the ``size`` there is."""
    if condition.ndim != 1:
        raise ValueError(f"the condition must be a vector, got shape {condition.shape}")
    (positions,) = np.nonzero(condition)
    if positions.size and positions[-1] >= size:
        raise ValueError(f"the condition holds at {positions[-1]}, but there are only {size} to choose from")
    return positions


def infer_compress(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """The axis becomes as long as the condition holds; without an axis all becomes one."""
    assert types[0] is not None
    (dtype, shape), axis = types[0], attributes.get("axis")
    if axis is None:
        shape, place = (int(np.prod(shape, dtype=np.int64)),), 0
    else:
        (place,) = normalised(axis, len(shape))
    count = len(_kept(known(constants[1], "condition"), shape[place]))
    return [(dtype, (*shape[:place], count, *shape[place + 1 :]))]


def _compress_gradient(call: Call, g: Expression) -> list[Expression | None]:
    x, condition, axis = call.x, call.inputs[1], call.attribute("axis")
    assert condition is not None
    content = known(condition.value, "condition")
    if axis is None:
        return [scatter_to_positions(g, _kept(content, element_count(x)), x.shape), None]
    (place,) = normalised(axis, x.ndim)
    order = [place, *(number for number in range(x.ndim) if number != place)]
    zeros = filled(g, tuple(x.shape[number] for number in order))
    positions = _kept(content, x.shape[place]).reshape(-1, 1)
    scattered = emit("ScatterND", zeros, positions, transpose(g, order))
    return [transpose(scattered, np.argsort(order).tolist()), None]


def unique(
    x: np.ndarray, *, axis: int | None = None, sorted: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The different elements, or slices along ``axis``; where each is first; which one each of ``x`` is; their counts.

    They come in ascending order, or in that of their first appearance.
    """
    if axis is None:
        rows, place, flat = _ranks(x).reshape(-1, 1), 0, x.reshape(-1)
    else:
        (place,) = normalised(axis, x.ndim)
        flat = x
        rows = np.moveaxis(_ranks(x), place, 0)
        rows = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    _, first, inverse, counts = np.unique(rows, axis=0, return_index=True, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first)
        first, counts = first[order], counts[order]
        inverse = np.argsort(order)[inverse]
    kept = np.take(flat, first, axis=place)
    return kept, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)


def _ranks(x: np.ndarray) -> np.ndarray:
    """The place of each element among all different ones: whatever the type is, numbers that compare like it."""
    return np.unique(x, return_inverse=True)[1].reshape(x.shape)


operator("Compress", since=9, reference=compress, gradient=_compress_gradient, infer=infer_compress)
operator(
    "Unique",
    since=11,
    reference=unique,
    gradient=not_differentiable("which elements it keeps is known only when it has run"),
    infer=data_dependent("how many different elements there are"),
)
