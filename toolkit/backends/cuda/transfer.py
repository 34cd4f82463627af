"""Copies between host and device, and between the layouts of the device; all of them only enqueue.

Host memory that a run copies from or to is pinned: see ``DeviceMemory.staging``. What crosses the border is row-major
on the host; another order on the device is made there, from and in scratch memory, by a kernel of our own.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

from toolkit.backends.cuda import library
from toolkit.backends.cuda.launch import Input, Launch, Output, SourceKernel, enqueuing
from toolkit.backends.cuda.layouts import memory_order, on_device, strides
from toolkit.backends.cuda.movement import copy
from toolkit.backends.cuda.queue import Queue, queue_of
from toolkit.backends.protocol import HOST, Kernel, Layout, Resources, Step

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


def permutation(source: Layout, target: Layout) -> Launch:
    """From one order of axes on the device to another, in the order of the target's memory."""
    order = memory_order(target)
    sizes = [target.shape[axis] for axis in order]
    given, made = ([strides(layout)[axis] for axis in order] for layout in (source, target))
    return copy("reorder", source.dtype.itemsize, sizes, (Input(0), given, 0), (Output(0), made, 0))


class Unpack(Kernel):
    """To the device in row-major order, there into another one."""

    name = "host to device, reorder"

    def __init__(self, source: Layout, target: Layout, resources: Resources) -> None:
        self.inputs, self.outputs, self._resources = [source], [target], resources
        self._middle = on_device(source.dtype, source.shape)
        self._launch = permutation(self._middle, target)
        self.workspace = source.nbytes

    def bind(self, inputs: Any, outputs: Any, workspace: Any) -> Step:
        middle = workspace.over(self._middle)
        first = copying(TO_DEVICE, inputs[0], middle, queue_of(self._resources))
        return _both(first, enqueuing([self._launch], [middle], outputs, None, self._resources))


class Pack(Kernel):
    """Into row-major order on the device, from there to the host."""

    name = "reorder, device to host"

    def __init__(self, source: Layout, target: Layout, resources: Resources) -> None:
        self.inputs, self.outputs, self._resources = [source], [target], resources
        self._middle = on_device(target.dtype, target.shape)
        self._launch = permutation(source, self._middle)
        self.workspace = target.nbytes

    def bind(self, inputs: Any, outputs: Any, workspace: Any) -> Step:
        middle = workspace.over(self._middle)
        first = enqueuing([self._launch], inputs, [middle], None, self._resources)
        return _both(first, copying(FROM_DEVICE, middle, outputs[0], queue_of(self._resources)))


def _both(first: Step, second: Step) -> Step:
    return lambda: first() or second()


def transfer(source: Layout, target: Layout, resources: Resources) -> Kernel:
    """The kernel that converts between two layouts, at least one of them on the device."""
    if source.opaque == target.opaque:
        return Copy(source, target, queue_of(resources))
    if source.device == HOST:
        return Unpack(source, target, resources)
    if target.device == HOST:
        return Pack(source, target, resources)
    return SourceKernel("reorder", [permutation(source, target)], [source], [target], resources)
