"""What a backend is: memory of one device, and kernels for program nodes. It knows nothing of networks.

A plan is made in three moves. ``Backend.lower`` is shown a node and the layouts in which its inputs lie, and answers
with a ``Kernel`` that states the layouts it wants and produces (the compiler inserts reorders where they differ). The
memory planner then gives every tensor an address. ``Kernel.bind`` finally turns addresses into a call without
arguments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from toolkit.compiler.program import Node


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor lies in memory.

    ``opaque`` is ``None`` for dense row-major order, else a backend's own hashable description (a blocked oneDNN
    descriptor); two layouts are the same exactly when they compare equal. ``nbytes`` includes padding.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    nbytes: int
    opaque: Any = None

    @property
    def is_plain(self) -> bool:
        return self.opaque is None


def plain(dtype: np.dtype, shape: Sequence[int]) -> Layout:
    """The dense row-major layout."""
    return Layout(np.dtype(dtype), tuple(shape), int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)


class Buffer(Protocol):
    """A tensor's place in memory once the planner has decided: an address, and an array over it for plain layouts."""

    layout: Layout
    address: int

    @property
    def array(self) -> Any:
        """The tensor as an array of the backend's library, sharing memory; plain layouts only."""
        ...


Step = Callable[[], Any]  # one bound kernel; returning a non-zero int reports an error


@dataclass
class Resources:
    """What a context lends to kernels when they are lowered and bound: threads, a source of randomness, its mode."""

    threads: int
    seed: int = 0
    training: bool = False

    @cached_property
    def random(self) -> np.random.Generator:
        """The generator of this context, made from its seed when a random operator first asks."""
        return np.random.default_rng(self.seed)


class Kernel(ABC):
    """One node lowered for a backend; the plan binds it to memory once, and calls the step ever after.

    - ``name``: which implementation this is, for ``explain``.
    - ``inputs``, ``outputs``: the layout of each, ``None`` where the node has none.
    - ``workspace``: bytes of scratch memory.
    - ``in_place``: pairs (output, input): the output may take the input's memory when nobody reads the input later.
    - ``accumulates``: an (output, input) pair that *must* share memory, because the kernel adds to what lies there. The
      compiler copies the input first when somebody else still needs it.
    - ``aliases``: pairs (output, input) that are the same bytes by nature (a reshape, a parameter updated in its
      place).
    - ``is_free``: nothing to execute (a view).
    """

    name: str = ""
    inputs: Sequence[Layout | None] = ()
    outputs: Sequence[Layout | None] = ()
    workspace: int = 0
    in_place: Sequence[tuple[int, int]] = ()
    accumulates: tuple[int, int] | None = None
    aliases: Sequence[tuple[int, int]] = ()
    is_free: bool = False

    @abstractmethod
    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        """Fix the addresses and return the call that executes the kernel on them."""


class Backend(ABC):
    """Kernels and memory of one device.

    ``widens``: what it computes on numbers of half width it computes in float32, converting them on the way in and out.
    """

    name: str
    widens: bool = False

    @abstractmethod
    def supports(self, node: Node) -> bool:
        """Whether ``lower`` has a kernel for the node (its operator, types and attributes)."""

    @abstractmethod
    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        """Choose a kernel. ``inputs`` are the layouts in which the inputs lie now; the kernel may ask for others."""

    @abstractmethod
    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        """A kernel with one input and one output that converts between two layouts of the same tensor."""

    @abstractmethod
    def enter(self, resources: Resources) -> None:
        """Called before kernels of the backend are made or run: set what belongs to the calling thread."""
