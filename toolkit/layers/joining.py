"""Layers that bring values together: sums, products and concatenations, and what stands beside a shortcut."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import ShapeError
from toolkit.graph.value import Dim, Shape, Value
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition


class _Joining(Definition):
    """A layer of two or more inputs and one output."""

    def append(self, builder: Builder, x: Value) -> Value:
        raise ShapeError(
            f"{type(self).__name__} {builder.path!r} requires two inputs or more, got {x.name!r} alone. "
            "Connect it in an Assembly, or use Residual in a Sequential."
        )

    def connect(self, builder: Builder, inputs: Sequence[Value]) -> tuple[Value, ...]:
        if len(inputs) < 2:
            self.append(builder, inputs[0])
        return (self.join(builder, inputs),)

    @abstractmethod
    def join(self, builder: Builder, inputs: Sequence[Value]) -> Value:
        """Append the layer behind all of ``inputs``."""


@dataclass(frozen=True)
class Add(_Joining):
    """The elementwise sum of all inputs, their shapes broadcast."""

    name: str = ""

    def join(self, builder: Builder, inputs: Sequence[Value]) -> Value:
        return _folded(builder, "Add", inputs)


@dataclass(frozen=True)
class Multiply(_Joining):
    """The elementwise product of all inputs, their shapes broadcast."""

    name: str = ""

    def join(self, builder: Builder, inputs: Sequence[Value]) -> Value:
        return _folded(builder, "Mul", inputs)


@dataclass(frozen=True)
class Concatenate(_Joining):
    """The inputs one behind the other along ``axis``; all other sizes must agree."""

    axis: int = 1
    name: str = ""

    def join(self, builder: Builder, inputs: Sequence[Value]) -> Value:
        shapes = [builder.shape(item, "Concatenate") for item in inputs]
        rank = len(shapes[0])
        if any(len(shape) != rank for shape in shapes) or not -rank <= self.axis < rank:
            raise ShapeError(_mismatch(builder, "Concatenate", inputs, f"equal ranks and an axis within them ({rank})"))
        axis = self.axis % rank
        known = [shape[axis] for shape in shapes]
        total = sum(dim for dim in known if isinstance(dim, int)) if all(isinstance(d, int) for d in known) else None
        rest = [_agreed([shape[at] for shape in shapes]) for at in range(rank)]
        if any(dim is _CLASH for at, dim in enumerate(rest) if at != axis):
            raise ShapeError(_mismatch(builder, "Concatenate", inputs, f"equal sizes on all axes but {axis}"))
        shape = tuple(total if at == axis else dim for at, dim in enumerate(rest))
        return builder.leaf("Concat", inputs, shape, dtype_of(inputs[0]), axis=axis)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Residual(Definition):
    """x + ``layer``(x) (He et al., 2016); ``shortcut`` is applied to x on the way around, where sizes change."""

    layer: Definition
    shortcut: Definition | None = None
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        with builder.scope(self.layer.name or self.layer.kind):
            y = self.layer.append(builder, x)
        around = x
        if self.shortcut is not None:
            with builder.scope(self.shortcut.name or "shortcut"):
                around = self.shortcut.append(builder, x)
        return _folded(builder, "Add", [around, y])


_CLASH = object()


def _agreed(dims: Sequence[Dim]) -> object:
    """The size that all agree on: a number before a symbol; ``_CLASH`` for two numbers that differ."""
    numbers = {dim for dim in dims if isinstance(dim, int)}
    if len(numbers) > 1:
        return _CLASH
    return numbers.pop() if numbers else dims[0]


def _folded(builder: Builder, op_type: str, inputs: Sequence[Value]) -> Value:
    y = inputs[0]
    for item in inputs[1:]:
        y = builder.leaf(op_type, [y, item], _broadcast(builder, op_type, y, item), dtype_of(y))
    return y


def _broadcast(builder: Builder, op_type: str, a: Value, b: Value) -> Shape:
    """The shape of an elementwise result. Raises ``ShapeError`` where two sizes differ and neither is 1."""
    shapes = [list(builder.shape(item, op_type)) for item in (a, b)]
    rank = max(len(shape) for shape in shapes)
    rows = [[*[1] * (rank - len(shape)), *shape] for shape in shapes]
    found = []
    for pair in zip(*rows, strict=True):
        dims = [dim for dim in pair if dim != 1]
        dim = _agreed(dims) if dims else 1
        if dim is _CLASH:
            raise ShapeError(_mismatch(builder, op_type, [a, b], "shapes that broadcast"))
        found.append(dim)
    return tuple(found)  # type: ignore[arg-type]  # what is no clash is a Dim


def _mismatch(builder: Builder, operator: str, inputs: Sequence[Value], wanted: str) -> str:
    listed = ", ".join(f"{item.name!r} {item.describe()}" for item in inputs)
    return f"{operator} {builder.path!r} requires {wanted}, got {listed}. Reshape or project one of them."
