"""Static content: what a plan computes from parameters and constants alone, once for every change of a parameter.

Results that every run reads (packed weights, folded statistics) are shared by the contexts of a network through one
table. What lies in between is dropped as soon as it was used, and so are parameters that nobody else reads: their
content is fetched for the step that packs it, not kept beside the packed form.
"""

from __future__ import annotations

from collections.abc import Hashable, MutableMapping, Sequence

from toolkit.compiler.memory import align
from toolkit.graph.parameter import Parameter
from toolkit.runtime.binding import Binding
from toolkit.runtime.execution import Execution
from toolkit.runtime.tensors import AnyBuffer, Task, Tensor, host_buffer

Packed = MutableMapping[Hashable, "PackedBuffer"]


class PackedBuffer:
    """Static content shared by the contexts of a network; ``stamp`` are the parameter versions it was made from."""

    __slots__ = ("__weakref__", "buffer", "stamp")

    def __init__(self, buffer: AnyBuffer) -> None:
        self.buffer = buffer
        self.stamp: tuple[int, ...] | None = None


class StaticContent:
    """The static ``tasks`` of a plan, and which of their results the tasks of ``every`` run and its ``outputs`` read.

    ``packed`` is the network's table of what its contexts share; it holds weakly what this object holds.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        every: Sequence[Task],
        outputs: Sequence[Tensor],
        packed: Packed,
        binding: Binding,
        execution: Execution,
    ) -> None:
        self.tasks = tasks
        self._binding, self._devices, self._execution = binding, binding.devices, execution
        self._packed = packed
        self._held: dict[Hashable, PackedBuffer] = {}
        lasting = [item for task in every for item in task.inputs if item is not None] + list(outputs)
        self._lasting = {item.base(): None for item in lasting}
        self._finished = self._transient()
        self._sources = self._traced()
        self._shared_by = self._shared()

    def _transient(self) -> dict[int, list[Tensor]]:
        """Behind which static task nobody reads a root any more, for those that do not last; constants stay."""
        readers: dict[Tensor, int] = {}
        for position, task in enumerate(self.tasks):
            readers.update((item.base(), position) for item in task.inputs if item is not None)
        finished: dict[int, list[Tensor]] = {}
        for root, position in readers.items():
            if root not in self._lasting and root.variable.constant is None:
                finished.setdefault(position, []).append(root)
        return finished

    def _traced(self) -> dict[int, tuple[Parameter, ...]]:
        """The parameters behind each static task."""
        behind: dict[Tensor, dict[Parameter, None]] = {}
        sources = {}
        for task in self.tasks:
            found: dict[Parameter, None] = {}
            for item in task.inputs:
                root = None if item is None else item.base()
                parameter = None if root is None else _parameter(root)
                if parameter is not None:
                    found[parameter] = None
                elif root is not None:
                    found.update(behind.get(root, {}))
            behind.update((item, found) for item in task.outputs if item is not None)
            sources[id(task)] = tuple(found)
        return sources

    # bringing it up to date ------------------------------------------------------------------------------------------

    def evaluate(self) -> bool:
        """Execute the tasks whose result is not shared already; returns whether what every run reads has moved."""
        moved = self._point_at_parameters()
        stale = self._stale()
        for position, task in enumerate(self.tasks):
            if id(task) in stale:
                self._execute(task)
            for root in self._finished.get(position, ()):
                root.buffer = None
        return moved

    def _execute(self, task: Task) -> None:
        for item in task.inputs:
            self._borrow(item)
        for item in task.outputs:
            if item is not None and item.buffer is None:
                item.buffer = self._devices.fresh(item.layout)
        scratch = self._devices.scratch(task.device, task.kernel.workspace)  # the step knows its address alone
        self._execution.execute(self._binding.step(task, scratch), task)
        for shared in self._shared_by[id(task)]:
            shared.stamp = self._stamp(task)

    def _point_at_parameters(self) -> bool:
        """Let what every run reads of parameters be their host arrays; returns whether one of these has moved."""
        moved = False
        for root in self._lasting:
            parameter = _parameter(root)
            if parameter is None:
                continue
            array = parameter.array
            if root.buffer is None or root.buffer.address != array.ctypes.data:
                root.buffer = host_buffer(root.layout, array)
                moved = True
        return moved

    def _borrow(self, item: Tensor | None) -> None:
        """Fetch the content of a parameter that only static tasks read."""
        root = None if item is None else item.base()
        parameter = None if root is None else _parameter(root)
        if root is not None and parameter is not None and root.buffer is None:
            root.buffer = host_buffer(root.layout, parameter.borrowed())

    # what contexts share ---------------------------------------------------------------------------------------------

    def _shared(self) -> dict[int, list[PackedBuffer]]:
        """The shared content of each task: what lasts of its results, in memory of its own."""
        lasting = {
            id(task): [item for item in task.outputs if item is not None and item.base() in self._lasting]
            for task in self.tasks
        }
        self._hold([item for items in lasting.values() for item in items])
        return {task: [self._held[item.key] for item in items] for task, items in lasting.items()}

    def _hold(self, items: Sequence[Tensor]) -> None:
        """Give results their shared memory: what is new on a device lies in one block, which is faster to come by."""
        new: dict[Hashable, Tensor] = {}
        for item in items:
            found = self._packed.get(item.key)
            if found is None:
                new[item.key] = item
            else:
                self._held[item.key] = found
        by_device: dict[str, list[Tensor]] = {}
        for item in new.values():
            by_device.setdefault(item.layout.device, []).append(item)
        for device, made in by_device.items():
            self._allocate(device, made)
        for item in items:
            item.buffer = self._held[item.key].buffer

    def _allocate(self, device: str, items: Sequence[Tensor]) -> None:
        alignment = self._devices.alignment(device)
        sizes = [0 if item.layout.dtype == object else align(item.layout.nbytes, alignment) for item in items]
        block = self._devices.block(device, sum(sizes))
        offset = 0
        for item, size in zip(items, sizes, strict=True):
            is_object = item.layout.dtype == object
            buffer = host_buffer(item.layout) if is_object else self._devices.buffer(item.layout, block, offset)
            self._packed[item.key] = self._held[item.key] = PackedBuffer(buffer)
            offset += size

    def _stale(self) -> set[int]:
        """The tasks to execute: those whose lasting results are not current, and what these need."""
        stale: set[int] = set()
        needed: set[Tensor] = set()
        for task in reversed(self.tasks):
            stamp = self._stamp(task)
            is_behind = any(shared.stamp != stamp for shared in self._shared_by[id(task)])
            if is_behind or any(item is not None and item.base() in needed for item in task.outputs):
                stale.add(id(task))
                needed.update(item.base() for item in task.inputs if item is not None)
        return stale

    def _stamp(self, task: Task) -> tuple[int, ...]:
        """The versions of the parameters that a static task depends on."""
        return tuple(parameter.version for parameter in self._sources[id(task)])


def _parameter(root: Tensor) -> Parameter | None:
    """The parameter whose host array a static tensor is, ``None`` for what is computed from one."""
    is_source = root.storage == "static" and isinstance(root.key, tuple) and root.key[0] == "parameter"
    return root.variable.parameter if is_source else None
