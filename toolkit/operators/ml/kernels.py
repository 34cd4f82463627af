"""Kernel functions of support vector machines: rows against support vectors, and their slopes as expressions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.operators.expression import Expression, as_expression, emit, reduce_sum

NAMES = ("LINEAR", "POLY", "RBF", "SIGMOID")


def parameters(kernel_params: Sequence[float] | None) -> tuple[float, float, float]:
    """gamma, coef0 and degree; zeros when the node does not give them. Raises ``ValueError`` for another number."""
    if not kernel_params:
        return 0.0, 0.0, 0.0
    if len(kernel_params) != 3:
        raise ValueError(f"kernel_params must be gamma, coef0 and degree, got {len(kernel_params)} numbers")
    gamma, offset, degree = map(float, kernel_params)
    return gamma, offset, degree


def kernel(x: np.ndarray, vectors: np.ndarray, name: str, kernel_params: Sequence[float] | None) -> np.ndarray:
    """The kernel of every row of ``x`` with every row of ``vectors``, in float64."""
    if name not in NAMES:
        raise ValueError(f"kernel_type must be one of {', '.join(NAMES)}, got {name!r}")
    gamma, offset, degree = parameters(kernel_params)
    products = x @ vectors.T
    if name == "LINEAR":
        return np.asarray(products)
    if name == "RBF":
        distances = np.square(x).sum(axis=1)[:, None] + np.square(vectors).sum(axis=1) - 2 * products
        return np.asarray(np.exp(-gamma * np.maximum(distances, 0)))
    inner = gamma * products + offset
    return np.asarray(np.tanh(inner) if name == "SIGMOID" else np.power(inner, degree))


def through_kernel(
    g: Expression, x: Expression, vectors: np.ndarray, name: str, kernel_params: Sequence[float] | None
) -> Expression:
    """The gradient of ``x`` (rows, features) from the gradient ``g`` (rows, vectors) of the kernel."""
    gamma, offset, degree = parameters(kernel_params)
    table = as_expression(vectors.astype(x.dtype), x)
    if name == "LINEAR":
        return g @ table
    products = x @ as_expression(np.ascontiguousarray(vectors.T, x.dtype), x)
    if name == "RBF":
        lengths = as_expression(np.square(vectors).sum(axis=1).astype(x.dtype), x)
        distances = reduce_sum(x * x, [1]) + lengths - products * 2.0
        weighted = g * emit("Exp", distances * -gamma)
        return (weighted @ table - reduce_sum(weighted, [1]) * x) * (2.0 * gamma)
    inner = products * gamma + offset
    if name == "SIGMOID":
        value = emit("Tanh", inner)
        slope = (1.0 - value * value) * gamma
    else:
        slope = emit("Pow", inner, degree - 1.0) * (degree * gamma)
    return (g * slope) @ table
