"""Layers that only change the shape, or the order of the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import ShapeError
from toolkit.graph.value import Dim, Value
from toolkit.layers.builder import Builder, dtype_of
from toolkit.layers.definition import Definition


@dataclass(frozen=True)
class Flatten(Definition):
    """(batch, d1, d2, ...) becomes (batch, d1 * d2 * ...)."""

    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        shape = builder.shape(x, "Flatten")
        return builder.leaf("Flatten", [x], (shape[0], _product(shape[1:])), dtype_of(x), axis=1)


@dataclass(frozen=True)
class Reshape(Definition):
    """Gives every item the shape ``unit_shape``; one of its sizes may be -1, which takes what remains."""

    unit_shape: Sequence[int]
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        builder.require_opset(5, "Reshape")
        shape = builder.shape(x, "Reshape")
        target = [int(size) for size in self.unit_shape]
        total, known = _product(shape[1:]), int(np.prod([size for size in target if size != -1], dtype=np.int64))
        fits = target.count(-1) <= 1 and all(size == -1 or size > 0 for size in target)
        if fits and isinstance(total, int):
            fits = total % known == 0 if -1 in target else total == known
        if not fits:
            raise ShapeError(
                f"Reshape {builder.path!r} requires a unit shape of {total} elements with at most one -1, got "
                f"{tuple(target)} for {x.name!r} {x.describe()}. Change the shape."
            )
        resolved = [total // known if size == -1 and isinstance(total, int) else size for size in target]
        # A leading 0 keeps the batch axis whatever its size.
        content = builder.parameter("shape", np.asarray([0, *resolved], dtype=np.int64))
        declared = (shape[0], *(None if size == -1 else size for size in resolved))
        return builder.leaf("Reshape", [x, content], declared, dtype_of(x))


@dataclass(frozen=True)
class Transpose(Definition):
    """Permutes the axes of each item: axis i of the output is axis ``order[i]`` of the input, axis 0 stays.

    ``order`` lists the axes behind the batch axis, from 1 on: ``(2, 1)`` swaps the two axes of a matrix.
    """

    order: Sequence[int]
    name: str = ""

    def append(self, builder: Builder, x: Value) -> Value:
        shape = builder.shape(x, "Transpose")
        if sorted(self.order) != list(range(1, len(shape))):
            raise ShapeError(
                f"Transpose {builder.path!r} requires an order of the axes {list(range(1, len(shape)))}, got "
                f"{list(self.order)} for {x.name!r} {x.describe()}. List every axis but the batch axis once."
            )
        order = [0, *self.order]
        return builder.leaf("Transpose", [x], tuple(shape[axis] for axis in order), dtype_of(x), perm=order)


def _product(shape: Sequence[Dim]) -> int | None:
    total = 1
    for dim in shape:
        if not isinstance(dim, int):
            return None
        total *= dim
    return total
