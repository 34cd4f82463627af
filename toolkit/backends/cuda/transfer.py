"""Copies between host and device, and between the layouts of the device; all of them only enqueue.

Host memory that a run copies from or to is pinned: see ``DeviceMemory.staging``. What crosses the border is row-major
on the host; another order on the device is made there, from and in scratch memory, by a kernel of our own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from toolkit.backends.cuda.driver import call
from toolkit.backends.cuda.launch import Input, Launch, Output, SourceKernel, enqueuing
from toolkit.backends.cuda.layouts import memory_order, on_device, strides
from toolkit.backends.cuda.movement import copy
from toolkit.backends.cuda.queue import queue_of
from toolkit.backends.protocol import HOST, Kernel, Layout, Resources, Step

TO_DEVICE, FROM_DEVICE, ON_DEVICE = "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemcpyDtoDAsync_v2"


class Copy(Kernel):
    """Bytes from one address to another, on one side of the border or across it; ``handle`` gives the stream."""

    def __init__(self, source: Layout, target: Layout, handle: Callable[[], int]) -> None:
        self.inputs, self.outputs, self._handle = [source], [target], handle
        if source.device == HOST:
            self._function, self.name = TO_DEVICE, "host to device"
        elif target.device == HOST:
            self._function, self.name = FROM_DEVICE, "device to host"
        else:
            self._function, self.name = ON_DEVICE, "copy"

    def bind(self, inputs: Any, outputs: Any, workspace: Any) -> Step:
        return copying(self._function, inputs[0], outputs[0], self._handle())


def copying(function: str, source: Any, target: Any, stream: int) -> Step:
    """A step that copies the bytes of one buffer to another; it holds on to both."""
    if not source.layout.nbytes:
        return _nothing
    enqueue = partial(call(function), target.address, source.address, source.layout.nbytes, stream)
    return partial(_enqueue, enqueue, source, target)


def _enqueue(enqueue: Step, *owners: Any) -> Any:
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
        first = copying(TO_DEVICE, inputs[0], middle, queue_of(self._resources).handle)
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
        return _both(first, copying(FROM_DEVICE, middle, outputs[0], queue_of(self._resources).handle))


def _both(first: Step, second: Step) -> Step:
    return lambda: first() or second()


def transfer(source: Layout, target: Layout, resources: Resources) -> Kernel:
    """The kernel that converts between two layouts, at least one of them on the device."""
    if source.opaque == target.opaque:
        return Copy(source, target, lambda: queue_of(resources).handle)
    if source.device == HOST:
        return Unpack(source, target, resources)
    if target.device == HOST:
        return Pack(source, target, resources)
    return SourceKernel("reorder", [permutation(source, target)], [source], [target], resources)
