"""com.microsoft matrix products of integers: QGemm, DynamicQuantizeMatMul, MatMulIntegerToFloat, MatMulInteger16.

Sums are exact; each is scaled once, in float32. Scales and zero points of the second factor may be per column, and in a
batch of matrices have the shape (batch..., 1, columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.composed import argument, composed, required
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, emit, reshape
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.quantization import ROUNDS, centered, dynamic_range, quantize
from toolkit.operators.standard.quantized_convolution import one
from toolkit.operators.standard.quantized_linear import (
    DOUBLE,
    INTEGERS,
    SINGLE,
    as_integers,
    exact_product,
    integer_product,
    per_column,
    requantized,
)

Array = np.ndarray
Types = Sequence[TensorType | None]


def _to_float(call: Call) -> list[Expression | None]:
    """MatMulIntegerToFloat from operators of ONNX, for the gradients of scales and bias."""
    a_scale, b_scale = required(call, 2, "a_scale"), required(call, 3, "b_scale")
    zero_points, bias = [argument(call, index) for index in (4, 5)], argument(call, 6)
    total = emit("MatMulInteger", call.x, required(call, 1, "B"), *zero_points)
    multiplier = reshape(a_scale, ()) * (reshape(b_scale, ()) if b_scale.shape == (1,) else b_scale)
    y = cast(total, a_scale.dtype) * multiplier
    return [y if bias is None else y + bias]


def _scaled(total: Array, a_scale: Array, b_scale: Array, bias: Array | None) -> Array:
    """Exact sums as numbers, in float32 or wider."""
    column_scale = per_column(b_scale)
    assert column_scale is not None
    compute = np.promote_types(a_scale.dtype, np.float32)
    y = total.astype(compute) * (a_scale.astype(compute).reshape(()) * column_scale.astype(compute))
    return y if bias is None else y + bias.astype(compute)


def matmul_integer_to_float(
    a: Array,
    b: Array,
    a_scale: Array,
    b_scale: Array,
    a_zero_point: Array | None = None,
    b_zero_point: Array | None = None,
    bias: Array | None = None,
) -> Array:
    """The product of two quantised tensors as floats of the scales' type."""
    total = integer_product(a, b, one(a_zero_point), b_zero_point)
    return _scaled(total, a_scale, b_scale, bias).astype(a_scale.dtype, copy=False)


def dynamic_quantize_matmul(
    a: Array, b: Array, b_scale: Array, b_zero_point: Array | None = None, bias: Array | None = None
) -> Array:
    """The product with a quantised weight of ``a`` as DynamicQuantizeLinear quantises it."""
    scale, zero_point = dynamic_range(a)
    total = integer_product(quantize(a, scale, zero_point), b, zero_point, b_zero_point)
    return _scaled(total, scale, b_scale, bias)


def matmul_integer16(a: Array, b: Array) -> Array:
    """The product of 16-bit integers in 32 bits, unsigned if both factors are."""
    total = np.matmul(a.astype(DOUBLE), b.astype(DOUBLE))
    return as_integers(total, _sum_type(a.dtype, b.dtype))


def _sum_type(a: np.dtype, b: np.dtype) -> np.dtype:
    return np.dtype(np.uint32 if a.kind == b.kind == "u" else np.int32)


def qgemm(
    a: Array,
    a_scale: Array,
    a_zero_point: Array,
    b: Array,
    b_scale: Array,
    b_zero_point: Array,
    c: Array | None = None,
    y_scale: Array | None = None,
    y_zero_point: Array | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Array:
    """alpha A'B' + C of quantised matrices; floats unless ``y_scale`` and ``y_zero_point`` give a grid.

    ``C`` is int32 with the scale alpha * a_scale * b_scale.
    """
    left, right = (
        centered(a, one(a_zero_point), SINGLE),
        centered(b.T if transB else b, per_column(b_zero_point), SINGLE),
    )
    total = exact_product(left.T if transA else left, right)
    if c is not None:
        total = total.astype(DOUBLE) + c
    multiplier = np.float32(alpha) * a_scale.reshape(()) * b_scale.reshape(-1)
    if y_scale is None or y_zero_point is None:
        return (total.astype(np.float32) * multiplier).astype(np.float32, copy=False)
    return requantized(total, multiplier / y_scale.reshape(()), one(y_zero_point), y_zero_point.dtype)


def product_shape(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """The shape of numpy's matmul. Raises ``ValueError`` where the inner sizes differ."""
    rows, columns = tuple(a[-2:-1]), tuple(b[-1:]) if len(b) > 1 else ()
    if not a or not b or a[-1] != b[-2 if len(b) > 1 else -1]:
        raise ValueError(f"the last axis of {tuple(a)} must be as long as the rows of {tuple(b)}")
    return (*np.broadcast_shapes(tuple(a[:-2]), tuple(b[:-2])), *rows, *columns)


def _shapes(types: Types, second: int = 1) -> tuple[tuple[int, ...], tuple[int, ...]]:
    first, other = types[0], types[second]
    assert first is not None and other is not None
    return first[1], other[1]


def _infer_to_float(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[2] is not None
    return [(types[2][0], product_shape(*_shapes(types)))]


def _infer_integer16(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None and types[1] is not None
    return [(_sum_type(types[0][0], types[1][0]), product_shape(*_shapes(types)))]


def _infer_gemm(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    a, b = _shapes(types, second=3)
    if len(a) != 2 or len(b) != 2:
        raise ValueError(f"A and B must be matrices, got {a} and {b}")
    zero_point = types[8] if len(types) > 8 else None
    shape = product_shape(a[::-1] if attributes.get("transA") else a, b[::-1] if attributes.get("transB") else b)
    return [(np.dtype(np.float32) if zero_point is None else zero_point[0], shape)]


composed(
    "MatMulIntegerToFloat",
    _to_float,
    domain=MICROSOFT,
    reference=matmul_integer_to_float,
    infer=_infer_to_float,
)
for _name, _reference, _rule, _reason in (
    ("DynamicQuantizeMatMul", dynamic_quantize_matmul, _infer_to_float, ROUNDS),
    ("MatMulInteger16", matmul_integer16, _infer_integer16, INTEGERS),
    ("QGemm", qgemm, _infer_gemm, ROUNDS),
):
    operator(_name, domain=MICROSOFT, reference=_reference, gradient=_reason, infer=_rule)
