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
            builder.parameter("scale", np.ones(channels, dtype)),
            builder.parameter("bias", np.zeros(channels, dtype)),
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
