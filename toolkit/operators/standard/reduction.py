"""Reductions over axes. ``axes`` is an attribute in older versions and an input in newer; both arrive the same way.

Elements that share the extreme value of ReduceMax or ReduceMin share its gradient evenly, as in PyTorch's ``amax``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.operators.axes import given, normalised
from toolkit.operators.derivative import element_count, filled, indicator
from toolkit.operators.expression import Expression, emit, expand, indices, reduce_sum, reshape, transpose
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, operator
from toolkit.operators.standard.arithmetic import divide

Axes = tuple[int, ...]
Derivative = Callable[[Expression, Expression, Expression, Axes], Expression]


def _reduced_axes(rank: int, axes: Any, noop_with_empty_axes: int) -> Axes:
    """The axes to reduce: all of them when none are given, unless that is to mean none."""
    if axes is None or len(axes) == 0:
        return () if noop_with_empty_axes else tuple(range(rank))
    return normalised(axes, rank)


def reduction(function: Callable[[np.ndarray, Axes, bool], np.ndarray]) -> Callable[..., np.ndarray]:
    """The reference of a reduction from ``function(x, axes, keepdims)``; the element type is kept."""

    @in_float32
    def reference(x: np.ndarray, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> np.ndarray:
        with np.errstate(all="ignore"):
            result = function(x, _reduced_axes(x.ndim, axes, noop_with_empty_axes), bool(keepdims))
        return result.astype(x.dtype, copy=False)

    return reference


def gradient_of(derivative: Derivative) -> Callable[[Call, Expression], list[Expression | None]]:
    """The gradient of a reduction from ``derivative(g, x, y, axes)``; ``g`` and ``y`` keep the reduced axes as 1."""

    def gradient(call: Call, g: Expression) -> list[Expression | None]:
        x = call.x
        axes = _reduced_axes(x.ndim, given(call, "axes", 1), call.attribute("noop_with_empty_axes", 0))
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
        part = derivative(reshape(g, kept), x, reshape(call.y, kept), axes)
        return [expand(part, x.shape), *[None] * (len(call.inputs) - 1)]

    return gradient


def total(x: np.ndarray, axes: Axes, keepdims: bool) -> np.ndarray:
    """The sum in the element type of ``x``."""
    return np.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype)


def mean(x: np.ndarray, axes: Axes, keepdims: bool) -> np.ndarray:
    """The mean; of integers, truncated."""
    count = int(np.prod([x.shape[axis] for axis in axes], dtype=np.int64))
    return divide(total(x, axes, keepdims), x.dtype.type(count))


def largest(x: np.ndarray, axes: Axes, keepdims: bool) -> np.ndarray:
    """The maximum; of nothing, the smallest value there is."""
    return np.max(x, axis=axes, keepdims=keepdims, **_of_nothing(x, smallest=True))


def smallest(x: np.ndarray, axes: Axes, keepdims: bool) -> np.ndarray:
    """The minimum; of nothing, the largest value there is."""
    return np.min(x, axis=axes, keepdims=keepdims, **_of_nothing(x, smallest=False))


def _of_nothing(x: np.ndarray, *, smallest: bool) -> dict[str, Any]:
    """What numpy must be told where there may be nothing to reduce; CuPy does not take it."""
    if x.size:
        return {}
    if x.dtype.kind == "b":
        return {"initial": not smallest}
    if x.dtype.kind in "iu":
        return {"initial": np.iinfo(x.dtype).min if smallest else np.iinfo(x.dtype).max}
    return {"initial": -np.inf if smallest else np.inf}


def log_sum_exp(x: np.ndarray, axes: Axes, keepdims: bool) -> np.ndarray:
    """log(sum(exp(x))) that cannot overflow; of integers, truncated."""
    if x.dtype.kind in "iu":
        return log_sum_exp(x.astype(np.float64), axes, keepdims)
    top = largest(x, axes, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    result = np.log(np.sum(np.exp(x - top), axis=axes, keepdims=True)) + top
    return result if keepdims else np.squeeze(result, axis=axes)


def _mean_slope(g: Expression, x: Expression, y: Expression, axes: Axes) -> Expression:
    return g * (element_count(y) / max(element_count(x), 1))


def _extreme_slope(g: Expression, x: Expression, y: Expression, axes: Axes) -> Expression:
    winners = indicator(emit("Equal", x, y), x)
    return winners * (g / reduce_sum(winners, axes))


def _product_slope(g: Expression, x: Expression, y: Expression, axes: Axes) -> Expression:
    """The product of the others, without a division, so that factors of 0 are no exception in any derivative."""
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    order = [*rest, *axes]
    turned = transpose(x, order)
    rows = reshape(turned, (math.prod(x.shape[axis] for axis in rest), math.prod(x.shape[axis] for axis in axes)))
    others = _products_before(rows) * _turned_round(_products_before(_turned_round(rows)))
    return g * transpose(reshape(others, turned.shape), [order.index(axis) for axis in range(x.ndim)])


def _products_before(rows: Expression) -> Expression:
    """For each element of a row the product of those before it: every step doubles how far it reaches."""
    size, reach = rows.shape[1], 1
    found = _shifted(rows, min(1, size))
    while reach < size - 1:
        found = found * _shifted(found, reach)
        reach *= 2
    return found


def _shifted(rows: Expression, places: int) -> Expression:
    """Every element ``places`` further in its row, behind ones."""
    kept = emit("Slice", rows, *(indices(rows, [item]) for item in (0, rows.shape[1] - places, 1)))
    ones: Expression = emit("Concat", filled(rows, (rows.shape[0], places), 1.0), kept, axis=1)
    return ones


def _turned_round(rows: Expression) -> Expression:
    lowest = int(np.iinfo(np.int64).min)
    turned: Expression = emit("Slice", rows, *(indices(rows, [item]) for item in (-1, lowest, 1, -1)))
    return turned


def _norm_slope(g: Expression, x: Expression, y: Expression, axes: Axes) -> Expression:
    """x / y, and 0 where the norm is 0."""
    return g * (x / (y + indicator(emit("Equal", y, 0), y)))


REDUCTIONS: dict[str, tuple[Callable[[np.ndarray, Axes, bool], np.ndarray], Derivative]] = {
    "ReduceSum": (total, lambda g, x, y, axes: g),
    "ReduceMean": (mean, _mean_slope),
    "ReduceMax": (largest, _extreme_slope),
    "ReduceMin": (smallest, _extreme_slope),
    "ReduceProd": (lambda x, axes, keep: np.prod(x, axis=axes, keepdims=keep, dtype=x.dtype), _product_slope),
    "ReduceL1": (lambda x, axes, keep: total(np.abs(x), axes, keep), lambda g, x, y, axes: g * emit("Sign", x)),
    "ReduceL2": (lambda x, axes, keep: np.sqrt(total(x * x, axes, keep)), _norm_slope),
    "ReduceSumSquare": (lambda x, axes, keep: total(x * x, axes, keep), lambda g, x, y, axes: g * x * 2),
    "ReduceLogSum": (
        lambda x, axes, keep: np.log(total(x, axes, keep)),
        lambda g, x, y, axes: g * emit("Exp", -y),
    ),
    "ReduceLogSumExp": (log_sum_exp, lambda g, x, y, axes: g * emit("Exp", x - y)),
}

for _name, (_function, _derivative) in REDUCTIONS.items():
    operator(_name, reference=reduction(_function), gradient=gradient_of(_derivative), host_inputs=(1,))
