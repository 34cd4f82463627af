"""Fully connected layers and embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.errors import ShapeError
from toolkit.graph.value import Value
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition
from toolkit.layers.initialisers import GLOROT_UNIFORM, STANDARD_NORMAL, ZEROS, Initialiser


@dataclass(frozen=True)
class Linear(Definition):
    """y = x @ transpose(weight) + bias on the last axis.

    - input (batch, ..., n), output (batch, ..., ``units``)
    - weight (``units``, n), bias (``units``)
    """

    units: int
    bias: bool = True
    weight_initialiser: Initialiser = GLOROT_UNIFORM
    bias_initialiser: Initialiser = ZEROS
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        shape, dtype = builder.shape(x, "Linear"), dtype_of(x)
        if len(shape) < 2:
            raise ShapeError(
                f"Linear {builder.path!r} requires an input (batch, ..., features), got {x.name!r} {x.describe()}. "
                "Cut the network, or reshape, where a batch axis is followed by features."
            )
        width = builder.size(x, -1, "Linear")
        if len(shape) == 2:
            weight = builder.weight("weight", self.weight_initialiser, (self.units, width), dtype, width, self.units)
            bias = self._bias(builder, dtype, width) if self.bias or builder.opset < 11 else []
            return builder.leaf("Gemm", [x, weight, *bias], (shape[0], self.units), dtype, transB=1)
        weight = builder.weight("weight", self.weight_initialiser, (width, self.units), dtype, width, self.units)
        y = builder.leaf("MatMul", [x, weight], (*shape[:-1], self.units), dtype)
        if not self.bias:
            return y
        return builder.leaf("Add", [y, *self._bias(builder, dtype, width)], y.shape, dtype)

    def _bias(self, builder: Builder, dtype: np.dtype, width: int) -> list[str]:
        """The bias as the further inputs of a leaf; frozen zeros where an old Gemm demands one that nobody wants."""
        if not self.bias:
            return [builder.parameter("bias", np.zeros(self.units, dtype), requires_grad=False)]
        return [builder.weight("bias", self.bias_initialiser, (self.units,), dtype, width, self.units)]


@dataclass(frozen=True)
class Embedding(Definition):
    """One learnable vector per index.

    - input (batch, ...) of int32 or int64 in [0, ``count``), output (batch, ..., ``units``) of float32
    - weight (``count``, ``units``)
    """

    count: int
    units: int
    weight_initialiser: Initialiser = STANDARD_NORMAL
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        if x.dtype is not None and x.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
            raise ShapeError(
                f"Embedding {builder.path!r} requires int32 or int64 indices, got {x.name!r} {x.describe()}. "
                "Give the network an integer input: network(..., dtype='int64')."
            )
        dtype = np.dtype(np.float32)
        shape = (self.count, self.units)
        weight = builder.weight("weight", self.weight_initialiser, shape, dtype, self.count, self.units)
        return builder.leaf("Gather", [weight, x], (*builder.shape(x, "Embedding"), self.units), dtype, axis=0)
