"""Copies between host and device, and between the layouts of the device; all of them only enqueue.

Host memory that a run copies from or to is pinned: see ``DeviceMemory.staging``. What crosses the border is row-major
on the host; another order on the device is made there, from and in scratch memory.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

from toolkit.backends.cuda import library
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.queue import Queue
from toolkit.backends.protocol import HOST, Kernel, Layout, Step

TO_DEVICE, FROM_DEVICE, ON_DEVICE = "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemcpyDtoDAsync_v2"
DRIVER_TYPES = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p]


class Copy(Kernel):
    """Bytes from one address to another, on one side of the border or across it."""

    def __init__(self, source: Layout, target: Layout, queue: Queue) -> None:
        self.inputs, self.outputs, self._queue = [source], [target], queue
        if source.device == HOST:
            self._function, self.name = TO_DEVICE, "host to device"
        elif target.device == HOST:
            self._function, self.name = FROM_DEVICE, "device to host"
        else:
            self._function, self.name = ON_DEVICE, "copy"

    def bind(self, inputs: Any, outputs: Any, workspace: Any) -> Step:
        return copying(self._function, inputs[0], outputs[0], self._queue)


def copying(function: str, source: Any, target: Any, queue: Queue) -> Step:
    """A step that copies the bytes of one buffer to another; it holds on to both."""
    call = getattr(library.load("driver"), function)
    call.argtypes = DRIVER_TYPES
    enqueue = partial(call, target.address, source.address, source.layout.nbytes, queue.handle)
    return partial(_call, enqueue, source, target) if source.layout.nbytes else _nothing


def _call(enqueue: Step, *owners: Any) -> Any:
    return enqueue()


def _nothing() -> None:
    """The step of an empty tensor."""


class Permute(Kernel):
    """From one order of axes on the device to another, by a strided copy."""

    name = "reorder"

    def __init__(self, source: Layout, target: Layout) -> None:
        self.inputs, self.outputs = [source], [target]

    def bind(self, inputs: Any, outputs: Any, workspace: Any) -> Step:
        return _permuting(inputs[0], outputs[0])


def _permuting(source: Any, target: Any) -> Step:
    cupy: Any = library.module("cupy")
    return partial(cupy.copyto, target.strided, source.strided)


class Unpack(Kernel):
    """To the device in row-major order, there into another one."""

    name = "host to device, reorder"

    def __init__(self, source: Layout, target: Layout, queue: Queue) -> None:
        self.inputs, self.outputs, self._queue = [source], [target], queue
        self.workspace = source.nbytes

    def bind(self, inputs: Any, outputs: Any, workspace: Any) -> Step:
        source, target = inputs[0], outputs[0]
        middle = workspace.over(on_device(source.layout.dtype, source.layout.shape))
        first, second = copying(TO_DEVICE, source, middle, self._queue), _permuting(middle, target)
        return lambda: first() or second()


class Pack(Kernel):
    """Into row-major order on the device, from there to the host."""

    name = "reorder, device to host"

    def __init__(self, source: Layout, target: Layout, queue: Queue) -> None:
        self.inputs, self.outputs, self._queue = [source], [target], queue
        self.workspace = target.nbytes

    def bind(self, inputs: Any, outputs: Any, workspace: Any) -> Step:
        source, target = inputs[0], outputs[0]
        middle = workspace.over(on_device(target.layout.dtype, target.layout.shape))
        first, second = _permuting(source, middle), copying(FROM_DEVICE, middle, target, self._queue)
        return lambda: first() or second()


def transfer(source: Layout, target: Layout, queue: Queue) -> Kernel:
    """The kernel that converts between two layouts, at least one of them on the device."""
    if source.opaque == target.opaque:
        return Copy(source, target, queue)
    if source.device == HOST:
        return Unpack(source, target, queue)
    return Pack(source, target, queue) if target.device == HOST else Permute(source, target)
