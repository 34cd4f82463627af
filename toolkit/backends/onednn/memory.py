"""Memory descriptors as values, and their relation to layouts.

A ``Descriptor`` compares and hashes by where its elements lie, so two spellings of one arrangement are the same
layout: ``nChw16c`` of sixteen channels is ``nhwc``, and a blocked vector is plain. What is row-major becomes a plain
``Layout``; everything else carries its descriptor as ``Layout.opaque``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.backends.onednn.library import Handle, load
from toolkit.backends.protocol import Layout, plain
from toolkit.errors import BackendError

MAX_RANK = 12
FORMAT_ANY = 1
_BLOCKED = 2
_STRIDES = 14
_RANK, _DIMS, _DTYPE, _PADDED, _KIND, _BLOCK_COUNT, _BLOCKS, _BLOCK_AXES = 256, 257, 258, 260, 262, 263, 264, 265
DATA_TYPES: dict[np.dtype, int] = {
    np.dtype(np.float16): 1,
    np.dtype(ml_dtypes.bfloat16): 2,
    np.dtype(np.float32): 3,
    np.dtype(np.int32): 4,
    np.dtype(np.int8): 5,
    np.dtype(np.uint8): 6,
}
_ELEMENTS = {code: dtype for dtype, code in DATA_TYPES.items()}
Loop = tuple[int, int, int]  # axis, extent, stride in elements


def vector(values: Sequence[int]) -> Any:
    """``values`` as the fixed array of sizes that the C interface takes."""
    return (ctypes.c_int64 * MAX_RANK)(*values)


class Descriptor:
    """How a tensor lies in memory; immutable, hashable, equal where the arrangement is the same.

    ``handle`` goes to C functions. ``shape`` are the sizes oneDNN sees, which may group or pad the axes of the tensor.
    """

    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    @classmethod
    def take(cls, pointer: ctypes.c_void_p) -> Descriptor:
        """Own a descriptor that a C function has just made."""
        return cls(Handle(pointer.value, load().memory_desc_destroy))

    @classmethod
    def copy(cls, address: int) -> Descriptor:
        """Own a copy of a descriptor that belongs to something else."""
        pointer = ctypes.c_void_p()
        load().memory_desc_clone(ctypes.byref(pointer), address)
        return cls.take(pointer)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return self._vector(_DIMS, self.rank)

    @cached_property
    def rank(self) -> int:
        return self._integer(_RANK)

    @cached_property
    def dtype(self) -> np.dtype:
        return _ELEMENTS[self._integer(_DTYPE)]

    @cached_property
    def nbytes(self) -> int:
        """Bytes of memory, padding included."""
        return load().memory_desc_get_size(self.handle)

    @cached_property
    def loops(self) -> tuple[Loop, ...] | None:
        """The nest of loops that walks the elements in memory order; ``None`` where the library keeps it to itself.

        Loops of one turn are left out, and neighbours that step through one axis evenly are one loop.
        """
        if self._integer(_KIND) != _BLOCKED:
            return None
        padded, strides = self._vector(_PADDED, self.rank), self._vector(_STRIDES, self.rank)
        count = self._integer(_BLOCK_COUNT)
        blocks = list(zip(self._vector(_BLOCK_AXES, count), self._vector(_BLOCKS, count), strict=True))
        inner: list[Loop] = []
        stride = 1
        for axis, extent in reversed(blocks):
            inner.insert(0, (axis, extent, stride))
            stride *= extent
        outer = list(padded)
        for axis, extent in blocks:
            outer[axis] //= extent
        walks = [(axis, extent, step) for axis, (extent, step) in enumerate(zip(outer, strides, strict=True))]
        return _merge([loop for loop in sorted(walks, key=lambda loop: -loop[2]) + inner if loop[1] != 1])

    @cached_property
    def _arrangement(self) -> tuple[Any, ...]:
        """What makes two descriptors the same place for each element."""
        return self.shape, self.dtype, self.nbytes, self.loops, self._vector(_PADDED, self.rank)

    @cached_property
    def _is_ordinary(self) -> bool:
        """Whether loops tell all: integer kernels append compensation data, which only oneDNN can compare."""
        size = int(np.prod(self._vector(_PADDED, self.rank))) * self.dtype.itemsize
        return self.loops is not None and self.nbytes <= size

    def is_row_major(self) -> bool:
        """Whether the elements lie densely in row-major order, without padding."""
        return self._is_ordinary and self._arrangement == dense(self.dtype, self.shape)._arrangement

    def permuted(self, permutation: Sequence[int]) -> Descriptor:
        """The same memory with the axes reordered: axis ``i`` of the result is axis ``permutation[i]`` of this one."""
        places = [0] * self.rank
        for new, old in enumerate(permutation):
            places[old] = new
        pointer = ctypes.c_void_p()
        array = (ctypes.c_int * MAX_RANK)(*places)
        load().memory_desc_permute_axes(ctypes.byref(pointer), self.handle, array)
        return Descriptor.take(pointer)

    def reshaped(self, shape: Sequence[int]) -> Descriptor | None:
        """The same memory with axes split, joined or of size one added; ``None`` where blocks stand in the way."""
        if tuple(shape) == self.shape:
            return self
        pointer = ctypes.c_void_p()
        try:
            load().memory_desc_reshape(ctypes.byref(pointer), self.handle, len(shape), vector(shape))
        except BackendError:
            return None
        return Descriptor.take(pointer)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Descriptor):
            return NotImplemented
        if self._is_ordinary and other._is_ordinary:
            return self._arrangement == other._arrangement
        return bool(load().memory_desc_equal(self.handle, other.handle))

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype, self.nbytes))

    def __repr__(self) -> str:
        walk = (
            "opaque" if self.loops is None else " ".join(f"{chr(97 + axis)}{extent}" for axis, extent, _ in self.loops)
        )
        return f"Descriptor({self.dtype.name} {self.shape}: {walk})"

    def _integer(self, what: int) -> int:
        found = ctypes.c_int()
        load().memory_desc_query(self.handle, what, ctypes.byref(found))
        return found.value

    def _vector(self, what: int, count: int) -> tuple[int, ...]:
        found = ctypes.POINTER(ctypes.c_int64)()
        load().memory_desc_query(self.handle, what, ctypes.byref(found))
        return tuple(found[:count]) if count else ()


def _merge(loops: Sequence[Loop]) -> tuple[Loop, ...]:
    merged: list[Loop] = []
    for axis, extent, stride in loops:
        if merged and merged[-1][0] == axis and merged[-1][2] == extent * stride:
            merged[-1] = (axis, merged[-1][1] * extent, stride)
        else:
            merged.append((axis, extent, stride))
    return tuple(merged)


def row_major_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a dense row-major tensor."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= size
    return tuple(strides)


@lru_cache(maxsize=4096)
def _strided(dtype: np.dtype, shape: tuple[int, ...], strides: tuple[int, ...]) -> Descriptor:
    pointer = ctypes.c_void_p()
    load().memory_desc_create_with_strides(
        ctypes.byref(pointer), len(shape), vector(shape), DATA_TYPES[dtype], vector(strides)
    )
    return Descriptor.take(pointer)


def strided(dtype: np.dtype, shape: Sequence[int], strides: Sequence[int]) -> Descriptor:
    """A descriptor by strides, counted in elements."""
    return _strided(np.dtype(dtype), tuple(shape), tuple(strides))


def dense(dtype: np.dtype, shape: Sequence[int]) -> Descriptor:
    """The row-major descriptor; a scalar is a vector of one element, for oneDNN knows no rank 0."""
    shape = tuple(shape) or (1,)
    return _strided(np.dtype(dtype), shape, row_major_strides(shape))


@lru_cache(maxsize=4096)
def _any_format(dtype: np.dtype, shape: tuple[int, ...]) -> Descriptor:
    pointer = ctypes.c_void_p()
    load().memory_desc_create_with_tag(ctypes.byref(pointer), len(shape), vector(shape), DATA_TYPES[dtype], FORMAT_ANY)
    return Descriptor.take(pointer)


def any_format(dtype: np.dtype, shape: Sequence[int]) -> Descriptor:
    """A descriptor that leaves the arrangement to the primitive that is made from it."""
    return _any_format(np.dtype(dtype), tuple(shape) or (1,))


def descriptor_of(layout: Layout, shape: Sequence[int] | None = None) -> Descriptor:
    """The descriptor of a layout; ``shape`` views a plain one with other sizes of the same element count."""
    if layout.opaque is None:
        return dense(layout.dtype, layout.shape if shape is None else shape)
    return layout.opaque


def layout_of(descriptor: Descriptor, shape: Sequence[int] | None = None) -> Layout:
    """The layout of a tensor that lies as ``descriptor`` says; ``shape`` is the tensor's own where that differs."""
    shape = descriptor.shape if shape is None else tuple(shape)
    if descriptor.is_row_major():
        return plain(descriptor.dtype, shape)
    return Layout(descriptor.dtype, shape, descriptor.nbytes, descriptor)


def same_shape(layout: Layout, shape: Sequence[int]) -> Layout:
    """``layout`` where it fits a tensor of ``shape`` ("lie as that input does"), else the plain one."""
    return layout if layout.shape == tuple(shape) else plain(layout.dtype, shape)


@lru_cache(maxsize=4096)
def tagged(dtype: np.dtype, shape: tuple[int, ...], tag: int) -> Descriptor:
    """A descriptor by the number of one of oneDNN's format tags."""
    pointer = ctypes.c_void_p()
    load().memory_desc_create_with_tag(ctypes.byref(pointer), len(shape), vector(shape), DATA_TYPES[dtype], tag)
    return Descriptor.take(pointer)


# Per rank, the tags by which activations lie: row-major, channels last, channels in blocks of 16 and of 8.
ACTIVATION_TAGS = {3: (4, 15, 56, 69), 4: (5, 22, 78, 102), 5: (6, 33, 121, 142)}


def channels_last(dtype: np.dtype, shape: Sequence[int]) -> Layout:
    """The layout of an activation of rank 3 to 5 whose channels lie next to each other."""
    return layout_of(tagged(np.dtype(dtype), tuple(shape), ACTIVATION_TAGS[len(shape)][1]), shape)


def channels_in_blocks(dtype: np.dtype, shape: Sequence[int], width: int) -> Layout:
    """The layout of an activation of rank 3 to 5 with ``width`` channels, 8 or 16, next to each other."""
    tag = ACTIVATION_TAGS[len(shape)][{16: 2, 8: 3}[width]]
    return layout_of(tagged(np.dtype(dtype), tuple(shape), tag), shape)


def retyped(layout: Layout, dtype: np.dtype) -> Layout:
    """The same arrangement for elements of ``dtype``; row-major where it is none of ``ACTIVATION_TAGS``."""
    shape = layout.shape
    for tag in () if layout.is_plain else ACTIVATION_TAGS.get(len(shape), ()):
        if tagged(layout.dtype, shape, tag) == layout.opaque:
            return layout_of(tagged(dtype, shape, tag))
    return plain(dtype, shape)
