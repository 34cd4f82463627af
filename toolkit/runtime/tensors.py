"""Where tensors lie: a ``Tensor`` is a variable in one layout, a ``HostBuffer`` the memory it was given.

Tensors that share bytes (views, in-place results) have one root; only roots are given memory.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from toolkit.backends.protocol import Kernel, Layout
from toolkit.compiler.memory import ALIGNMENT, align
from toolkit.compiler.program import Node, Variable


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


class ObjectBuffer:
    """A tensor of strings: numpy objects cannot live in planned bytes, so it is an array of its own."""

    __slots__ = ("address", "array", "layout")

    def __init__(self, layout: Layout, array: np.ndarray | None = None) -> None:
        self.layout = layout
        self.array = np.empty(layout.shape, dtype=object) if array is None else array
        self.address = 0


def host_buffer(layout: Layout, array: np.ndarray | None = None) -> HostBuffer | ObjectBuffer:
    """A buffer of its own: over ``array``, which must be dense, or over fresh memory."""
    if layout.dtype == object:
        return ObjectBuffer(layout, array)
    if array is None:
        return HostBuffer(layout, aligned(layout.nbytes))
    flat = np.ascontiguousarray(array).reshape(-1)
    return HostBuffer(layout, flat.view(np.uint8) if flat.size else np.zeros(0, np.uint8))


AnyBuffer = HostBuffer | ObjectBuffer


@dataclass(eq=False, slots=True)
class Tensor:
    """A variable in one layout.

    ``storage`` is ``arena`` (planned by lifetime), ``static`` (depends on parameters and constants only), ``kept``
    (belongs to the store and outlives a run) or ``gradient`` (the store's place for the gradient of ``key``). ``key``
    identifies static and kept content across plans.
    """

    variable: Variable
    layout: Layout
    storage: str = "arena"
    key: Hashable = None
    root: Tensor | None = None
    buffer: AnyBuffer | None = None

    def base(self) -> Tensor:
        """The tensor whose memory this one uses."""
        at = self
        while at.root is not None:
            at = at.root
        return at


@dataclass(eq=False, slots=True)
class Task:
    """A lowered kernel with the tensors it reads and writes; ``node`` is ``None`` for conversions between layouts."""

    kernel: Kernel
    inputs: list[Tensor | None]
    outputs: list[Tensor | None]
    layer: str
    operator: str
    backend: str
    role: str
    node: Node | None = None
    fused: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes read and written by one execution."""
        return sum(item.layout.nbytes for item in (*self.inputs, *self.outputs) if item is not None)
