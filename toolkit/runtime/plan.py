"""The plan: a program compiled for its backends, bound to memory, ready to be executed again and again.

Building it lowers the program, shares and places memory, and computes what depends on parameters alone (see
``static_content``). Running it calls prepared steps; nothing is decided and nothing is allocated. Steps of a device
beside the host are enqueued, waited for where the host needs them, and fused after their first execution.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from toolkit.backends.protocol import HOST, Backend, Bracketed, Layout, Resources, Step, plain
from toolkit.compiler.memory import Lifetime
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.settled import Settled
from toolkit.errors import BackendError
from toolkit.graph.parameter import CLOCK, Parameter
from toolkit.runtime.arrangement import Arrangement, arrange
from toolkit.runtime.binding import Binding
from toolkit.runtime.devices import BYTE, Devices
from toolkit.runtime.execution import Execution, Span
from toolkit.runtime.feeding import Feed, load
from toolkit.runtime.residence import Resident
from toolkit.runtime.schedule import Span as HostSpan
from toolkit.runtime.static_content import Packed, StaticContent
from toolkit.runtime.store import Store
from toolkit.runtime.tensors import AnyBuffer, ObjectBuffer, Task, Tensor


class Plan:
    """Bound steps over one arena on each device.

    ``packed`` is the network's table of static content, shared between plans. ``gradients`` lists (variable, key) pairs
    that are to be computed in the store's gradient buffers. Steps are executed by role: ``run("forward", "loss")``.

    Inputs in ``given`` are read on the device it names, outputs in ``staying`` are left on that which computes them:
    such are no arrays, but ``Resident`` values, in ``take`` and what ``givers`` give. ``wanted`` are the inputs that
    the host gives; ``givers`` make of each output of the last run a value that is the caller's. ``turns`` is how often
    a run executes every step.
    """

    turns = 1

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
        self.program, self.resources = program, resources
        self._devices = Devices(backends, resources)
        pins: dict[str, Any] = {"store": store, "groups": groups, "gradients": gradients}
        found = arrange(program, backends, resources, **pins, given=given, staying=staying)
        lowering = found.lowering
        self.store = lowering.store
        self._binding = Binding(self._devices, self.store)
        self.inputs, self.outputs, self.tasks = found.inputs, lowering.outputs, found.tasks
        self.static = [task for task in lowering.static if not task.kernel.is_free]
        self.arenas, self.lent_nbytes = found.needed, found.nbytes - sum(found.arenas.values())
        self.execution = Execution(self.tasks, self._devices, self._reach)
        self._place(found)
        self._clock = -1
        results = list(self.outputs.values())
        self._static_content = StaticContent(self.static, self.tasks, results, packed, self._binding, self.execution)
        self.refresh()

    # memory ----------------------------------------------------------------------------------------------------------

    def _place(self, found: Arrangement) -> None:
        """Give every root its buffer."""
        devices = self._devices
        self.blocks = {device: devices.block(device, nbytes) for device, nbytes in found.arenas.items()}

        def made(layout: Layout, life: Lifetime) -> AnyBuffer:
            lent = None if life.region is None else found.blocks[layout.device][life.region].block
            return devices.buffer(layout, self.blocks[layout.device] if lent is None else lent, life.offset)

        for root, life in found.lifetimes.items():
            root.buffer = made(root.layout, life)
        self._scratch: list[AnyBuffer | None] = []
        for task, item in zip(found.tasks, found.scratch, strict=True):
            layout = plain(BYTE, (0 if item is None else item.nbytes,), task.device)
            self._scratch.append(None if item is None else made(layout, item))

    @property
    def arena_nbytes(self) -> int:
        """Bytes of the arenas of all devices."""
        return sum(self.arenas.values())

    def refresh(self) -> None:
        """Bring everything that depends on parameters up to date; rebinds when a parameter's host array moved."""
        if self._clock == CLOCK.now:
            return
        self._devices.enter()
        self.store.pull()
        with np.errstate(all="ignore"):
            moved = self._static_content.evaluate()
        if moved or self._clock < 0:
            self._bind()
        self._clock = CLOCK.now

    # execution -------------------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        """Fix the addresses of everything that a run executes, and what callers see of them."""
        pairs: list[tuple[Step, Task]] = []
        self.feeds: dict[str, Feed] = {}
        self._scratch_of = {id(task): scratch for task, scratch in zip(self.tasks, self._scratch, strict=True)}
        for task, scratch in zip(self.tasks, self._scratch, strict=True):
            if not task.kernel.is_free:
                step = self._binding.step(task, scratch)
                pairs.append((self._fed(task, step) if task.is_upload else step, task))
        self.execution.bind(pairs)
        self._enter = self._devices.entering(task.backend for step, task in pairs if not isinstance(step, Bracketed))
        self.input_arrays = {name: self._array(item) for name, item in self.inputs.items() if _is_on_host(item)}
        self.output_arrays = {name: self._array(item) for name, item in self.outputs.items() if _is_on_host(item)}
        self.wanted = [(name, array.dtype, array.shape) for name, array in self.input_arrays.items()]
        self._targets = [
            self.input_arrays[name] if _is_on_host(item) else self._binding.buffer(item)
            for name, item in self.inputs.items()
        ]
        self.givers = {name: self._giver(name, item) for name, item in self.outputs.items()}
        self.is_streamed = bool(self.feeds) and self.feeds.keys() == self.input_arrays.keys()

    def _array(self, item: Tensor) -> np.ndarray:
        buffer = self._binding.buffer(item)
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
        buffers = [(self._binding.buffer(item), False) for item in task.inputs if item is not None]
        buffers += [(self._binding.buffer(item), True) for item in task.outputs if item is not None]
        buffers.append((self._scratch_of[id(task)], True))
        return [
            HostSpan(item.address, item.address + item.layout.nbytes, is_written)
            for item, is_written in buffers
            if item is not None and item.layout.device == HOST and item.layout.dtype != object
        ]

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Put arrays where the next run reads them; names of no input are passed over."""
        load(self.input_arrays, self.feeds, arrays)

    def take(self, values: Sequence[Any]) -> None:
        """Put every input, in order, where the next run reads it; those that lie on a device are ``Resident`` values.

        Arrays have the type and the shape of the input.
        """
        for index, target in enumerate(self._targets):  # in half the time of zip(strict=True)
            if target.__class__ is np.ndarray:
                target[...] = values[index]  # in a third of the time that np.copyto takes for a small one
            else:
                values[index].put_into(target)

    def _giver(self, name: str, item: Tensor) -> Callable[[], Any]:
        """How an output of the last run is given for good: a new array, a ``Resident`` where it stays on a device."""
        if _is_on_host(item):
            return self.output_arrays[name].copy
        return partial(Resident, self._binding.buffer(item), self._devices)

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
        for enter in self._enter:
            enter()
        self.execution.run(roles, meanwhile)

    def run_guarded(self, roles: tuple[str, ...], guard: Sequence[Step], then: tuple[str, ...]) -> bool:
        """``run`` what computes, and what keeps the results behind it unless a step of ``guard`` has a status.

        Returns whether none had. Everything happens on the host.
        """
        for enter in self._enter:
            enter()
        return self.execution.run_guarded(roles, guard, then)

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

    @property
    def settled(self) -> Settled:
        """The parameters that it takes for constant."""
        return self.program.settled

    # watching --------------------------------------------------------------------------------------------------------

    def output_buffer(self, name: str) -> AnyBuffer | None:
        """Where an output is computed."""
        return self._binding.buffer(self.outputs[name])

    @property
    def keeps_outputs(self) -> bool:
        """Whether outputs lie where nothing that is kept behind a step is written over them."""
        return all(item.base().storage != "kept" for item in self.outputs.values())

    def output_bytes(self, task: Task) -> list[np.ndarray]:
        """What a task has just written, as flat arrays in memory order."""
        buffers = [self._binding.buffer(item) for item in task.outputs if item is not None]
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
