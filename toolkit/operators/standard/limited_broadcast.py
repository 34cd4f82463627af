"""Broadcasting as it was before opset 7: of the second operand only, asked for by ``broadcast``, placed by ``axis``.

Owns versions 1 and 6 of the two-input operators and of PRelu, each told as its version 7 on a second operand of another
shape. That is also their expansion, so fusion and backends need to know one kind of broadcasting only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.operators.expression import Expression, emit, reshape
from toolkit.operators.record import Call, NotDifferentiable, Operator, TensorType, lookup, operator
from toolkit.operators.standard import activation_operators, arithmetic, logic

Shape = tuple[int, ...]
Aligned = Callable[[Shape, Shape, dict[str, Any]], Shape]
FIRST_WITH_FREE_BROADCAST = 7
FAMILIES = (activation_operators, arithmetic, logic)  # their records of version 7 are what is built upon


def aligned_shape(full: Shape, other: Shape, attributes: dict[str, Any]) -> Shape:
    """The shape in which ``other`` broadcasts to ``full`` from the right, as everywhere else.

    Raises ``ValueError`` where the shapes differ without ``broadcast``, or ``other`` is no contiguous part of ``full``.
    """
    if full == other:
        return other
    if not attributes.get("broadcast", 0):
        raise ValueError(f"without broadcast=1 both inputs must have one shape, got {full} and {other}")
    if int(np.prod(other)) == 1:
        return (1,) * min(len(other), len(full))
    axis = attributes.get("axis")
    first = len(full) - len(other) if axis is None else int(axis) + (len(full) if int(axis) < 0 else 0)
    behind = len(full) - first - len(other)
    part = full[first : first + len(other)]
    if first < 0 or behind < 0 or any(size not in (1, wanted) for size, wanted in zip(other, part, strict=True)):
        place = "at the end" if axis is None else f"from axis {axis} on"
        raise ValueError(f"the second input must be a part of the shape {full} of the first {place}, got {other}")
    return other + (1,) * behind


def slope_shape(full: Shape, slope: Shape, attributes: dict[str, Any]) -> Shape:
    """The shape in which a slope per channel (axis 1), or one for all, broadcasts to ``full``."""
    if len(slope) != 1 or len(full) < 2 or slope == (1,):
        return slope
    if slope[0] != full[1]:
        raise ValueError(f"the slope must be one number or one for each of {full[1]} channels, got {slope[0]}")
    return slope + (1,) * (len(full) - 2)


def _define(name: str, aligned: Aligned, *, answers_truth: bool = False) -> Operator:
    modern = lookup("", name, FIRST_WITH_FREE_BROADCAST)
    assert modern is not None and modern.reference is not None
    function, free_gradient = modern.reference, modern.gradient

    def reference(
        a: np.ndarray, b: np.ndarray, *, axis: int | None = None, broadcast: int = 0, consumed_inputs: Any = None
    ) -> Any:
        return function(a, b.reshape(aligned(a.shape, b.shape, {"axis": axis, "broadcast": broadcast})))

    def infer(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
        a, b = types
        assert a is not None and b is not None
        shape = aligned(a[1], b[1], attributes)
        if np.broadcast_shapes(a[1], shape) != a[1]:
            raise ValueError(f"the second input may not stretch the first, got {a[1]} and {b[1]}")
        return [(np.dtype(bool) if answers_truth else a[0], a[1])]

    def free_operands(call: Call) -> list[Expression]:
        a, b = call.inputs
        assert a is not None and b is not None
        return [a, reshape(b, aligned(a.shape, b.shape, call.attributes))]

    def expansion(call: Call) -> list[Expression | None]:
        return [emit(name, *free_operands(call))]

    def gradient(call: Call, g: Expression) -> Sequence[Expression | None]:
        assert not isinstance(free_gradient, NotDifferentiable)
        operands = free_operands(call)
        free = Call([*operands], call.outputs, {}, call.wants, FIRST_WITH_FREE_BROADCAST)
        in_a, in_b = free_gradient(free, g)
        b = call.inputs[1]
        assert b is not None
        assert not isinstance(in_a, NotDifferentiable)
        assert not isinstance(in_b, NotDifferentiable)
        return [in_a, None if in_b is None else reshape(in_b, b.shape)]

    return operator(
        name,
        reference=reference,
        gradient=free_gradient if isinstance(free_gradient, NotDifferentiable) else gradient,
        infer=infer,
        expansion=expansion,
    )


for _name in ("Add", "Sub", "Mul", "Div", "Pow"):
    _define(_name, aligned_shape)
for _name in ("And", "Or", "Xor", "Equal", "Greater", "Less"):
    _define(_name, aligned_shape, answers_truth=True)
_define("PRelu", slope_shape)
