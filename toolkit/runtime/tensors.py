"""Where tensors lie: a ``Tensor`` is a variable in one layout, its buffer the memory it was given.

Tensors that share bytes (views, in-place results) have one root; only roots are given memory.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.backends.host import HostBuffer, aligned
from toolkit.backends.protocol import HOST, Crossing, Kernel, Layout
from toolkit.compiler.program import Node, Variable


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


AnyBuffer = Any  # a ``HostBuffer``, an ``ObjectBuffer``, or what the memory of another device gives


@dataclass(eq=False, slots=True)
class Tensor:
    """A variable in one layout.

    ``storage`` is ``arena`` (planned by lifetime), ``border`` (memory of its own, which copies beside the work fill or
    empty), ``static`` (depends on parameters and constants only), ``kept`` (belongs to the store and outlives a run) or
    ``gradient`` (the store's place for the gradient of ``key``). ``key`` identifies static and kept content across
    plans.
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
    """A lowered kernel with the tensors it reads and writes; ``node`` is ``None`` for conversions between layouts.

    ``device`` is the one whose steps it joins, and where its scratch memory lies. ``crossing`` is there for a copy over
    the border beside the work.
    """

    kernel: Kernel
    inputs: list[Tensor | None]
    outputs: list[Tensor | None]
    layer: str
    operator: str
    backend: str
    role: str
    node: Node | None = None
    fused: tuple[str, ...] = ()
    device: str = HOST
    crossing: Crossing | None = None

    @property
    def is_upload(self) -> bool:
        """Whether it brings an input to its device beside the work."""
        given = self.inputs[0] if self.crossing is not None else None
        return given is not None and given.layout.device == HOST

    @property
    def is_download(self) -> bool:
        """Whether it brings an output to the host beside the work."""
        return self.crossing is not None and not self.is_upload

    @property
    def nbytes(self) -> int:
        """Bytes read and written by one execution."""
        return sum(item.layout.nbytes for item in (*self.inputs, *self.outputs) if item is not None)
