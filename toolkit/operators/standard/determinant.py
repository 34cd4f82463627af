"""Det: determinants of the matrices in the last two axes.

The gradient is the matrix of cofactors. Singular matrices have one too, so it is a fused operator that does not invert.
Cofactors are determinants themselves, of all but a row and a column: so it expands, and is differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.composed import gradient_through
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, expand, reshape, transpose
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator


@in_float32
def determinant(x: np.ndarray) -> np.ndarray:
    """The determinant of each matrix."""
    return np.asarray(np.linalg.det(x), dtype=x.dtype, like=x)


@in_float32
def determinant_gradient(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``g`` times the cofactors of each matrix, from its singular value decomposition."""
    left, values, right = np.linalg.svd(x)
    size = values.shape[-1]
    others = np.where(np.eye(size, dtype=bool, like=x), 1, values[..., None, :]).prod(
        axis=-1
    )  # all singular values but one
    sign = np.linalg.det(left) * np.linalg.det(right)
    cofactors = (left * (sign[..., None] * others)[..., None, :]) @ right
    return np.asarray(g[..., None, None] * cofactors, dtype=x.dtype, like=x)


def infer_determinant_gradient(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """The type of the matrices."""
    assert types[1] is not None
    return [types[1]]


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    return [emit("DetGradient", g, call.x, domain=TOOLKIT_DOMAIN)]


def _minors(x: Expression) -> Expression:
    """(..., row, column, rows but this, columns but this)."""
    size = x.shape[-1]
    others = np.asarray([[other for other in range(size) if other != left_out] for left_out in range(size)])
    split = emit("Gather", emit("Gather", x, others, axis=-2), others, axis=-1)
    lead = list(range(x.ndim - 2))
    return transpose(split, [*lead, *(x.ndim - 2 + place for place in (0, 2, 1, 3))])


def _expansion(call: Call) -> list[Expression | None]:
    g, x = call.inputs
    assert g is not None
    assert x is not None
    g = reshape(g, (*g.shape, 1, 1))
    size = x.shape[-1]
    if size < 2:
        return [expand(g, x.shape)]
    place = np.arange(size)
    signs = (1 - (place + place[:, None]) % 2 * 2).astype(x.dtype)
    return [g * (emit("Det", _minors(x)) * signs)]


operator("Det", since=11, reference=determinant, gradient=_gradient)
operator(
    "DetGradient",
    domain=TOOLKIT_DOMAIN,
    reference=determinant_gradient,
    gradient=gradient_through(_expansion),
    infer=infer_determinant_gradient,
    expansion=_expansion,
)
