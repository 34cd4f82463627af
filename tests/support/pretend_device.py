"""A device that is none: memory apart from the host's, work that waits in a queue until somebody waits for it.

It computes by numpy, but only when ``synchronise`` is called, and its buffers have no arrays for others. So whoever
touches its memory from the host fails, and whoever does not wait reads zeros. What stands for a layout of a device's
own is the reverse order of axes. Copies beside the work have queues of their own, which run as early as their events
let them, or as late: whoever forgets an event finds a tensor overwritten, or not there yet.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.host import aligned
from toolkit.backends.numpy.backend import NumpyBackend
from toolkit.backends.protocol import Backend, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.program import Node

DEVICE = "pretend"
REVERSED = "axes in reverse"
TURNS = {"MatMul", "Gemm", "Conv", "FusedConv", "ConvWeightGradient", "ConvInputGradient"}  # they want REVERSED


def reversed_axes(dtype: np.dtype, shape: Sequence[int]) -> Layout:
    """The layout that the device has to itself."""
    return Layout(dtype, tuple(shape), plain(dtype, shape).nbytes, REVERSED, DEVICE)


class Buffer:
    """A tensor in a block of the device. It has an address, but neither ``array`` nor ``flat``."""

    def __init__(self, layout: Layout, block: np.ndarray, offset: int) -> None:
        assert offset % Memory.alignment == 0, f"offset {offset} is not aligned for the device"
        self.layout, self.block, self._offset = layout, block, offset
        self.address = -1 - block.ctypes.data - offset  # nothing on the host can be there

    def over(self, layout: Layout) -> Buffer:
        return Buffer(layout, self.block, self._offset)

    def opened(self) -> np.ndarray:
        """For the device alone."""
        order: Any = "F" if self.layout.opaque == REVERSED else "C"
        return np.ndarray(self.layout.shape, self.layout.dtype, self.block, self._offset, order=order)


class Memory:
    """Blocks are arrays that nobody but the device opens."""

    alignment = 256

    def allocate(self, nbytes: int) -> np.ndarray:
        return aligned(nbytes)

    def buffer(self, layout: Layout, block: np.ndarray, offset: int = 0) -> Buffer:
        assert layout.device == DEVICE, f"{layout} is not for this device"
        return Buffer(layout, block, offset)

    def staging(self, nbytes: int) -> np.ndarray:
        return aligned(nbytes)


@dataclass
class Event:
    """A place in a lane; ``recorded`` and ``reached`` count how often it was enqueued, and passed."""

    recorded: int = 0
    reached: int = 0


@dataclass
class Queue:
    """What a context has enqueued, by lane (the work, uploads, downloads), and a count of what has happened.

    ``crossed`` counts bytes that went over the border.

    An item is work, an event to record, or ``(event, count)`` to wait for. What fails takes everything pending with it.
    ``is_eager``: copies beside the work are done at once where no
    event holds them back.
    """

    pending: list[Any] = field(default_factory=list)
    uploads: list[Any] = field(default_factory=list)
    downloads: list[Any] = field(default_factory=list)
    done: int = 0
    fused: int = 0
    launches: int = 0
    crossed: int = 0
    is_eager: bool = False

    @property
    def lanes(self) -> list[list[Any]]:
        beside = [self.uploads, self.downloads]
        return [*beside, self.pending] if self.is_eager else [self.pending, *beside]

    def beside(self, lane: list[Any], items: Sequence[Any]) -> None:
        lane += items
        if self.is_eager:
            self._advance(lane)

    def drain(self) -> None:
        """Work off everything."""
        while any(self.lanes):
            assert any(self._advance(lane) for lane in self.lanes if lane), "the lanes wait for each other"

    def reach(self, event: Event, count: int) -> None:
        """Work on until an event is passed."""
        while event.reached < count:
            assert any(self._advance(lane, event, count) for lane in self.lanes if lane), "nobody records it"

    def _advance(self, lane: list[Any], event: Event | None = None, count: int = 0) -> bool:
        """Work off a lane up to an event that is not there yet; tells whether anything was done."""
        had = len(lane)
        while lane and (event is None or event.reached < count):
            item = lane[0]
            if isinstance(item, tuple) and item[0].reached < item[1]:
                break
            lane.pop(0)
            if isinstance(item, Event):
                item.reached += 1
            elif not isinstance(item, tuple):
                self._execute(item)
        return len(lane) < had

    def _execute(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException:
            for lane in self.lanes:
                for item in lane:
                    if isinstance(item, Event):
                        item.reached += 1
                lane.clear()
            raise
        self.done += 1


@dataclass
class Moment:
    """A moment of the queue, known once the queue has come there."""

    seconds: float | None = None

    def pass_by(self) -> None:
        self.seconds = time.perf_counter()

    def since(self, earlier: Moment) -> float:
        assert self.seconds is not None, "nobody has waited for the device"
        assert earlier.seconds is not None, "nobody has waited for the device"
        return self.seconds - earlier.seconds


@dataclass(frozen=True)
class Lent:
    """A buffer as numpy's kernels take it."""

    layout: Layout
    array: np.ndarray


class PretendKernel(Kernel):
    """numpy's kernel on the device's memory; its step enqueues."""

    def __init__(self, node: Node, inner: Kernel, resources: Resources) -> None:
        self._inner, self._queue = inner, queue_of(resources)
        turns = node.op_type in TURNS
        self.inputs = [_moved(item, turns and index == 0) for index, item in enumerate(inner.inputs)]
        self.outputs = [_moved(item, turns and index == 0) for index, item in enumerate(inner.outputs)]
        self.name, self.is_free = f"pretend {inner.name}", inner.is_free
        self.aliases, self.in_place, self.accumulates = inner.aliases, inner.in_place, inner.accumulates
        if turns:
            self.in_place = ()

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any], workspace: Any) -> Step:
        step = self._inner.bind(_lent(inputs), _lent(outputs), None)
        return partial(_enqueue, self._queue, step)


class Transfer(Kernel):
    """From one layout of the device to another, or across the border, where the host's side is row-major."""

    def __init__(self, source: Layout, target: Layout, resources: Resources) -> None:
        for side in (source, target):
            assert side.device == DEVICE or side.is_plain, f"{side} does not cross the border"
        self.inputs, self.outputs, self._queue = [source], [target], queue_of(resources)
        self.name, self.workspace = f"{source.device} to {target.device}", source.nbytes
        self._crossing = source.nbytes if source.device != target.device else 0

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any], workspace: Any) -> Step:
        return partial(_enqueue, self._queue, self.work(inputs, outputs, workspace))

    def work(self, inputs: Sequence[Any], outputs: Sequence[Any], workspace: Any) -> Callable[[], Any]:
        """What is done when the device comes to it."""
        source, target = (item.opened() if isinstance(item, Buffer) else item.array for item in (*inputs, *outputs))
        lent = None if workspace is None else weakref.ref(workspace.block)  # a native step knows an address, no more

        def work() -> None:
            assert lent is None or lent() is not None, "scratch memory was freed before it was used"
            np.copyto(target, source)
            self._queue.crossed += self._crossing

        return work


class PretendCrossing:
    """Copies beside the work, in the lanes of the queue."""

    def __init__(self, resources: Resources) -> None:
        self._resources, self._queue = resources, queue_of(resources)
        self._crossed, self._met = Event(), Event()

    def over(self, source: Layout, target: Layout) -> Kernel:
        lane = self._queue.downloads if source.device == DEVICE else self._queue.uploads
        return Ordered(Transfer(source, target, self._resources), self._queue, lane, self._met, self._crossed)

    def beside(self, source: Layout, target: Layout) -> Kernel:
        inner = Transfer(source, target, self._resources)
        return Ordered(inner, self._queue, self._queue.pending, self._crossed, self._met)

    def wait(self) -> None:
        self._queue.reach(self._crossed, self._crossed.recorded)


class Ordered(Kernel):
    """A copy in a lane that waits for one event before, and records another one behind."""

    is_capturable = False

    def __init__(self, inner: Transfer, queue: Queue, lane: list[Any], before: Event, after: Event) -> None:
        self.inputs, self.outputs, self.name = inner.inputs, inner.outputs, f"{inner.name}, beside"
        self._inner, self._queue, self._lane, self._before, self._after = inner, queue, lane, before, after

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any], workspace: Any) -> Step:
        work, before, after = self._inner.work(inputs, outputs, workspace), self._before, self._after

        def step() -> None:
            after.recorded += 1
            self._queue.beside(self._lane, [(before, before.recorded), work, after])

        return step


class PretendBackend(Backend):
    """numpy's kernels on the pretended device, for all operators or those of ``only``."""

    name = DEVICE
    device = DEVICE
    memory = Memory()
    widens = True

    def __init__(self, only: Sequence[str] = ()) -> None:
        self._numpy, self._only = NumpyBackend(), frozenset(only)
        self.is_eager = False
        self.queues: list[Queue] = []

    def supports(self, node: Node) -> bool:
        record = node.record
        if record is None or record.is_random or (self._only and node.op_type not in self._only):
            return False
        tensors = [item for item in (*node.inputs, *node.outputs) if item is not None]
        return all(item.dtype != object for item in tensors) and self._numpy.supports(node)

    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        assert all(item is None or item.device == DEVICE for item in inputs), f"{node} was shown tensors elsewhere"
        return PretendKernel(node, self._numpy.lower(node, [], resources), resources)

    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        return Transfer(source, target, resources)

    def enter(self, resources: Resources) -> None:
        queue = queue_of(resources)
        if not any(queue is known for known in self.queues):
            queue.is_eager = self.is_eager
            self.queues.append(queue)

    def synchronise(self, resources: Resources) -> None:
        queue_of(resources).drain()

    def fuse(self, steps: Sequence[Step], resources: Resources) -> Step | None:
        queue = queue_of(resources)
        assert not queue.pending, "what is fused has been executed and waited for"
        for step in steps:
            step()
        recorded = queue.pending[:]
        queue.pending.clear()
        queue.fused += len(recorded)

        def launch() -> None:
            queue.launches += 1
            queue.pending += recorded

        return launch

    def finiteness(self, buffers: Sequence[Any], resources: Resources) -> Callable[[], bool]:
        seen: list[bool] = []
        queue_of(resources).pending.append(
            lambda: seen.append(all(np.isfinite(item.opened()).all() for item in buffers))
        )
        return lambda: seen[0]

    def crossing(self, resources: Resources) -> PretendCrossing:
        return PretendCrossing(resources)

    def mark(self, resources: Resources) -> Moment:
        moment = Moment()
        queue_of(resources).pending.append(moment.pass_by)
        return moment


def queue_of(resources: Resources) -> Queue:
    """The queue of a context."""
    return resources.own(DEVICE, Queue)


def _enqueue(queue: Queue, work: Callable[[], Any]) -> None:
    queue.pending.append(work)


def _lent(buffers: Sequence[Any]) -> list[Any]:
    return [None if item is None else Lent(item.layout, item.opened()) for item in buffers]


def _moved(layout: Layout | None, turned: bool) -> Layout | None:
    if layout is None:
        return None
    return reversed_axes(layout.dtype, layout.shape) if turned else plain(layout.dtype, layout.shape, DEVICE)
