"""The plan: a program compiled for its backends, bound to memory, ready to be executed again and again.

Building it lowers the program, shares and places memory, and computes once what depends on parameters alone (packed
weights, folded statistics). Running it calls prepared steps; nothing is decided and nothing is allocated. Steps of a
device beside the host are enqueued, waited for where the host needs them, and fused after their first execution.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.protocol import HOST, Backend, Resources, Step, plain
from toolkit.compiler.program import Program, Variable
from toolkit.errors import MALFORMED, BackendError, InputError, ToolkitError, malformed, naming
from toolkit.graph.parameter import CLOCK, Parameter
from toolkit.runtime.arrangement import Arrangement, arrange
from toolkit.runtime.devices import BYTE, Devices
from toolkit.runtime.schedule import Section, calls, fused, sections
from toolkit.runtime.schedule import Span as HostSpan
from toolkit.runtime.store import Store
from toolkit.runtime.tensors import AnyBuffer, ObjectBuffer, Task, Tensor, host_buffer

NUMPY = "numpy"  # the name of the backend
Packed = MutableMapping[Hashable, "PackedBuffer"]
Span = tuple[float, float]  # when a step began, on the clock of ``time.perf_counter``, and how many seconds it took


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
    ) -> None:
        self.resources = resources
        self._devices = Devices(backends, resources)
        self._backends = tuple(self._devices.backends.values())
        found = arrange(program, backends, resources, store=store, groups=groups, gradients=gradients)
        lowering = found.lowering
        self.store = lowering.store
        self.inputs, self.outputs, self.tasks = found.inputs, lowering.outputs, found.tasks
        self.static = [task for task in lowering.static if not task.kernel.is_free]
        self._packed = packed
        self._held: list[PackedBuffer] = []
        self.spans: list[list[Span]] | None = None
        self.arenas = found.arenas
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
            self._execute(self._step(task, scratch), task)
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
        self._steps: dict[str, list[tuple[Step, Task]]] = {}
        self._position = {id(task): position for position, task in enumerate(self.tasks)}
        for task, scratch in zip(self.tasks, self._scratch, strict=True):
            if task.kernel.is_free:
                continue
            step = self._step(task, scratch)
            self._steps.setdefault(task.role, []).append((step, task))
        self._calls: dict[tuple[str, ...], tuple[tuple[Step, ...], bool]] = {}
        self.input_arrays = {name: self._array(item) for name, item in self.inputs.items()}
        self.output_arrays = {name: self._array(item) for name, item in self.outputs.items()}

    def _step(self, task: Task, scratch: AnyBuffer | None) -> Step:
        """The kernel of a task bound to its memory."""
        inputs, outputs = ([self._buffer(item) for item in items] for items in (task.inputs, task.outputs))
        with naming(lambda why: malformed(task.operator, task.layer, why)):
            return task.kernel.bind(inputs, outputs, scratch)

    def _array(self, item: Tensor) -> np.ndarray:
        buffer = self._buffer(item)
        assert buffer is not None
        return buffer.array

    def run(self, *roles: str) -> None:
        """Execute the steps of the given roles in order.

        Raises ``BackendError`` naming the layer that failed, ``InputError`` when the data does not fit a layer.
        """
        found = self._calls.get(roles)
        if found is None:
            found = self._calls[roles] = self._prepared(roles)
        calls, is_numeric = found
        for backend in self._backends:
            backend.enter(self.resources)
        if self.spans is not None:
            with np.errstate(all="ignore"):
                self._run_timed(roles)
        elif is_numeric:
            with np.errstate(all="ignore"):
                self._run_calls(calls, roles)
        else:
            self._run_calls(calls, roles)

    def _prepared(self, roles: Sequence[str]) -> tuple[tuple[Step, ...], bool]:
        """The steps of the roles in order, and whether numpy computes any: it would warn where IEEE has an answer."""
        pairs = self._ordered(roles)
        is_numeric = any(task.backend == NUMPY for _, task in pairs)
        if all(task.device == HOST for _, task in pairs):
            return tuple(step for step, _ in pairs), is_numeric
        found = sections(pairs, self._reach, self._devices)
        return (*calls(found), partial(self._fuse, tuple(roles), found, is_numeric)), is_numeric

    def _fuse(self, roles: tuple[str, ...], found: Sequence[Section], is_numeric: bool) -> None:
        """The last call of a first run: from the next one on, what can be fused is."""
        self._calls[roles] = fused(found, self._devices), is_numeric

    def _reach(self, task: Task) -> list[HostSpan]:
        """The host memory that a task touches."""
        buffers = [(self._buffer(item), False) for item in task.inputs if item is not None]
        buffers += [(self._buffer(item), True) for item in task.outputs if item is not None]
        buffers.append((self._scratch[self._position[id(task)]], True))
        return [
            HostSpan(item.address, item.address + item.layout.nbytes, is_written)
            for item, is_written in buffers
            if item is not None and item.layout.device == HOST and item.layout.dtype != object
        ]

    def _run_calls(self, calls: Sequence[Step], roles: Sequence[str]) -> None:
        try:
            for call in calls:
                status = call()
                if status.__class__ is int and status:
                    self._raise_failed(roles)
        except MALFORMED as error:
            if isinstance(error, ToolkitError):
                self._devices.settle()
                raise
            self._raise_failed(roles)
        except BaseException:  # whatever it is: nothing may be pending when the next run loads its inputs
            self._devices.settle()
            raise

    def synchronised(self) -> None:
        """Note that the last write to any parameter was this plan's own."""
        self._clock = CLOCK.now

    def observe(self, roles: Sequence[str], look: Callable[[Task], Any]) -> None:
        """Execute step by step and call ``look(task)`` after each; stops when it returns something true."""
        with np.errstate(all="ignore"):
            for step, task in self._ordered(roles):
                self._execute(step, task)
                if look(task):
                    return

    def _ordered(self, roles: Sequence[str]) -> list[tuple[Step, Task]]:
        pairs = [pair for role in roles for pair in self._steps.get(role, ())]
        return sorted(pairs, key=lambda pair: self._position[id(pair[1])])

    def output_bytes(self, task: Task) -> list[np.ndarray]:
        """What a task has just written, as flat arrays in memory order."""
        buffers = [self._buffer(item) for item in task.outputs if item is not None]
        return [self._devices.flat(item) for item in buffers if not isinstance(item, ObjectBuffer)]

    def _run_timed(self, roles: Sequence[str]) -> None:
        assert self.spans is not None
        devices, pairs = self._devices, self._ordered(roles)
        devices.synchronise()
        started = time.perf_counter()
        origins = {device: devices.mark(device) for device in dict.fromkeys(task.device for _, task in pairs)}
        found, before_task = [], HOST
        for step, task in pairs:
            if task.device != before_task:
                devices.synchronise()
            before = devices.mark(task.device)
            _execute(step, task)
            found.append((task, before, devices.mark(task.device)))
            before_task = task.device
        devices.synchronise()
        for task, before, after in found:
            begun = started + before.since(origins[task.device])
            self.spans[self._position[id(task)]].append((begun, after.since(before)))

    def profile(self, enabled: bool = True) -> None:
        """Start (or stop) recording the time of every step; ``explain`` shows the medians."""
        self.spans = [[] for _ in self.tasks] if enabled else None

    def _raise_failed(self, roles: Sequence[str]) -> None:
        self._devices.settle()
        for step, task in self._ordered(roles):
            self._execute(step, task)
        raise BackendError("A kernel reported an error that it does not report again; run once more.")

    def _execute(self, step: Step, task: Task) -> None:
        """Execute one step and wait for it."""
        _execute(step, task)
        try:
            self._devices.synchronise(task.device)
        except BackendError as error:
            raise BackendError(
                f"{task.operator} {task.layer!r}: kernel {task.kernel.name!r} failed: {error}"
            ) from error


def data_error(operator: str, layer: str, why: str) -> InputError:
    """The error for a layer that data does not fit, from what its kernel said."""
    return InputError(f"{operator} {layer!r} cannot be computed on this data: {why}.")


def _is_source(tensor: Tensor) -> bool:
    return isinstance(tensor.key, tuple) and tensor.key[0] == "parameter"


def _execute(step: Step, task: Task) -> None:
    """Execute one step; what goes wrong names its layer."""
    with naming(lambda why: data_error(task.operator, task.layer, why)):
        status = step()
    if isinstance(status, int) and status:
        raise BackendError(f"{task.operator} {task.layer!r}: kernel {task.kernel.name!r} failed with status {status}.")
