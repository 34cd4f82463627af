"""Device memory and pinned host memory: blocks that are freed with their last reference, and buffers inside of them."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from toolkit.backends.cuda import library
from toolkit.backends.cuda.device import Device, device
from toolkit.backends.cuda.layouts import memory_order, on_device
from toolkit.backends.protocol import Layout
from toolkit.errors import BackendError

ALIGNMENT = 256  # bytes: what cublasLt wants of workspaces, and more than any vector access needs


class DeviceBlock:
    """Memory of the device; ``address`` is a pointer there. Freed with the last buffer in it, in any thread."""

    __slots__ = ("__weakref__", "address", "nbytes")

    def __init__(self, nbytes: int) -> None:
        owner = device()
        self.nbytes = max(nbytes, 1)
        with owner.active() as driver:
            try:
                allocation = driver.mem_alloc(self.nbytes)
            except driver.MemoryError as error:
                unused = driver.mem_get_info()[0]
                raise BackendError(
                    f"{owner.name} has no {self.nbytes / 2**20:,.0f} MiB left, {unused / 2**20:,.0f} MiB are free. "
                    "Use a smaller batch, rematerialise, or end what else uses the device."
                ) from error
            driver.memset_d8(allocation, 0, self.nbytes)
            driver.Context.synchronize()  # queues do not wait for what the driver does outside of them
        self.address = int(allocation)
        weakref.finalize(self, _free, owner, allocation)


def _free(owner: Device, allocation: Any) -> None:
    with owner.active():
        allocation.free()


class PinnedBlock:
    """Host memory that the device reads and writes while nobody waits; numpy arrays over it hold on to it."""

    __slots__ = ("__array_interface__", "__weakref__")

    def __init__(self, nbytes: int) -> None:
        owner = device()
        with owner.active() as driver:
            array = driver.pagelocked_zeros(max(nbytes, 1), np.uint8)
        self.__array_interface__ = dict(array.__array_interface__)
        weakref.finalize(self, _free, owner, array.base)


class DeviceBuffer:
    """A tensor in a block: ``address`` for native kernels, ``array`` for CuPy."""

    __slots__ = ("_block", "_offset", "address", "layout")

    def __init__(self, layout: Layout, block: DeviceBlock, offset: int = 0) -> None:
        self.layout = layout
        self._block = block
        self._offset = offset
        self.address = block.address + offset

    @property
    def array(self) -> Any:
        """The tensor as a CuPy array; plain layouts only."""
        assert self.layout.is_plain, "an opaque layout has no array"
        return self.strided

    @property
    def strided(self) -> Any:
        """The tensor as a CuPy array of its logical shape, strided as it lies."""
        order = memory_order(self.layout)
        dense = self._view(tuple(self.layout.shape[axis] for axis in order))
        return dense.transpose([order.index(axis) for axis in range(len(order))]) if order else dense

    @property
    def flat(self) -> Any:
        """The tensor as a CuPy array of one axis, in memory order."""
        return self._view((self.layout.nbytes // self.layout.dtype.itemsize,))

    def over(self, layout: Layout) -> DeviceBuffer:
        """The same memory seen in another layout."""
        return DeviceBuffer(layout, self._block, self._offset)

    def _view(self, shape: tuple[int, ...]) -> Any:
        cupy: Any = library.module("cupy")
        memory = cupy.cuda.UnownedMemory(self._block.address, self._block.nbytes, self._block, 0)
        return cupy.ndarray(shape, self.layout.dtype, cupy.cuda.MemoryPointer(memory, self._offset))


class DeviceMemory:
    """The memory of the device; its blocks are ``DeviceBlock`` objects."""

    alignment = ALIGNMENT

    def allocate(self, nbytes: int) -> DeviceBlock:
        return DeviceBlock(nbytes)

    def buffer(self, layout: Layout, block: DeviceBlock, offset: int = 0) -> DeviceBuffer:
        return DeviceBuffer(layout, block, offset)

    def staging(self, nbytes: int) -> np.ndarray:
        return np.asarray(PinnedBlock(nbytes))


def scratch(nbytes: int) -> DeviceBuffer:
    """A buffer of bytes of its own."""
    return DeviceBuffer(on_device(np.dtype(np.uint8), (nbytes,)), DeviceBlock(nbytes))


def filled(content: bytes) -> DeviceBlock:
    """A block that holds these bytes."""
    block = DeviceBlock(len(content))
    if content:
        with device().active() as driver:
            driver.memcpy_htod(block.address, content)
    return block
