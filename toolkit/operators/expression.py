"""Expressions: values of a program under construction, with arithmetic that appends nodes.

Gradients and losses are written with them, so they exist once for all backends. Every expression has a concrete shape.
An ``Emitter`` (the compiler's program) does the appending; nothing here knows how a node is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

TOOLKIT_DOMAIN = "toolkit"  # operators that ONNX does not have: fused forms, fused gradients, optimizer updates
OPSET = 23  # the version of ai.onnx that emitted nodes are written in


class Emitter(Protocol):
    """Where expressions append their nodes."""

    def emit(
        self,
        op_type: str,
        inputs: Sequence[Expression | None],
        attributes: dict[str, Any],
        *,
        domain: str,
        version: int,
        outputs: int,
    ) -> list[Expression]: ...

    def constant(self, array: np.ndarray) -> Expression: ...


class Expression:
    """A value with a concrete ``shape`` and ``dtype``; ``+ - * / @`` and ``-x`` emit ONNX nodes."""

    __slots__ = ("emitter", "variable")

    def __init__(self, emitter: Emitter, variable: Any) -> None:
        self.emitter = emitter
        self.variable = variable

    @property
    def shape(self) -> tuple[int, ...]:
        return self.variable.shape

    @property
    def dtype(self) -> np.dtype:
        return self.variable.dtype

    @property
    def ndim(self) -> int:
        return len(self.variable.shape)

    @property
    def value(self) -> np.ndarray | None:
        """The content where it is a constant of the program, else ``None``."""
        return self.variable.constant

    def __add__(self, other: Operand) -> Expression:
        return emit("Add", self, other)

    def __radd__(self, other: Operand) -> Expression:
        return emit("Add", other, self)

    def __sub__(self, other: Operand) -> Expression:
        return emit("Sub", self, other)

    def __rsub__(self, other: Operand) -> Expression:
        return emit("Sub", other, self)

    def __mul__(self, other: Operand) -> Expression:
        return emit("Mul", self, other)

    def __rmul__(self, other: Operand) -> Expression:
        return emit("Mul", other, self)

    def __truediv__(self, other: Operand) -> Expression:
        return emit("Div", self, other)

    def __rtruediv__(self, other: Operand) -> Expression:
        return emit("Div", other, self)

    def __neg__(self) -> Expression:
        return emit("Neg", self)

    def __matmul__(self, other: Expression) -> Expression:
        return emit("MatMul", self, other)

    def __repr__(self) -> str:
        return f"Expression({self.variable!r})"


Operand = Expression | int | float | np.ndarray


def emit(
    op_type: str,
    *inputs: Operand | None,
    outputs: int = 1,
    domain: str = "",
    version: int | None = None,
    **attributes: Any,
) -> Any:
    """Append one node; returns its output, or the list of outputs when ``outputs`` is above 1.

    Plain numbers become constants of the element type of the first expression among the inputs, arrays stay as they
    are. ``None`` leaves an optional input out. At least one input must be an expression.
    """
    first = next(item for item in inputs if isinstance(item, Expression))
    emitter = first.emitter
    operands = [item if item is None else as_expression(item, first) for item in inputs]
    produced = emitter.emit(
        op_type,
        operands,
        {name: value for name, value in attributes.items() if value is not None},
        domain=domain,
        version=version if version is not None else (OPSET if domain == "" else 1),
        outputs=outputs,
    )
    return produced[0] if outputs == 1 else produced


def as_expression(item: Operand, like: Expression) -> Expression:
    """Turn a number into a constant of ``like``'s element type, an array into a constant of its own."""
    if isinstance(item, Expression):
        return item
    if isinstance(item, np.ndarray):
        return like.emitter.constant(item)
    return like.emitter.constant(np.asarray(item, dtype=like.dtype))


def indices(like: Expression, values: Sequence[int]) -> Expression:
    """An int64 constant vector (axes, shapes, pads) in the program of ``like``."""
    return like.emitter.constant(np.asarray(values, dtype=np.int64))


def reshape(x: Expression, shape: Sequence[int]) -> Expression:
    """``x`` with another shape; emits nothing when the shape is the same."""
    if tuple(shape) == x.shape:
        return x
    return emit("Reshape", x, indices(x, shape), allowzero=1 if 0 in shape else None)


def transpose(x: Expression, permutation: Sequence[int]) -> Expression:
    """``x`` with its axes permuted; emits nothing for the identity."""
    if list(permutation) == list(range(x.ndim)):
        return x
    return emit("Transpose", x, perm=[int(axis) for axis in permutation])


def split(x: Expression, count: int, axis: int) -> list[Expression]:
    """``count`` equal parts of ``x``; emits nothing for one."""
    return [x] if count == 1 else emit("Split", x, outputs=count, axis=axis, num_outputs=count)


def reduce_sum(x: Expression, axes: Sequence[int], keepdims: bool = True) -> Expression:
    """The sum of ``x`` over ``axes``; emits nothing for no axes."""
    if not axes:
        return x
    return emit("ReduceSum", x, indices(x, axes), keepdims=int(keepdims))


def unbroadcast(grad: Expression, shape: tuple[int, ...]) -> Expression:
    """Sum ``grad`` over the axes that broadcasting added or stretched, so that it has ``shape`` again."""
    if grad.shape == shape:
        return grad
    lead = grad.ndim - len(shape)
    axes = list(range(lead))
    axes += [lead + axis for axis, size in enumerate(shape) if size == 1 and grad.shape[lead + axis] != 1]
    return reshape(reduce_sum(grad, axes), shape)


def expand(x: Expression, shape: Sequence[int]) -> Expression:
    """Broadcast ``x`` to ``shape``."""
    return x if tuple(shape) == x.shape else emit("Expand", x, indices(x, shape))


def where(condition: Expression, x: Operand, y: Operand) -> Expression:
    """Elementwise choice; a number takes the element type of the other operand."""
    like = x if isinstance(x, Expression) else y
    assert isinstance(like, Expression), "one of the two choices must be an expression"
    return emit("Where", condition, as_expression(x, like), as_expression(y, like))


def zeros_like(x: Expression) -> Expression:
    """Zeros of the shape and element type of ``x``."""
    return x.emitter.constant(np.zeros(x.shape, x.dtype))
