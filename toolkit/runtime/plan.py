"""The plan: a program compiled for its backends, bound to memory, ready to be executed again and again.

Building it lowers the program, shares and places memory, and computes once what depends on parameters alone (packed
weights, folded statistics). Running it calls prepared steps; nothing is decided and nothing is allocated. Steps of a
device beside the host are enqueued, waited for where the host needs them, and fused after their first execution.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from toolkit.backends.protocol import HOST, Backend, Resources, Step, plain
from toolkit.compiler.program import Program, Variable
from toolkit.errors import BackendError, malformed, naming
from toolkit.graph.parameter import CLOCK, Parameter
from toolkit.runtime.arrangement import Arrangement, arrange
from toolkit.runtime.devices import BYTE, Devices
from toolkit.runtime.execution import Execution, Span
from toolkit.runtime.feeding import Feed, load
from toolkit.runtime.residence import Resident
from toolkit.runtime.schedule import Span as HostSpan
from toolkit.runtime.store import Store
from toolkit.runtime.tensors import AnyBuffer, ObjectBuffer, Task, Tensor, host_buffer

Packed = MutableMapping[Hashable, "PackedBuffer"]


class PackedBuffer:
    """Static content shared by the contexts of a network; ``stamp`` are the parameter versions it was made from."""

    __slots__ = ("__weakref__", "buffer", "stamp")

    def __init__(self, buffer: AnyBuffer) -> None:
        self.buffer = buffer
        self.stamp: tuple[int, ...] | None = None


class Plan:
    """Bound steps over one arena on each device.

    ``packed`` is the network's table of static content, shared between plans. ``gradients`` lists (variable, key) pairs
    that are to be computed in the store's gradient buffers. Steps are executed by role: ``run("forward", "loss")``.

    Inputs in ``given`` are read on the device it names, outputs in ``staying`` are left on that which computes them:
    such are no arrays, but ``Resident`` values, in ``take`` and ``give``.
    """

    def __init__(
        self,
        program: Program,
        backends: Sequence[Backend],
        resources: Resources,
        *,
        packed: Packed,
        store: Store | None = None,
        groups: Sequence[tuple[Sequence[Parameter], Sequence[str]]] = (),
        gradients: Sequence[tuple[Variable, Hashable]] = (),
        given: Mapping[str, str] = MappingProxyType({}),
        staying: Collection[str] = (),
    ) -> None:
        self.resources = resources
        self._devices = Devices(backends, resources)
        pins: dict[str, Any] = {"store": store, "groups": groups, "gradients": gradients}
        found = arrange(program, backends, resources, **pins, given=given, staying=staying)
        lowering = found.lowering
        self.store = lowering.store
        self.inputs, self.outputs, self.tasks = found.inputs, lowering.outputs, found.tasks
        self.static = [task for task in lowering.static if not task.kernel.is_free]
        self._packed = packed
        self._held: list[PackedBuffer] = []
        self.arenas = found.arenas
        self.execution = Execution(self.tasks, self._devices, self._reach)
        self._place(found)
        self._clock = -1
        self._readers = self._static_readers()
        self._sources = self._trace_sources()
        self.refresh()

    # memory ----------------------------------------------------------------------------------------------------------

    def _place(self, found: Arrangement) -> None:
        """Give every root its buffer."""
        devices = self._devices
        self.blocks = {device: devices.block(device, nbytes) for device, nbytes in found.arenas.items()}
        for root, life in found.lifetimes.items():
            root.buffer = devices.buffer(root.layout, self.blocks[root.layout.device], life.offset)
        self._scratch: list[AnyBuffer | None] = []
        for task, item in zip(found.tasks, found.scratch, strict=True):
            layout = plain(BYTE, (0 if item is None else item.nbytes,), task.device)
            made = None if item is None else devices.buffer(layout, self.blocks[task.device], item.offset)
            self._scratch.append(made)

    @property
    def arena_nbytes(self) -> int:
        """Bytes of the arenas of all devices."""
        return sum(self.arenas.values())

    def _buffer(self, item: Tensor | None) -> AnyBuffer | None:
        """The buffer of a tensor; a view gets one of its own layout over its root's memory."""
        if item is None:
            return None
        root = item.base()
        if root.buffer is None:
            if root.storage == "kept":
                root.buffer = self.store.buffers[root.key]
            elif root.storage == "gradient":
                root.buffer = self.store.gradients[root.key].over(root.layout)
            else:
                root.buffer = self._devices.fresh(root.layout)
        if item is root:
            return root.buffer
        if isinstance(root.buffer, ObjectBuffer):
            return host_buffer(item.layout, root.buffer.array.reshape(item.layout.shape))
        return root.buffer.over(item.layout)

    # static content --------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring everything that depends on parameters up to date; rebinds when a parameter's host array moved."""
        if self._clock == CLOCK.now:
            return
        self._devices.enter()
        self.store.pull()
        with np.errstate(all="ignore"):
            moved = self._evaluate_static()
        if moved or self._clock < 0:
            self._bind()
        self._clock = CLOCK.now

    def _evaluate_static(self) -> bool:
        """Execute the static tasks whose result is not shared already; returns whether any address changed."""
        moved = self._load_parameters()
        held_by = {id(task): self._packed_outputs(task) for task in self.static}
        stale = self._stale_tasks(held_by)
        for position, task in enumerate(self.static):
            if id(task) not in stale:
                continue
            held = held_by[id(task)]
            for item in task.outputs:
                if item is not None and item.buffer is None:
                    item.buffer = self._devices.fresh(item.layout)
            scratch = self._devices.scratch(task.device, task.kernel.workspace)  # the step knows its address alone
            self.execution.execute(self._step(task, scratch), task)
            for shared in held or ():
                shared.stamp = self._stamp(task)
            self._drop_finished(task, position)
        return moved

    def _stale_tasks(self, held_by: dict[int, list[PackedBuffer] | None]) -> set[int]:
        """The static tasks to execute: those whose lasting results are not current, and what these need."""
        stale: set[int] = set()
        needed: set[Tensor] = set()
        for task in reversed(self.static):
            held = held_by[id(task)]
            current = held is not None and all(item.stamp == self._stamp(task) for item in held)
            wanted = any(item is not None and item.base() in needed for item in task.outputs)
            if (held is not None and not current) or wanted:
                stale.add(id(task))
                needed.update(item.base() for item in task.inputs if item is not None)
        return stale

    def _stamp(self, task: Task) -> tuple[int, ...]:
        """The versions of the parameters that a static task depends on."""
        return tuple(parameter.version for parameter in self._sources[id(task)])

    def _trace_sources(self) -> dict[int, tuple[Parameter, ...]]:
        """The parameters behind each static task."""
        behind: dict[Tensor, dict[Parameter, None]] = {}
        sources = {}
        for task in self.static:
            found: dict[Parameter, None] = {}
            for item in task.inputs:
                root = None if item is None else item.base()
                if root is not None and root.variable.parameter is not None and _is_source(root):
                    found[root.variable.parameter] = None
                elif root is not None:
                    found.update(behind.get(root, {}))
            behind.update((item, found) for item in task.outputs if item is not None)
            sources[id(task)] = tuple(found)
        return sources

    def _is_lasting(self, item: Tensor) -> bool:
        return self._readers.get(item.base()) == len(self.static)

    def _load_parameters(self) -> bool:
        """Point static sources at the parameters' host arrays; returns whether one that every run reads moved."""
        moved = False
        read = (item for task in (*self.static, *self.tasks) for item in task.inputs)
        for item in (*read, *self.outputs.values()):
            root = None if item is None else item.base()
            parameter = None if root is None else root.variable.parameter
            if root is None or root.storage != "static" or parameter is None or not _is_source(root):
                continue
            array = parameter.array
            if root.buffer is None or root.buffer.address != array.ctypes.data:
                root.buffer = host_buffer(root.layout, array)
                moved = moved or self._is_lasting(root)
        return moved

    def _static_readers(self) -> dict[Tensor, int]:
        """The last static task that reads each static root; the number of tasks for those read in every run."""
        readers: dict[Tensor, int] = {}
        for position, task in enumerate(self.static):
            readers.update((item.base(), position) for item in task.inputs if item is not None)
        every = [item for task in self.tasks for item in task.inputs] + list(self.outputs.values())
        readers.update((item.base(), len(self.static)) for item in every if item is not None)
        return readers

    def _packed_outputs(self, task: Task) -> list[PackedBuffer] | None:
        """The shared buffers of a task whose results are read in every run; creates the entries."""
        lasting = [item for item in task.outputs if item is not None and self._is_lasting(item)]
        if not lasting:
            return None
        found = []
        for item in lasting:
            entry = self._packed.get(item.key)
            if entry is None:
                entry = PackedBuffer(self._devices.fresh(item.layout))
                self._packed[item.key] = entry
            if entry not in self._held:
                self._held.append(entry)
            item.buffer = entry.buffer
            found.append(entry)
        return found

    def _drop_finished(self, task: Task, position: int) -> None:
        for item in task.inputs:
            root = None if item is None else item.base()
            if root is not None and self._readers[root] == position and root.variable.constant is None:
                root.buffer = None

    # execution -------------------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        """Fix the addresses of everything that a run executes, and what callers see of them."""
        pairs: list[tuple[Step, Task]] = []
        self.feeds: dict[str, Feed] = {}
        self._scratch_of = {id(task): scratch for task, scratch in zip(self.tasks, self._scratch, strict=True)}
        for task, scratch in zip(self.tasks, self._scratch, strict=True):
            if not task.kernel.is_free:
                step = self._step(task, scratch)
                pairs.append((self._fed(task, step) if task.is_upload else step, task))
        self.execution.bind(pairs)
        self.input_arrays = {name: self._array(item) for name, item in self.inputs.items() if _is_on_host(item)}
        self.output_arrays = {name: self._array(item) for name, item in self.outputs.items() if _is_on_host(item)}
        self.is_streamed = bool(self.feeds) and self.feeds.keys() == self.input_arrays.keys()

    def _step(self, task: Task, scratch: AnyBuffer | None) -> Step:
        """The kernel of a task bound to its memory."""
        inputs, outputs = ([self._buffer(item) for item in items] for items in (task.inputs, task.outputs))
        with naming(lambda why: malformed(task.operator, task.layer, why)):
            return task.kernel.bind(inputs, outputs, scratch)

    def _array(self, item: Tensor) -> np.ndarray:
        buffer = self._buffer(item)
        assert buffer is not None
        return buffer.array

    def _fed(self, task: Task, step: Step) -> Step:
        """The step of an upload, which an input that was sent ahead does without."""
        given, crossing = task.inputs[0], task.crossing
        assert given is not None and crossing is not None
        feed = Feed(self._array(given), step, crossing)
        self.feeds[next(name for name, item in self.inputs.items() if item is given)] = feed
        return feed.follow

    def _reach(self, task: Task) -> list[HostSpan]:
        """The host memory that a task touches."""
        buffers = [(self._buffer(item), False) for item in task.inputs if item is not None]
        buffers += [(self._buffer(item), True) for item in task.outputs if item is not None]
        buffers.append((self._scratch_of[id(task)], True))
        return [
            HostSpan(item.address, item.address + item.layout.nbytes, is_written)
            for item, is_written in buffers
            if item is not None and item.layout.device == HOST and item.layout.dtype != object
        ]

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Put arrays where the next run reads them; names of no input are passed over."""
        load(self.input_arrays, self.feeds, arrays)

    def take(self, values: Mapping[str, Any]) -> None:
        """Put every input where the next run reads it; those that lie on a device are ``Resident`` values."""
        for name, item in self.inputs.items():
            if _is_on_host(item):
                np.copyto(self.input_arrays[name], values[name])
            else:
                values[name].put_into(self._buffer(item))

    def give(self, name: str) -> Any:
        """An output of the last run, for good: a new array, or a ``Resident`` where it stays on its device."""
        item = self.outputs[name]
        return self.output_arrays[name].copy() if _is_on_host(item) else Resident(self._buffer(item), self._devices)

    def send_ahead(self, arrays: Mapping[str, Any]) -> None:
        """Bring what crosses to its device now, for the next run that loads these very arrays."""
        self._devices.enter()
        for name, feed in self.feeds.items():
            if name in arrays and feed.send_ahead(arrays[name]):
                raise BackendError(f"Input {name!r} could not be sent to its device; run once more.")

    def run(self, *roles: str, meanwhile: Callable[[], None] | None = None) -> None:
        """Execute the steps of the given roles in order, and ``meanwhile`` while devices are at it.

        Raises ``BackendError`` naming the layer that failed, ``InputError`` when the data does not fit a layer.
        """
        self._devices.enter()
        self.execution.run(roles, meanwhile)

    def launch(self, *roles: str) -> bool:
        """Like ``run``, but wait for nothing, nor copy results; where that cannot be, do nothing and say so."""
        self._devices.enter()
        return self.execution.launch(roles)

    def fetch(self, *roles: str) -> None:
        """Begin to copy the results of what was launched last."""
        self.execution.fetch(roles)

    def fetched(self) -> None:
        """Wait until what was fetched is there."""
        for task in self.tasks:
            if task.is_download and task.crossing is not None:
                task.crossing.wait()

    def settle(self) -> None:
        """Wait until nothing is under way, and forget what was sent ahead."""
        self._devices.settle()
        for feed in self.feeds.values():
            feed.forget()

    def synchronised(self) -> None:
        """Note that the last write to any parameter was this plan's own."""
        self._clock = CLOCK.now

    @property
    def is_stale(self) -> bool:
        """Whether a parameter was written since the last run."""
        return self._clock != CLOCK.now

    # watching --------------------------------------------------------------------------------------------------------

    def output_bytes(self, task: Task) -> list[np.ndarray]:
        """What a task has just written, as flat arrays in memory order."""
        buffers = [self._buffer(item) for item in task.outputs if item is not None]
        return [self._devices.flat(item) for item in buffers if not isinstance(item, ObjectBuffer)]

    def observe(self, roles: Sequence[str], look: Callable[[Task], Any]) -> None:
        """Execute step by step and call ``look(task)`` after each; stops when it returns something true."""
        self.execution.observe(roles, look)

    @property
    def spans(self) -> list[list[Span]] | None:
        """By task the times of its runs, while they are recorded."""
        return self.execution.spans

    def profile(self, enabled: bool = True) -> None:
        """Start (or stop) recording the time of every step; ``explain`` shows the medians."""
        self.execution.profile(enabled)


def _is_on_host(tensor: Tensor) -> bool:
    return tensor.layout.device == HOST


def _is_source(tensor: Tensor) -> bool:
    return isinstance(tensor.key, tuple) and tensor.key[0] == "parameter"
