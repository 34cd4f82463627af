"""Host memory: what the backends that compute on the processor share.

Their steps compute at once, so there is nothing to wait for and nothing to fuse.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from toolkit.backends.protocol import Backend, Layout, Resources, Step
from toolkit.compiler.memory import ALIGNMENT, align


def aligned(nbytes: int) -> np.ndarray:
    """Zeroed host memory of at least ``nbytes``, aligned to a cache line, as bytes."""
    raw = np.zeros(align(max(nbytes, 1)) + ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + align(max(nbytes, 1))]


class HostBuffer:
    """A tensor in host memory: ``address`` for native kernels, ``array`` for numpy ones."""

    __slots__ = ("_memory", "_offset", "address", "layout")

    def __init__(self, layout: Layout, memory: np.ndarray, offset: int = 0) -> None:
        self.layout = layout
        self._memory = memory
        self._offset = offset
        self.address = memory.ctypes.data + offset

    @property
    def array(self) -> np.ndarray:
        """An array over the buffer; plain layouts only."""
        assert self.layout.is_plain, "an opaque layout has no array"
        return np.ndarray(self.layout.shape, self.layout.dtype, buffer=self._memory, offset=self._offset)

    def over(self, layout: Layout) -> HostBuffer:
        """The same memory seen in another layout."""
        return HostBuffer(layout, self._memory, self._offset)

    @property
    def flat(self) -> np.ndarray:
        """All bytes of the buffer, padding included, as elements in memory order."""
        count = self.layout.nbytes // self.layout.dtype.itemsize
        return np.ndarray((count,), self.layout.dtype, buffer=self._memory, offset=self._offset)


class HostMemory:
    """Memory of this process; its blocks are arrays of bytes."""

    alignment = ALIGNMENT

    def allocate(self, nbytes: int) -> np.ndarray:
        return aligned(nbytes)

    def buffer(self, layout: Layout, block: np.ndarray, offset: int = 0) -> HostBuffer:
        return HostBuffer(layout, block, offset)

    def staging(self, nbytes: int) -> np.ndarray:
        return aligned(nbytes)


class Moment(NamedTuple):
    """A moment on the clock of ``time.perf_counter``."""

    seconds: float

    def since(self, earlier: Moment) -> float:
        return self.seconds - earlier.seconds


class HostBackend(Backend):
    """A backend on host memory."""

    memory = HostMemory()

    def synchronise(self, resources: Resources) -> None:
        """Nothing is ever pending."""

    def fuse(self, steps: Sequence[Step], resources: Resources) -> Step | None:
        return None

    def finiteness(self, buffers: Sequence[HostBuffer], resources: Resources) -> Callable[[], bool]:
        def answer() -> bool:
            with np.errstate(over="ignore", invalid="ignore"):
                return all(np.isfinite(np.add.reduce(item.flat)) for item in buffers)

        return answer

    def guard(self, buffers: Sequence[HostBuffer], resources: Resources) -> list[Step]:
        """Steps that have a status where a number in ``buffers`` is not finite, to stand before others."""
        is_finite = self.finiteness(buffers, resources)
        return [lambda: int(not is_finite())]

    def mark(self, resources: Resources) -> Moment:
        return Moment(time.perf_counter())
