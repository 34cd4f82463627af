"""Matrix products of integers: MatMulInteger, QLinearMatMul, and the exact product that they and convolutions rest on.

Integers are multiplied as floats, which have every sum exact as long as no partial sum leaves the significand: float32
where the largest possible sum stays below 2^24, else float64. That is as fast as the machine's float product.
"""

from __future__ import annotations

import numpy as np

from toolkit.operators.record import not_differentiable, operator
from toolkit.operators.standard.quantization import ROUNDS, centered, is_integer, rounded

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
INTEGERS = not_differentiable("its inputs are integers")


def exact_type(
    x: np.ndarray, weight: np.ndarray, summed: int | tuple[int, ...], addend: np.ndarray | None = None
) -> np.dtype:
    """The narrower float type that has sums of ``x`` times ``weight`` over its axes ``summed``, and an addend, exact.

    No partial sum can be larger than the largest ``x`` times the magnitudes of the weights of one result.
    """
    if not isinstance(x, np.ndarray):
        return DOUBLE  # asking a device for the largest would take longer
    heaviest = np.abs(weight).sum(axis=summed, dtype=np.float64).max(initial=0)
    largest = _magnitude(x) * heaviest + (0 if addend is None else _magnitude(addend))
    return SINGLE if largest < 1 << 24 else DOUBLE


def _magnitude(x: np.ndarray) -> int:
    return max(int(x.max(initial=0)), -int(x.min(initial=0)))


def as_integers(total: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
    """Exact integers held as floats, as int32 (or another type) with the overflow of that type."""
    target = np.dtype(np.int32) if dtype is None else dtype
    return total.astype(target if total.dtype == SINGLE else np.int64).astype(target, copy=False)


def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The matrix product of integers held as float32, in the float type that has it exact."""
    compute = exact_type(a, b, -2 if b.ndim > 1 else 0)
    return np.matmul(a.astype(compute, copy=False), b.astype(compute, copy=False))


def per_row(parameter: np.ndarray | None, rank: int) -> np.ndarray | None:
    """A scale or zero point of the first factor, of one entry or one a row, in a form that broadcasts with it."""
    if parameter is None or parameter.ndim != 1:
        return parameter
    return parameter.reshape(-1, 1) if parameter.size > 1 and rank > 1 else parameter.reshape(())


def per_column(parameter: np.ndarray | None) -> np.ndarray | None:
    """A scale or zero point of the second factor in a form that broadcasts with it, whatever its rank."""
    return parameter.reshape(()) if parameter is not None and parameter.size == 1 else parameter


def integer_product(
    a: np.ndarray, b: np.ndarray, a_zero_point: np.ndarray | None, b_zero_point: np.ndarray | None
) -> np.ndarray:
    """``(a - a_zero_point) @ (b - b_zero_point)``, exact, as floats."""
    left = centered(a, per_row(a_zero_point, a.ndim), SINGLE)
    return exact_product(left, centered(b, per_column(b_zero_point), SINGLE))


def requantized(
    total: np.ndarray, multiplier: np.ndarray, zero_point: np.ndarray | None, dtype: np.dtype, saturate: int = 1
) -> np.ndarray:
    """Exact sums on the grid of the result; ``multiplier`` is input scales / output scale, all in float32."""
    product = total.astype(np.float32) if total.dtype == DOUBLE else total
    return rounded(product * multiplier.astype(np.float32), zero_point, dtype, saturate)


def matmul_integer(
    a: np.ndarray,
    b: np.ndarray,
    a_zero_point: np.ndarray | None = None,
    b_zero_point: np.ndarray | None = None,
) -> np.ndarray:
    """ONNX MatMulInteger: int32 sums."""
    return as_integers(integer_product(a, b, a_zero_point, b_zero_point))


def qlinear_matmul(
    a: np.ndarray,
    a_scale: np.ndarray,
    a_zero_point: np.ndarray,
    b: np.ndarray,
    b_scale: np.ndarray,
    b_zero_point: np.ndarray,
    y_scale: np.ndarray,
    y_zero_point: np.ndarray,
) -> np.ndarray:
    """ONNX QLinearMatMul; scales of a may be per row, of b per column."""
    row_scale, column_scale = per_row(a_scale, a.ndim), per_column(b_scale)
    assert row_scale is not None and column_scale is not None
    multiplier = row_scale.astype(np.float32) * column_scale.astype(np.float32) / _one(y_scale).astype(np.float32)
    if is_integer(a.dtype) and is_integer(b.dtype):
        total = integer_product(a, b, a_zero_point, b_zero_point)
    else:
        left = centered(a, per_row(a_zero_point, a.ndim), SINGLE)
        total = np.matmul(left, centered(b, per_column(b_zero_point), SINGLE))
    return requantized(total, multiplier, _one(y_zero_point), y_zero_point.dtype)


def _one(parameter: np.ndarray) -> np.ndarray:
    return parameter.reshape(()) if parameter.size == 1 else parameter


operator("MatMulInteger", since=10, reference=matmul_integer, gradient=INTEGERS)
operator("QLinearMatMul", since=10, reference=qlinear_matmul, gradient=ROUNDS)
