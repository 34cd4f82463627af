"""Activations: elementwise functions, and the softmax family over one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from toolkit.errors import ShapeError
from toolkit.graph.value import Value
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition


@dataclass(frozen=True)
class _Elementwise(Definition):
    """A function of every element by itself: one operator, there from the opset ``since`` on."""

    operator: ClassVar[str]
    since: ClassVar[int] = 1

    def append(self, builder: Builder, x: Value) -> Value:
        builder.require_opset(self.since, type(self).__name__)
        return builder.leaf(self.operator, [x], x.shape, dtype_of(x), **self.attributes())

    def attributes(self) -> dict[str, Any]:
        """The attributes of the operator."""
        return {}


@dataclass(frozen=True)
class ReLU(_Elementwise):
    """max(x, 0), elementwise."""

    name: str = ""
    operator = "Relu"


@dataclass(frozen=True)
class Sigmoid(_Elementwise):
    """1 / (1 + exp(-x)), elementwise."""

    name: str = ""
    operator = "Sigmoid"


@dataclass(frozen=True)
class Tanh(_Elementwise):
    """The hyperbolic tangent, elementwise."""

    name: str = ""
    operator = "Tanh"


@dataclass(frozen=True)
class LeakyReLU(_Elementwise):
    """x where it is positive, ``slope`` * x elsewhere."""

    slope: float = 0.01
    name: str = ""
    operator = "LeakyRelu"

    def attributes(self) -> dict[str, Any]:
        return {"alpha": float(self.slope)}


@dataclass(frozen=True)
class ELU(_Elementwise):
    """x where it is positive, ``alpha`` * (exp(x) - 1) elsewhere."""

    alpha: float = 1.0
    name: str = ""
    operator = "Elu"

    def attributes(self) -> dict[str, Any]:
        return {"alpha": float(self.alpha)}


@dataclass(frozen=True)
class SELU(_Elementwise):
    """The scaled ELU whose outputs tend to mean 0 and variance 1 (Klambauer et al., 2017)."""

    name: str = ""
    operator = "Selu"


@dataclass(frozen=True)
class GELU(_Elementwise):
    """x times the normal distribution function of x (Hendrycks & Gimpel, 2016); ``approximate`` goes through tanh."""

    approximate: bool = False
    name: str = ""
    operator = "Gelu"
    since = 20

    def attributes(self) -> dict[str, Any]:
        return {"approximate": "tanh" if self.approximate else "none"}


@dataclass(frozen=True)
class HardSwish(_Elementwise):
    """x * clip(x / 6 + 1 / 2, 0, 1) (Howard et al., 2019)."""

    name: str = ""
    operator = "HardSwish"
    since = 14


@dataclass(frozen=True)
class Mish(_Elementwise):
    """x * tanh(softplus(x)) (Misra, 2019)."""

    name: str = ""
    operator = "Mish"
    since = 18


@dataclass(frozen=True)
class Softplus(_Elementwise):
    """log(1 + exp(x)), elementwise."""

    name: str = ""
    operator = "Softplus"


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
class SiLU(Definition):
    """x * sigmoid(x), also called Swish."""

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        gate = builder.leaf("Sigmoid", [x], x.shape, dtype_of(x))
        return builder.leaf("Mul", [x, gate], x.shape, dtype_of(x))


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
