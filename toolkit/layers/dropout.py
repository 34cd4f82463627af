"""Dropout: in a training context it zeroes a random share of the elements, elsewhere it does nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.errors import ShapeError
from toolkit.graph.value import Value
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition


@dataclass(frozen=True)
class Dropout(Definition):
    """Zeroes each element with probability ``ratio`` while training, and scales the others by 1 / (1 - ``ratio``)."""

    ratio: float = 0.5
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        if not 0 <= self.ratio < 1:
            raise ShapeError(f"Dropout {builder.path!r} requires a ratio in [0, 1), got {self.ratio}. Change ratio=.")
        if builder.opset < 12:
            return builder.leaf("Dropout", [x], x.shape, dtype_of(x), ratio=float(self.ratio))
        ratio = builder.parameter("ratio", np.asarray(self.ratio, dtype=np.float32), requires_grad=False)
        return builder.leaf("Dropout", [x, ratio], x.shape, dtype_of(x))
