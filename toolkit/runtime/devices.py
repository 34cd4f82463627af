"""The devices of a plan: whose memory it is, who copies between layouts, and when to wait for whom.

Host memory is everybody's. Where another device takes part, the host's arenas are memory from which that device copies
without waiting. What goes from one device to another, or from the host in an order of a backend's own, goes through
row-major order on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.host import HostBackend, HostBuffer, HostMemory
from toolkit.backends.protocol import HOST, Backend, Crossing, Kernel, Layout, Mark, Resources, Step, plain
from toolkit.errors import BackendError
from toolkit.runtime.kernels import conversion_for
from toolkit.runtime.tensors import AnyBuffer, Task, Tensor, host_buffer

BYTE = np.dtype(np.uint8)
HOST_MEMORY = HostMemory()


class Devices:
    """The devices of ``backends``, as one context with its ``resources`` uses them.

    ``others`` has a backend for each device beside the host. ``spare`` are blocks by device and size that the context
    lends to values which outlive a run.
    """

    def __init__(self, backends: Sequence[Backend], resources: Resources) -> None:
        self.backends = {backend.name: backend for backend in backends}
        self.resources = resources
        self._first: dict[str, Backend] = {}
        for backend in backends:
            self._first.setdefault(backend.device, backend)
        self._judges = {**self._first, **{item.device: item for item in backends if item.is_judge}}
        self.others = {device: backend for device, backend in self._first.items() if device != HOST}
        self.spare: dict[tuple[str, int], list[Any]] = resources.own("spare blocks", dict)

    def enter(self) -> None:
        """Prepare the calling thread for kernels of every backend."""
        for backend in self.backends.values():
            backend.enter(self.resources)

    def entering(self, names: Iterable[str]) -> list[Step]:
        """What ``enter`` does, for the backends of these names and those of devices.

        Whatever comes in a bracket of its own needs nothing before.
        """
        wanted = set(names)
        return [
            partial(backend.enter, self.resources)
            for name, backend in self.backends.items()
            if backend.is_entered and (name in wanted or backend.device != HOST)
        ]

    # memory -------------------------------------------------------------------------------------------------------

    def alignment(self, device: str) -> int:
        """Bytes to which tensors in an arena of the device are aligned."""
        return HOST_MEMORY.alignment if device == HOST else self.others[device].memory.alignment

    def block(self, device: str, nbytes: int) -> Any:
        """Zeros on a device."""
        if device != HOST:
            return self.others[device].memory.allocate(nbytes)
        for backend in self.others.values():
            return backend.memory.staging(nbytes)
        return HOST_MEMORY.allocate(nbytes)

    def buffer(self, layout: Layout, block: Any, offset: int = 0) -> AnyBuffer:
        """A buffer in a block of its layout's device."""
        memory = HOST_MEMORY if layout.device == HOST else self.others[layout.device].memory
        return memory.buffer(layout, block, offset)

    def fresh(self, layout: Layout) -> AnyBuffer:
        """A buffer of its own."""
        if layout.device == HOST and layout.dtype == object:
            return host_buffer(layout)
        return self.buffer(layout, self.block(layout.device, layout.nbytes))

    def scratch(self, device: str, nbytes: int) -> AnyBuffer | None:
        """Scratch memory of its own for a kernel, ``None`` for one that needs none."""
        return self.fresh(plain(BYTE, (nbytes,), device)) if nbytes else None

    # copies -------------------------------------------------------------------------------------------------------

    def between(self, source: Layout, target: Layout) -> Layout | None:
        """The layout that a conversion has to go through, ``None`` where it is one step."""
        if source.device == target.device:
            return None
        rows = plain(source.dtype, source.shape)
        return None if HOST in (source.device, target.device) and rows in (source, target) else rows

    def reorder(self, source: Layout, target: Layout) -> tuple[Backend, Kernel]:
        """The kernel for one step of a conversion, and whose it is; a device beside the host does its own."""
        device = target.device if source.device == HOST else source.device
        here = (backend for backend in self.backends.values() if backend.device == device)
        backend = next((item for item in here if item.owns(source) or item.owns(target)), self._first[device])
        return backend, conversion_for(backend, source, target, self.resources)

    def crossing(self, device: str) -> Crossing | None:
        """A way for one tensor over the border of a device, beside its work; ``None`` where it has none."""
        return None if device == HOST else self.others[device].crossing(self.resources)

    def conversion(self, source: Tensor, target: Tensor, layer: str, operator: str, role: str) -> Task:
        """One step of a conversion as a task."""
        backend, kernel = self.reorder(source.layout, target.layout)
        return Task(kernel, [source], [target], layer, operator, backend.name, role, device=backend.device)

    def convert(self, source: AnyBuffer, target: AnyBuffer) -> None:
        """Copy a tensor from one buffer to another, whatever their layouts, and wait for it."""
        between = self.between(source.layout, target.layout)
        if between is not None:
            middle = self.fresh(between)
            self.convert(source, middle)
            self.convert(middle, target)
            return
        backend, kernel = self.reorder(source.layout, target.layout)
        backend.enter(self.resources)
        scratch = self.scratch(backend.device, kernel.workspace)  # steps know its address alone
        kernel.bind([source], [target], scratch)()
        backend.synchronise(self.resources)

    def copy(self, source: AnyBuffer, target: AnyBuffer) -> None:
        """Copy a tensor from one place of a device to another of the same layout, in turn with its work."""
        backend, kernel = self.reorder(source.layout, target.layout)
        backend.enter(self.resources)
        if kernel.bind([source], [target], None)():
            raise BackendError(f"{backend.name} could not copy {source.layout.nbytes} bytes; run once more.")

    def to_host(self, buffer: AnyBuffer) -> np.ndarray:
        """A new row-major array with the content of a buffer."""
        result = np.empty(buffer.layout.shape, buffer.layout.dtype)
        flat = result.reshape(-1).view(np.uint8)
        self.convert(buffer, HostBuffer(plain(result.dtype, result.shape), flat))
        return result

    def flat(self, buffer: AnyBuffer) -> np.ndarray:
        """All elements of a buffer in the order of its memory, padding included, as a host array."""
        if isinstance(buffer, HostBuffer):
            return buffer.flat
        dtype = buffer.layout.dtype
        rows = plain(dtype, (buffer.layout.nbytes // dtype.itemsize,), buffer.layout.device)
        return self.to_host(buffer.over(rows))

    # waiting ------------------------------------------------------------------------------------------------------

    def synchronise(self, device: str | None = None) -> None:
        """Wait for one device, or for all."""
        for name, backend in self.others.items():
            if device in (None, name):
                backend.synchronise(self.resources)

    def settle(self) -> None:
        """Wait for all after something else went wrong, which is what is to be told."""
        with suppress(BackendError):
            self.synchronise()

    def mark(self, device: str) -> Mark:
        """A mark behind what a device has been given so far."""
        return self._first[device].mark(self.resources)

    def finiteness(self, buffers: Sequence[AnyBuffer]) -> Callable[[], bool]:
        """Look for NaN and infinity in buffers, each where it lies; ask what was found once all was waited for."""
        by_device: dict[str, list[AnyBuffer]] = {}
        for item in buffers:
            by_device.setdefault(item.layout.device, []).append(item)
        found = [self._judges[device].finiteness(items, self.resources) for device, items in by_device.items()]
        return lambda: all(answer() for answer in found)

    def guard(self, buffers: Sequence[AnyBuffer]) -> list[Step] | None:
        """Steps that have a status where a number in ``buffers`` is not finite; ``None`` beside another device."""
        judge = self._judges.get(HOST)
        if self.others or not isinstance(judge, HostBackend):
            return None
        return judge.guard([item for item in buffers if isinstance(item, HostBuffer)], self.resources)
