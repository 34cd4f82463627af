"""Activations: elementwise functions, and the softmax family over one axis."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.errors import ShapeError
from toolkit.graph.value import Value
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition


@dataclass(frozen=True)
class ReLU(Definition):
    """max(x, 0), elementwise."""

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return builder.leaf("Relu", [x], x.shape, dtype_of(x))


@dataclass(frozen=True)
class Sigmoid(Definition):
    """1 / (1 + exp(-x)), elementwise."""

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return builder.leaf("Sigmoid", [x], x.shape, dtype_of(x))


@dataclass(frozen=True)
class Tanh(Definition):
    """The hyperbolic tangent, elementwise."""

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return builder.leaf("Tanh", [x], x.shape, dtype_of(x))


@dataclass(frozen=True)
class Softmax(Definition):
    """exp(x) scaled so that it sums to 1 over ``axis``."""

    axis: int = -1
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return _over_axis(builder, x, "Softmax", self.axis)


@dataclass(frozen=True)
class LogSoftmax(Definition):
    """The logarithm of ``Softmax``: log-probabilities, what ``NegativeLogLikelihood`` judges."""

    axis: int = -1
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return _over_axis(builder, x, "LogSoftmax", self.axis)


def _over_axis(builder: Builder, x: Value, op_type: str, axis: int) -> Value:
    rank = len(builder.shape(x, op_type))
    if not -rank <= axis < rank:
        raise ShapeError(
            f"{op_type} {builder.path!r} requires an axis in [{-rank}, {rank - 1}], got {axis} for {x.name!r} "
            f"{x.describe()}. Change axis=."
        )
    if axis % rank != rank - 1:
        # Before opset 13 the operator flattened everything from its axis on.
        builder.require_opset(13, f"{op_type} over another axis than the last")
    return builder.leaf(op_type, [x], x.shape, dtype_of(x), axis=axis % rank)
