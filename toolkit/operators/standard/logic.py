"""Comparisons, truth values, bits, and choice (Where). Only Where has a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.derivative import masked
from toolkit.operators.expression import Expression, unbroadcast, where
from toolkit.operators.record import Call, Reference, TensorType, not_differentiable, operator

TRUTH = not_differentiable("it answers with truth values")
BITS = not_differentiable("it works on the bits of integers")


def is_infinite(x: np.ndarray, *, detect_negative: int = 1, detect_positive: int = 1) -> np.ndarray:
    """Where ``x`` is infinite with a sign that is asked for."""
    infinite = np.isinf(x)
    return infinite & ((bool(detect_negative) & (x < 0)) | (bool(detect_positive) & (x > 0)))


def bit_shift(x: np.ndarray, amount: np.ndarray, *, direction: str) -> np.ndarray:
    """Bits moved LEFT or RIGHT."""
    return np.left_shift(x, amount) if direction == "LEFT" else np.right_shift(x, amount)


def _truth_of_both(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """The broadcast shape; these two are functions in ONNX, and version 12 has no inference of its own."""
    return [(np.dtype(bool), np.broadcast_shapes(*(item[1] for item in types if item is not None)))]


def _where_gradient(call: Call, g: Expression) -> list[Expression | None]:
    condition, x, y = call.inputs
    assert condition is not None and x is not None and y is not None
    return [
        None,
        unbroadcast(masked(condition, g), x.shape) if call.wants[1] else None,
        unbroadcast(where(condition, 0, g), y.shape) if call.wants[2] else None,
    ]


_COMPARED: tuple[tuple[str, int, Reference], ...] = (
    ("Equal", 7, np.equal),
    ("Greater", 7, np.greater),
    ("Less", 7, np.less),
    ("And", 7, np.logical_and),
    ("Or", 7, np.logical_or),
    ("Xor", 7, np.logical_xor),
    ("Not", 1, np.logical_not),
    ("IsNaN", 9, np.isnan),
    ("IsInf", 10, is_infinite),
)
for _name, _since, _function in _COMPARED:
    operator(_name, since=_since, reference=_function, gradient=TRUTH)
operator("GreaterOrEqual", since=12, reference=np.greater_equal, gradient=TRUTH, infer=_truth_of_both)
operator("LessOrEqual", since=12, reference=np.less_equal, gradient=TRUTH, infer=_truth_of_both)
_BITWISE: tuple[tuple[str, int, Reference], ...] = (
    ("BitShift", 11, bit_shift),
    ("BitwiseAnd", 18, np.bitwise_and),
    ("BitwiseOr", 18, np.bitwise_or),
    ("BitwiseXor", 18, np.bitwise_xor),
    ("BitwiseNot", 18, np.bitwise_not),
)
for _name, _since, _function in _BITWISE:
    operator(_name, since=_since, reference=_function, gradient=BITS)
operator("Where", since=9, reference=np.where, gradient=_where_gradient)
