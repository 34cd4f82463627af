"""Compress and Unique: parts of a tensor whose number depends on the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import known, normalised
from toolkit.operators.derivative import cast, element_count, filled
from toolkit.operators.expression import Expression, emit, indices, reshape, where
from toolkit.operators.record import Call, TensorType, data_dependent, not_differentiable, operator


def compress(x: np.ndarray, condition: np.ndarray, *, axis: int | None = None) -> np.ndarray:
    """The slices along ``axis`` (the elements, without one) whose number is true in ``condition``."""
    along = None if axis is None else normalised(axis, x.ndim)[0]
    _require_room(condition.size, x.shape, along)
    return np.compress(condition, x, axis=along)


def _require_room(conditions: int, shape: Sequence[int], axis: int | None) -> None:
    there = int(np.prod(shape)) if axis is None else shape[axis]
    if conditions > there:
        raise ValueError(f"condition has {conditions} entries for {there} elements")


def _infer_compress(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    assert types[0] is not None
    dtype, shape = types[0]
    condition, axis = known(constants[1], "condition"), attributes.get("axis")
    along = None if axis is None else normalised(axis, len(shape))[0]
    _require_room(condition.size, shape, along)
    count = int(np.count_nonzero(condition))
    return [(dtype, (count,) if along is None else (*shape[:along], count, *shape[along + 1 :]))]


def _compress_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """Each chosen element takes its own; how many were chosen before it says which."""
    condition, shape, axis = call.inputs[1], call.x.shape, call.attribute("axis")
    assert condition is not None
    if element_count(g) == 0:
        return [filled(g, shape), None]
    flat = axis is None
    view = (element_count(call.x),) if flat else shape
    along = 0 if flat else normalised(axis, len(shape))[0]
    chosen = cast(condition, np.dtype(np.int64))
    if condition.shape[0] < view[along]:
        chosen = emit("Pad", chosen, indices(chosen, [0, view[along] - condition.shape[0]]))
    number = emit("Max", emit("CumSum", chosen, indices(chosen, [0])) - 1, 0)
    mask = reshape(cast(chosen, np.dtype(bool)), [view[along] if place == along else 1 for place in range(len(view))])
    return [reshape(where(mask, emit("Gather", g, number, axis=along), 0.0), shape), None]


def unique(
    x: np.ndarray, *, axis: int | None = None, sorted: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What differs, where it is first, which of them each element is, and how often each is there.

    In ascending order, or with ``sorted`` 0 in the order in which they come.
    """
    along = None if axis is None else normalised(axis, x.ndim)[0]
    values, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=along
    )
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first, kind="stable")
        values = np.take(values, order, axis=along or 0)
        first, counts, inverse = first[order], counts[order], np.argsort(order, kind="stable")[inverse]
    return values, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)


EQUALITY = not_differentiable("which elements are equal does not change smoothly")

operator("Compress", since=9, reference=compress, gradient=_compress_gradient, infer=_infer_compress)
operator("Unique", since=11, reference=unique, gradient=EQUALITY, infer=data_dependent("how many elements differ"))
