"""Operation graphs as values: tensors, operations on them, and what a plan is looked up by.

A ``Graph`` is immutable and hashable and holds nothing of the library, so equal computations find the same plan. The
shapes are cuDNN's: 4 or 5 axes for images, with strides that say how they lie. Numbers are computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.backends.cuda.cudnn.graph_constants import DataType, DescriptorType

DATA_TYPES: dict[np.dtype, DataType] = {
    np.dtype(np.float32): DataType.FLOAT,
    np.dtype(np.float16): DataType.HALF,
    np.dtype(ml_dtypes.bfloat16): DataType.BFLOAT16,
    np.dtype(np.int8): DataType.INT8,
    np.dtype(np.uint8): DataType.UINT8,
    np.dtype(np.int32): DataType.INT32,
    np.dtype(np.int64): DataType.INT64,
    np.dtype(np.bool_): DataType.BOOLEAN,
}
ITEM_SIZES = {kind: dtype.itemsize for dtype, kind in DATA_TYPES.items()}
CONTRACTIONS = ("OPERATION_CONVOLUTION", "OPERATION_MATMUL")  # what tensor cores compute
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One edge of a graph.

    ``uid`` names it when addresses are given. A virtual tensor lives on the chip only; one with a ``value`` is a number
    that is handed over from host memory when the plan runs.
    """

    uid: int
    dtype: DataType
    shape: Shape
    strides: Shape
    is_virtual: bool = False
    value: float | None = None

    @property
    def nbytes(self) -> int:
        """Bytes from the first element to the last."""
        reach = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        return (reach + 1) * ITEM_SIZES[self.dtype]


@dataclass(frozen=True, slots=True)
class Record:
    """A descriptor as a value: its kind, the prefix of its attributes where that is not the kind, and settings.

    A setting is a number, a member of an enumeration, a ``Tensor``, a ``Record``, or a tuple of such.
    """

    kind: str
    prefix: str
    settings: tuple[tuple[str, Any], ...]

    @property
    def descriptor_type(self) -> DescriptorType:
        return DescriptorType[self.kind]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors it refers to, by the name of the attribute."""
        for name, value in self.settings:
            if isinstance(value, Tensor):
                yield name, value

    def with_tensors(self, changed: Mapping[int, Tensor]) -> Record:
        """The same on other tensors, given by uid."""
        settings = tuple(
            (name, changed.get(value.uid, value) if isinstance(value, Tensor) else value)
            for name, value in self.settings
        )
        return replace(self, settings=settings)


def record(kind: str, prefix: str | None = None, **settings: Any) -> Record:
    """A record from settings by lower-case name; those that are ``None`` are left out."""
    given = tuple((name.upper(), value) for name, value in settings.items() if value is not None)
    return Record(kind, kind if prefix is None else prefix, given)


# The attributes through which operations write.
RESULTS = ("Y", "YDESC", "CDESC", "DX", "DXDESC", "DW", "IDXDESC")


@dataclass(frozen=True, slots=True)
class Graph:
    """Operations in the order in which they are computed."""

    operations: tuple[Record, ...]

    @property
    def is_contraction(self) -> bool:
        """Whether float32 numbers are multiplied and summed, for which the choice of units matters."""
        return any(
            tensor.dtype is DataType.FLOAT
            for item in self.operations
            if item.kind.startswith(CONTRACTIONS)
            for name, tensor in item.tensors()
            if not _writes(item, name)
        )

    def written(self) -> dict[int, Tensor]:
        """The tensors that the operations write, by uid."""
        return {
            tensor.uid: tensor for item in self.operations for name, tensor in item.tensors() if _writes(item, name)
        }

    def tensors(self) -> dict[int, Tensor]:
        """All tensors by uid."""
        return {tensor.uid: tensor for item in self.operations for _, tensor in item.tensors()}

    def external(self) -> list[Tensor]:
        """The tensors that lie in device memory, by uid."""
        found = self.tensors()
        return [found[uid] for uid in sorted(found) if not found[uid].is_virtual and found[uid].value is None]

    def numbers(self) -> list[Tensor]:
        """The tensors that are numbers."""
        return [tensor for tensor in self.tensors().values() if tensor.value is not None]

    def cut(self, count: int, dtype: DataType) -> tuple[Graph, Graph]:
        """The first ``count`` operations and the rest; what goes from one to the other then lies in memory."""
        first, rest = Graph(self.operations[:count]), Graph(self.operations[count:])
        read = rest.tensors()
        crossing = {
            uid: replace(tensor, is_virtual=False, dtype=dtype)
            for uid, tensor in first.written().items()
            if tensor.is_virtual and uid in read
        }
        return first.on(crossing), rest.on(crossing)

    def as_rows(self) -> Graph | None:
        """The same on (1, places, channels), where all is elementwise on images with channels last; else ``None``.

        There are engines that take rows where none takes volumes, or images of one channel.
        """
        found = self.tensors()
        is_elementwise = all(item.kind == "OPERATION_POINTWISE" for item in self.operations)
        if not is_elementwise or not all(_is_channels_last(item) for item in found.values()):
            return None
        shapes = {uid: (1, item.shape[0] * prod(item.shape[2:]), item.shape[1]) for uid, item in found.items()}
        if len({places for _, places, _ in shapes.values()} - {1}) > 1:
            return None
        rows = {uid: replace(item, shape=shapes[uid], strides=row_major(shapes[uid])) for uid, item in found.items()}
        return self.on(rows)

    def on(self, changed: Mapping[int, Tensor]) -> Graph:
        """The same operations on other tensors, given by uid."""
        return Graph(tuple(item.with_tensors(changed) for item in self.operations))


def _is_channels_last(tensor: Tensor) -> bool:
    return len(tensor.shape) > 3 and tensor.strides == channels_innermost(tensor.shape)


def _writes(operation: Record, name: str) -> bool:
    is_read = operation.kind == "OPERATION_RESAMPLE_BWD" and name == "IDXDESC"
    return name in RESULTS and not is_read


def row_major(shape: Sequence[int]) -> Shape:
    """Strides of a dense tensor, the last axis innermost."""
    return _strides(shape, range(len(shape)))


def channels_innermost(shape: Sequence[int]) -> Shape:
    """Strides of a dense tensor whose axis 1 is innermost."""
    return _strides(shape, [0, *range(2, len(shape)), 1])


def _strides(shape: Sequence[int], order: Sequence[int]) -> Shape:
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)
