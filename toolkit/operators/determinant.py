"""Det: determinants of the matrices in the last two axes.

The gradient is the matrix of cofactors. Singular matrices have one too, so it is a fused operator that does not invert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, not_differentiable, operator


@in_float32
def determinant(x: np.ndarray) -> np.ndarray:
    """The determinant of each matrix."""
    return np.asarray(np.linalg.det(x), dtype=x.dtype)


@in_float32
def determinant_gradient(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``g`` times the cofactors of each matrix, from its singular value decomposition."""
    left, values, right = np.linalg.svd(x)
    size = values.shape[-1]
    others = np.where(np.eye(size, dtype=bool), 1, values[..., None, :]).prod(axis=-1)  # all singular values but one
    sign = np.linalg.det(left) * np.linalg.det(right)
    cofactors = (left * (sign[..., None] * others)[..., None, :]) @ right
    return np.asarray(g[..., None, None] * cofactors, dtype=x.dtype)


def infer_determinant_gradient(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """The type of the matrices."""
    assert types[1] is not None
    return [types[1]]


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    return [emit("DetGradient", g, call.x, domain=TOOLKIT_DOMAIN)]


operator("Det", since=11, reference=determinant, gradient=_gradient)
operator(
    "DetGradient",
    domain=TOOLKIT_DOMAIN,
    reference=determinant_gradient,
    gradient=not_differentiable("second derivatives of Det are not provided"),
    infer=infer_determinant_gradient,
)
