"""Crossings: copies over the border that go on beside the work, each direction in a stream of its own.

A device has a copy engine for each direction. Two events order the streams: what crosses waits until the memory at the
border was emptied (or filled) by the work, and the work waits until it has crossed. Such steps are never recorded into
a graph, whose launches the events have to stand between.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from toolkit.backends.cuda.driver import Happening, call
from toolkit.backends.cuda.queue import queue_of
from toolkit.backends.cuda.transfer import Copy, transfer
from toolkit.backends.protocol import HOST, Kernel, Layout, Resources, Step


class StreamCrossing:
    """The way of one tensor between the host and the device."""

    def __init__(self, resources: Resources) -> None:
        self._resources, self._queue = resources, queue_of(resources)

    @cached_property
    def crossed(self) -> Happening:
        """The last copy over the border is done."""
        return Happening()

    @cached_property
    def met(self) -> Happening:
        """The work has emptied the memory at the border, or filled it."""
        return Happening()

    def over(self, source: Layout, target: Layout) -> Kernel:
        queue, is_upload = self._queue, source.device == HOST

        def handle() -> int:
            return int((queue.uploads if is_upload else queue.downloads).handle)

        return Ordered(Copy(source, target, handle), handle, lambda: (self.met, self.crossed))

    def beside(self, source: Layout, target: Layout) -> Kernel:
        queue = self._queue
        inner = transfer(source, target, self._resources)
        return Ordered(inner, lambda: queue.handle, lambda: (self.crossed, self.met))

    def wait(self) -> None:
        self.crossed.wait()


class Ordered(Kernel):
    """A kernel in a stream that waits for one event before, and records another one behind."""

    is_capturable = False

    def __init__(
        self, inner: Kernel, handle: Callable[[], int], events: Callable[[], tuple[Happening, Happening]]
    ) -> None:
        self.name, self.inputs, self.outputs = f"{inner.name}, beside", inner.inputs, inner.outputs
        self.workspace = inner.workspace
        self._inner, self._handle, self._events = inner, handle, events

    def bind(self, inputs: Any, outputs: Any, workspace: Any) -> Step:
        step, stream = self._inner.bind(inputs, outputs, workspace), self._handle()
        before, after = self._events()
        wait = partial(call("cuStreamWaitEvent"), stream, before.handle, 0)
        record = partial(call("cuEventRecord"), after.handle, stream)

        def ordered(owners: Any = (before, after)) -> Any:
            return wait() or step() or record()

        return ordered
