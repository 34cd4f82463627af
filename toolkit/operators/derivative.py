"""Gradients of elementwise operators from their derivative formulas, and the few expressions that gradients share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolkit.operators import wire
from toolkit.operators.expression import Expression, as_expression, emit, indices, reshape, unbroadcast, where
from toolkit.operators.record import Call, Gradient

UnaryDerivative = Callable[[Expression, Expression, Expression], Expression]
BinaryDerivative = Callable[[Expression, Expression, Expression, Expression], Expression]


def unary(derivative: UnaryDerivative) -> Gradient:
    """The gradient of a one-input operator from ``derivative(g, x, y)``."""

    def gradient(call: Call, g: Expression) -> list[Expression | None]:
        return [derivative(g, call.x, call.y)]

    return gradient


def binary(left: BinaryDerivative, right: BinaryDerivative) -> Gradient:
    """The gradient of a broadcasting two-input operator from its two formulas of ``(g, a, b, y)``."""

    def gradient(call: Call, g: Expression) -> list[Expression | None]:
        a, b = call.inputs
        assert a is not None and b is not None
        return [
            unbroadcast(left(g, a, b, call.y), a.shape) if call.wants[0] else None,
            unbroadcast(right(g, a, b, call.y), b.shape) if call.wants[1] else None,
        ]

    return gradient


def cast(x: Expression, dtype: np.dtype) -> Expression:
    """``x`` in another element type; emits nothing when it has it already."""
    return x if x.dtype == dtype else emit("Cast", x, to=wire.element_type(np.dtype(dtype)))


def masked(condition: Expression, x: Expression) -> Expression:
    """``x`` where the condition holds, else 0."""
    return where(condition, x, 0)


def indicator(condition: Expression, like: Expression) -> Expression:
    """1 where the condition holds, else 0, in the element type of ``like``."""
    return where(condition, as_expression(1, like), 0)


def filled(like: Expression, shape: tuple[int, ...], value: float = 0.0) -> Expression:
    """A constant of one value, in the element type of ``like``."""
    return as_expression(np.full(shape, value, like.dtype), like)


def scatter_to_positions(g: Expression, positions: np.ndarray, shape: tuple[int, ...]) -> Expression:
    """Zeros of ``shape`` to which each element of ``g`` was added at its row-major position."""
    flat = reshape(g, (element_count(g),))
    size = int(np.prod(shape, dtype=np.int64))
    target = emit(
        "ScatterElements", filled(g, (size,)), indices(g, positions.reshape(-1).tolist()), flat, reduction="add"
    )
    return reshape(target, shape)


def element_count(x: Expression) -> int:
    """How many elements ``x`` has."""
    return int(np.prod(x.shape, dtype=np.int64))
