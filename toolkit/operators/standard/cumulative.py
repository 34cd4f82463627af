"""Running sums and products along an axis: CumSum and CumProd.

``exclusive`` leaves out the element itself, ``reverse`` runs from the end.
"""

from __future__ import annotations

import numpy as np

from toolkit.operators.axes import given, known, normalised
from toolkit.operators.derivative import masked
from toolkit.operators.expression import Expression, emit, indices, reduce_sum, reshape, where
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, Reference, operator
from toolkit.operators.shape_rules import same_type

FIRST_CUMULATIVE_PRODUCT = 26


def running(function: np.ufunc) -> Reference:
    """The reference of a running ``function`` (``np.add``, ``np.multiply``)."""

    @in_float32
    def reference(x: np.ndarray, axis: np.ndarray, *, exclusive: int = 0, reverse: int = 0) -> np.ndarray:
        (along,) = normalised(np.asarray(axis).reshape(-1)[:1], x.ndim)
        ordered = np.moveaxis(np.flip(x, along) if reverse else x, along, 0)
        result = function.accumulate(ordered, axis=0, dtype=x.dtype) if len(ordered) else ordered.copy()
        if exclusive and len(result):
            result[1:] = result[:-1].copy()
            result[0] = function.identity
        result = np.moveaxis(result, 0, along)
        return np.ascontiguousarray(np.flip(result, along) if reverse else result, like=x)

    return reference


def _sum_gradient(call: Call, g: Expression) -> list[Expression | None]:
    reverse = 0 if call.attribute("reverse", 0) else 1
    return [emit("CumSum", g, call.inputs[1], exclusive=call.attribute("exclusive", 0), reverse=reverse), None]


def _product(x: Expression, axis: int, exclusive: int, reverse: int) -> Expression:
    found: Expression = emit(
        "CumProd", x, indices(x, [axis]), exclusive=exclusive, reverse=reverse, version=FIRST_CUMULATIVE_PRODUCT
    )
    return found


def _product_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """For each element the sum of all products that it is in, without it; right where factors are 0, too.

    What stands before element k is one factor. The other are the products from k on, k left out: running products of a
    tensor with one more axis, in which everything up to k is 1.
    """
    x, exclusive, reverse = call.x, int(call.attribute("exclusive", 0)), int(call.attribute("reverse", 0))
    (axis,) = normalised(known(given(call, "axis", 1), "axis").reshape(-1)[:1], x.ndim)
    element, position = np.indices((x.shape[axis],) * 2)
    later = position < element if reverse else position > element
    counts = later if exclusive else later | (position == element)
    apart = (*x.shape[:axis], 1, *x.shape[axis:])  # the new axis, before the old one, numbers the elements
    grid = [x.shape[axis] if place in (axis, axis + 1) else 1 for place in range(len(apart))]
    mask, wanted = (x.emitter.constant(np.reshape(item, grid)) for item in (later, counts))
    rest = _product(where(mask, reshape(x, apart), 1.0), axis + 1, exclusive, reverse)
    parts = reduce_sum(masked(wanted, rest * reshape(g, apart)), [axis + 1], keepdims=False)
    return [parts * _product(x, axis, 1, reverse), None]


operator("CumSum", since=11, reference=running(np.add), gradient=_sum_gradient, infer=same_type, host_inputs=(1,))
operator(
    "CumProd",
    since=FIRST_CUMULATIVE_PRODUCT,
    reference=running(np.multiply),
    gradient=_product_gradient,
    infer=same_type,
    host_inputs=(1,),
)
