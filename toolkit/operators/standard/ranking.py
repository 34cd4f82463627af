"""ArgMax, ArgMin and TopK: which elements are the largest. The first of equal elements wins, unless asked otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.operators.derivative import filled
from toolkit.operators.expression import Expression, emit
from toolkit.operators.record import Call, not_differentiable, operator


def arg_extreme(choose: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The reference of ArgMax or ArgMin from numpy's function."""

    def reference(x: np.ndarray, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> np.ndarray:
        if select_last_index:
            found = x.shape[axis] - 1 - choose(np.flip(x, axis), axis=axis, keepdims=bool(keepdims))
        else:
            found = choose(x, axis=axis, keepdims=bool(keepdims))
        return np.asarray(found, dtype=np.int64, like=x)

    return reference


def top_k(x: np.ndarray, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` largest or smallest elements along an axis, in order, and where they were; ties by index."""
    count = int(np.asarray(k).reshape(-1)[0])
    if not 0 <= count <= x.shape[axis]:
        raise ValueError(f"k must lie in [0, {x.shape[axis]}], the size of axis {axis}, got {count}")
    if largest:
        last = x.shape[axis] - 1
        order = np.flip(last - np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    chosen = np.take(order, np.arange(count, like=x), axis=axis)
    return np.take_along_axis(x, chosen, axis), chosen.astype(np.int64)


def _top_k_gradient(call: Call, g: Expression | None, g_indices: Expression | None = None) -> list[Expression | None]:
    none = [None] * (len(call.inputs) - 1)
    if g is None:
        return [None, *none]
    axis = call.attribute("axis", -1)
    return [emit("ScatterElements", filled(g, call.x.shape), call.outputs[1], g, axis=axis), *none]


POSITIONS = not_differentiable("its result is positions, which do not change smoothly")

operator("ArgMax", reference=arg_extreme(np.argmax), gradient=POSITIONS)
operator("ArgMin", reference=arg_extreme(np.argmin), gradient=POSITIONS)
operator("TopK", reference=top_k, gradient=_top_k_gradient, host_inputs=(1,))
