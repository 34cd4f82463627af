"""Activations: elementwise functions, and the softmax family over one axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
class LeakyReLU(Definition):
    """x where it is positive, ``slope`` * x elsewhere."""

    slope: float = 0.01
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return builder.leaf("LeakyRelu", [x], x.shape, dtype_of(x), alpha=float(self.slope))


@dataclass(frozen=True)
class PReLU(Definition):
    """x where it is positive, a learnt slope times x elsewhere (He et al., 2015).

    ``per_channel`` learns one slope for each channel (axis 1), else there is one for all.
    """

    slope: float = 0.25
    per_channel: bool = True
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        builder.require_opset(7, "PReLU")
        rank = len(builder.shape(x, "PReLU"))
        count = builder.size(x, 1, "PReLU") if self.per_channel else 1
        slope = builder.parameter("slope", np.full((count, *[1] * (rank - 2)), self.slope, dtype_of(x)))
        return builder.leaf("PRelu", [x, slope], x.shape, dtype_of(x))


@dataclass(frozen=True)
class ELU(Definition):
    """x where it is positive, ``alpha`` * (exp(x) - 1) elsewhere."""

    alpha: float = 1.0
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return builder.leaf("Elu", [x], x.shape, dtype_of(x), alpha=float(self.alpha))


@dataclass(frozen=True)
class SELU(Definition):
    """The scaled ELU whose outputs tend to mean 0 and variance 1 (Klambauer et al., 2017)."""

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return builder.leaf("Selu", [x], x.shape, dtype_of(x))


@dataclass(frozen=True)
class GELU(Definition):
    """x times the normal distribution function of x (Hendrycks & Gimpel, 2016); ``approximate`` goes through tanh."""

    approximate: bool = False
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        builder.require_opset(20, "GELU")
        formula = "tanh" if self.approximate else "none"
        return builder.leaf("Gelu", [x], x.shape, dtype_of(x), approximate=formula)


@dataclass(frozen=True)
class SiLU(Definition):
    """x * sigmoid(x), also called Swish."""

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        gate = builder.leaf("Sigmoid", [x], x.shape, dtype_of(x))
        return builder.leaf("Mul", [x, gate], x.shape, dtype_of(x))


@dataclass(frozen=True)
class HardSwish(Definition):
    """x * clip(x / 6 + 1 / 2, 0, 1) (Howard et al., 2019)."""

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        builder.require_opset(14, "HardSwish")
        return builder.leaf("HardSwish", [x], x.shape, dtype_of(x))


@dataclass(frozen=True)
class Mish(Definition):
    """x * tanh(softplus(x)) (Misra, 2019)."""

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        builder.require_opset(18, "Mish")
        return builder.leaf("Mish", [x], x.shape, dtype_of(x))


@dataclass(frozen=True)
class Softplus(Definition):
    """log(1 + exp(x)), elementwise."""

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        return builder.leaf("Softplus", [x], x.shape, dtype_of(x))


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
