"""Normalisation over the batch, or over the last axes of each item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.graph.value import Value
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition


@dataclass(frozen=True)
class BatchNormalization(Definition):
    """Scales every channel to mean 0 and variance 1 over batch and space, then by ``scale`` and ``bias``.

    - input and output (batch, channels, ...); scale, bias, running_mean, running_var (channels)

    It is written in training form (``training_mode=1``): training uses the statistics of the batch and moves the
    running ones, new = old * ``momentum`` + batch * (1 - ``momentum``). Before an export for inference,
    ``toolkit.graph.surgery.set_batch_statistics(network, learning=False)`` makes the running ones count. Opsets before
    14 have no such form and always use the running statistics.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        channels, dtype = builder.size(x, 1, "BatchNormalization"), dtype_of(x)
        inputs: list[Value | str] = [
            x,
            *_affine(builder, channels, dtype),
            builder.parameter("running_mean", np.zeros(channels, dtype), requires_grad=False),
            builder.parameter("running_var", np.ones(channels, dtype), requires_grad=False),
        ]
        attributes: dict[str, Any] = {"epsilon": float(self.epsilon), "momentum": float(self.momentum)}
        if builder.opset < 14:
            return builder.leaf("BatchNormalization", inputs, x.shape, dtype, **attributes)
        moved = [builder.name("moved_mean"), builder.name("moved_var")]
        return builder.leaf(
            "BatchNormalization", inputs, x.shape, dtype, further_outputs=moved, training_mode=1, **attributes
        )


@dataclass(frozen=True)
class LayerNormalization(Definition):
    """Scales each item to mean 0 and variance 1 over the axes from ``axis`` on, then by ``scale`` and ``bias``.

    - input and output (batch, ..., n); scale and bias have the shape of the normalised axes
    """

    axis: int = -1
    epsilon: float = 1e-5
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        builder.require_opset(17, "LayerNormalization")
        rank, dtype = len(builder.shape(x, "LayerNormalization")), dtype_of(x)
        if self.axis % rank == 0 or not -rank <= self.axis < rank:
            raise ShapeError(
                f"LayerNormalization {builder.path!r} requires an axis behind the batch axis, got {self.axis} for "
                f"{x.name!r} {x.describe()}. Change axis=."
            )
        shape = tuple(builder.size(x, axis, "LayerNormalization") for axis in range(self.axis % rank, rank))
        scale = builder.parameter("scale", np.ones(shape, dtype))
        bias = builder.parameter("bias", np.zeros(shape, dtype))
        attributes: dict[str, Any] = {"axis": self.axis, "epsilon": float(self.epsilon)}
        return builder.leaf("LayerNormalization", [x, scale, bias], x.shape, dtype, **attributes)


@dataclass(frozen=True)
class RMSNormalization(Definition):
    """Divides the last axis by its root mean square, then multiplies by ``scale`` (Zhang & Sennrich, 2019).

    - input and output (batch, ..., n), scale (n)

    Opsets before 23 have no such operator; there it is written with elementary ones.
    """

    epsilon: float = 1e-5
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        builder.require_opset(13, "RMSNormalization")
        width, dtype = builder.size(x, -1, "RMSNormalization"), dtype_of(x)
        scale = builder.parameter("scale", np.ones(width, dtype))
        if builder.opset >= 23:
            return builder.leaf("RMSNormalization", [x, scale], x.shape, dtype, axis=-1, epsilon=float(self.epsilon))
        shape = builder.shape(x, "RMSNormalization")
        narrow = (*shape[:-1], 1)
        square = builder.leaf("Mul", [x, x], shape, dtype)
        axes: list[Value | str] = [builder.indices("axes", -1)] if builder.opset >= 18 else []
        attributes: dict[str, Any] = {} if axes else {"axes": [-1]}
        mean = builder.leaf("ReduceMean", [square, *axes], narrow, dtype, keepdims=1, **attributes)
        epsilon = builder.parameter("epsilon", np.asarray(self.epsilon, dtype), requires_grad=False)
        root = builder.leaf("Sqrt", [builder.leaf("Add", [mean, epsilon], narrow, dtype)], narrow, dtype)
        return builder.leaf("Mul", [builder.leaf("Div", [x, root], shape, dtype), scale], shape, dtype)


@dataclass(frozen=True)
class GroupNormalization(Definition):
    """Scales each group of channels of each item to mean 0 and variance 1, then channels by ``scale`` and ``bias``.

    - input and output (batch, channels, ...); scale, bias (channels); ``groups`` divides the channels (Wu & He, 2018)
    """

    groups: int
    epsilon: float = 1e-5
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        builder.require_opset(21, "GroupNormalization")
        channels, dtype = builder.size(x, 1, "GroupNormalization"), dtype_of(x)
        if self.groups < 1 or channels % self.groups:
            raise ShapeError(
                f"GroupNormalization {builder.path!r} requires groups that divide the {channels} channels of "
                f"{x.name!r}, got {self.groups}. Change groups=."
            )
        inputs: list[Value | str] = [x, *_affine(builder, channels, dtype)]
        attributes: dict[str, Any] = {"num_groups": self.groups, "epsilon": float(self.epsilon)}
        return builder.leaf("GroupNormalization", inputs, x.shape, dtype, **attributes)


@dataclass(frozen=True)
class InstanceNormalization(Definition):
    """Scales each channel of each item to mean 0 and variance 1, then by ``scale`` and ``bias``.

    - input and output (batch, channels, d1, ...); scale, bias (channels) (Ulyanov et al., 2016)
    """

    epsilon: float = 1e-5
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        channels, dtype = builder.size(x, 1, "InstanceNormalization"), dtype_of(x)
        inputs: list[Value | str] = [x, *_affine(builder, channels, dtype)]
        return builder.leaf("InstanceNormalization", inputs, x.shape, dtype, epsilon=float(self.epsilon))


@dataclass(frozen=True)
class LocalResponseNormalization(Definition):
    """x / (``bias`` + ``alpha`` / ``size`` * sum of squares over ``size`` neighbouring channels) ** ``beta``.

    - input and output (batch, channels, ...) (Krizhevsky et al., 2012)
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        builder.size(x, 1, "LocalResponseNormalization")
        numbers: dict[str, Any] = {"alpha": float(self.alpha), "beta": float(self.beta), "bias": float(self.bias)}
        return builder.leaf("LRN", [x], x.shape, dtype_of(x), size=self.size, **numbers)


def _affine(builder: Builder, channels: int, dtype: np.dtype) -> list[str]:
    """The scale and bias of every channel, at first the identity."""
    return [
        builder.parameter("scale", np.ones(channels, dtype)),
        builder.parameter("bias", np.zeros(channels, dtype)),
    ]
