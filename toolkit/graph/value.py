"""A value is a connection of the static graph: a name, an element type and a symbolic shape, never data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Dim = int | str | None  # a size, the name of a symbolic size, or a size nobody declared
Shape = tuple[Dim, ...]


@dataclass(eq=False, slots=True)
class Value:
    """One connection between layers.

    ``shape`` is ``None`` when the rank is unknown; ``batch_axis`` is the axis that counts items, ``None`` when the
    value has none. ``kind`` is ``tensor``, ``sequence``, ``optional``, ``map`` or ``sparse_tensor``; ``dtype`` and
    ``shape`` describe the tensor, or the tensors inside. ``origin`` belongs to the importer that made the value and
    the exporter of the same format; nothing else reads it.
    """

    name: str
    dtype: np.dtype | None = None
    shape: Shape | None = None
    batch_axis: int | None = None
    kind: str = "tensor"
    origin: Any = None

    @property
    def unit_shape(self) -> Shape | None:
        """The shape of one item: ``shape`` without the batch axis."""
        if self.shape is None or self.batch_axis is None:
            return self.shape
        return self.shape[: self.batch_axis] + self.shape[self.batch_axis + 1 :]

    def describe(self) -> str:
        """Type and shape for people: ``float32 (batch, 3, 224, 224)``."""
        dims = "?" if self.shape is None else f"({', '.join('?' if dim is None else str(dim) for dim in self.shape)})"
        element = "?" if self.dtype is None else ("string" if self.dtype == object else self.dtype.name)
        return f"{element} {dims}" if self.kind == "tensor" else f"{self.kind} of {element} {dims}"

    def __repr__(self) -> str:
        return f"Value({self.name!r}, {self.describe()})"
