"""What a backend is: memory of one device, and kernels for program nodes. It knows nothing of networks.

A plan is made in three moves. ``Backend.lower`` is shown a node and the layouts in which its inputs lie, and answers
with a ``Kernel`` that states the layouts it wants and produces (the compiler inserts reorders where they differ, which
brings tensors to the device as well). The memory planner then gives every tensor an address. ``Kernel.bind`` finally
turns addresses into a call without arguments. On a device beside the host that call only enqueues.
"""

from __future__ import annotations

import ctypes
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from toolkit.compiler.program import Node, Program

HOST = "host"  # the device on which Python runs
Owned = TypeVar("Owned")


class Layout(NamedTuple):
    """How a tensor lies in memory, and on which device.

    ``opaque`` is ``None`` for dense row-major order, else a backend's own hashable description (a blocked oneDNN
    descriptor); two layouts are the same exactly when they compare equal. ``nbytes`` includes padding. What
    ``is_derived`` is read by kernels alone: nobody turns it back into rows, so no tensor is kept that way.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    nbytes: int
    opaque: Any = None
    device: str = HOST
    is_derived: bool = False

    @property
    def is_plain(self) -> bool:
        return self.opaque is None


def plain(dtype: np.dtype, shape: Sequence[int], device: str = HOST) -> Layout:
    """The dense row-major layout."""
    dtype, shape = np.dtype(dtype), tuple(shape)
    return Layout(dtype, shape, int(math.prod(shape)) * dtype.itemsize, None, device)


class Buffer(Protocol):
    """A tensor's place in memory once the planner has decided: an address, and an array over it for plain layouts."""

    layout: Layout
    address: int

    @property
    def array(self) -> Any:
        """The tensor as an array of the backend's library, sharing memory; plain layouts only."""
        ...


class Memory(Protocol):
    """The memory of one device. A block is whatever ``buffer`` understands; it is freed with its last reference.

    ``alignment``: bytes to which the planner aligns what it places inside of a block.
    """

    alignment: int

    def allocate(self, nbytes: int) -> Any:
        """A block of zeros, of at least ``nbytes`` bytes."""
        ...

    def buffer(self, layout: Layout, block: Any, offset: int = 0) -> Any:
        """A buffer in a block, from the byte ``offset`` on. It can be seen in another layout: ``over(layout)``."""
        ...

    def staging(self, nbytes: int) -> np.ndarray:
        """Bytes of host memory, zeros, from and to which the device copies without waiting."""
        ...


class Crossing(Protocol):
    """The way of one tensor over the border of a device, beside the device's work.

    The bytes are copied on a queue of their own, from or to memory at the border that only this tensor uses. There a
    second kernel, in the queue of the work, takes them away, or lays them ready. Each of the two waits for what the
    other did last, so what goes over the border next may do so while the work goes on.
    """

    def over(self, source: Layout, target: Layout) -> Kernel:
        """The copy between host and device; both layouts are plain."""
        ...

    def beside(self, source: Layout, target: Layout) -> Kernel:
        """The copy between the memory at the border and where the work has the tensor, into another layout as well."""
        ...

    def wait(self) -> None:
        """Until the last copy over the border is done, and the host may use its side again."""
        ...


class Mark(Protocol):
    """A moment of a device's work; what it says is known once the device has come that far."""

    def since(self, earlier: Any) -> float:
        """Seconds since an earlier mark of the same device. Only after ``synchronise``."""
        ...


Step = Callable[[], Any]  # one bound kernel; returning a non-zero int reports an error


class NativeCall(partial[Any]):
    """A step that is one call of a native function on addresses and whole numbers, ``words``.

    Several that follow each other may be made without Python between them. ``kept`` is what the addresses lie in.
    """

    has_status: bool
    kept: tuple[Any, ...]

    def __new__(cls, function: Any, *words: int, kept: tuple[Any, ...] = (), has_status: bool = True) -> NativeCall:
        made = super().__new__(cls, function, *words)
        made.has_status, made.kept = has_status, kept
        return made

    @property
    def address(self) -> int:
        """Of the function."""
        function: Any = self.func
        return ctypes.cast(function, ctypes.c_void_p).value or 0

    @property
    def words(self) -> tuple[int, ...]:
        return self.args


@dataclass(frozen=True, slots=True, eq=False)
class Bracket:
    """What has to happen before and after a step, and around several steps once where they follow each other."""

    enter: Step
    leave: Step


class Bracketed:
    """A step that executes ``step`` between ``bracket``; whoever runs several may open and close the bracket once."""

    __slots__ = ("bracket", "step")

    def __init__(self, step: Step, bracket: Bracket) -> None:
        self.step, self.bracket = step, bracket

    def __call__(self) -> Any:
        self.bracket.enter()
        status = self.step()
        self.bracket.leave()
        return status


@dataclass
class Resources:
    """What a context lends to kernels when they are lowered and bound: threads, a source of randomness, its mode.

    ``strict``: products of float32 are computed in float32; without it a device may round the factors (TF32).
    ``kernels`` are those that the contexts of a network share, by what they were made for.
    """

    threads: int
    seed: int = 0
    training: bool = False
    strict: bool = True
    kernels: MutableMapping[Hashable, Kernel] = field(default_factory=WeakValueDictionary, repr=False, compare=False)
    _owned: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def random(self) -> np.random.Generator:
        """The generator of this context, made from its seed when a random operator first asks."""
        return np.random.default_rng(self.seed)

    def own(self, backend: str, make: Callable[[], Owned]) -> Owned:
        """What a backend keeps for this context (a queue, library handles), made when it is first asked for."""
        if backend not in self._owned:
            self._owned[backend] = make()
        return self._owned[backend]


class Kernel(ABC):
    """One node lowered for a backend; the plan binds it to memory once, and calls the step ever after.

    - ``name``: which implementation this is, for ``explain``.
    - ``inputs``, ``outputs``: the layout of each, ``None`` where the node has none.
    - ``workspace``: bytes of scratch memory, on the backend's device.
    - ``in_place``: pairs (output, input): the output may take the input's memory when nobody reads the input later.
    - ``accumulates``: an (output, input) pair that *must* share memory, because the kernel adds to what lies there. The
      compiler copies the input first when somebody else still needs it.
    - ``aliases``: pairs (output, input) that are the same bytes by nature (a reshape, a parameter updated in its
      place).
    - ``is_free``: nothing to execute (a view).
    - ``is_capturable``: the step may become part of a fused one, see ``Backend.fuse``; not if it waits for its device,
      allocates, or chooses by values.
    - ``is_shared``: one may serve several nodes and contexts, also at once: it owns nothing that its steps write, and
      lending it randomness or a device's queue was not needed to make it.
    """

    name: str = ""
    inputs: Sequence[Layout | None] = ()
    outputs: Sequence[Layout | None] = ()
    workspace: int = 0
    in_place: Sequence[tuple[int, int]] = ()
    accumulates: tuple[int, int] | None = None
    aliases: Sequence[tuple[int, int]] = ()
    is_free: bool = False
    is_capturable: bool = True
    is_shared: bool = False

    @abstractmethod
    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any], workspace: Any) -> Step:
        """Fix the addresses and return the call that executes the kernel on them.

        The arguments are ``Buffer`` objects of the backend's memory, ``None`` where the node has none; reorders get
        those of the host as well.
        """


class Backend(ABC):
    """Kernels and memory of one device; ``HostBackend`` has what all backends on host memory share.

    ``device``: where its tensors lie; several backends may share one. ``widens``: what it computes on numbers of half
    width it computes in float32, converting them on the way in and out. ``multiplies_bytes``: it has kernels for
    products of bytes whose sums are exact. ``is_entered``: ``enter`` does something. ``is_judge``: of all that share
    its device, this one is asked for ``finiteness``.
    """

    name: str
    device: str = HOST
    memory: Memory
    widens: bool = False
    multiplies_bytes: bool = False
    is_entered: bool = True
    is_judge: bool = False

    @abstractmethod
    def supports(self, node: Node) -> bool:
        """Whether ``lower`` has a kernel for the node (its operator, types and attributes)."""

    def arrange(self, program: Program) -> None:
        """Called once behind placement: several nodes that were placed here may become one. Does nothing by default."""
        return

    @abstractmethod
    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        """Choose a kernel. ``inputs`` are the layouts in which the inputs lie now; the kernel may ask for others.

        They are always on the backend's device: plain ones stand for tensors that lie elsewhere so far.
        """

    @abstractmethod
    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        """A kernel with one input and one output that converts between two layouts of the same tensor.

        The backend of a device also copies from and to the host; on that side the layout is plain.
        """

    def owns(self, layout: Layout) -> bool:
        """Whether only this backend, of all that share its device, knows a layout, so that it has to convert it."""
        return False

    @abstractmethod
    def enter(self, resources: Resources) -> None:
        """Called before kernels of the backend are made or run: set what belongs to the calling thread."""

    @abstractmethod
    def synchronise(self, resources: Resources) -> None:
        """Wait until everything that was enqueued for these resources is done. Raises what went wrong meanwhile."""

    @abstractmethod
    def fuse(self, steps: Sequence[Step], resources: Resources) -> Step | None:
        """One step that does what ``steps``, executed before, do in turn; ``None`` where that wins nothing."""

    @abstractmethod
    def finiteness(self, buffers: Sequence[Any], resources: Resources) -> Callable[[], bool]:
        """Look for NaN and infinity in buffers of plain layouts; ask what was found once the device was waited for."""

    def crossing(self, resources: Resources) -> Crossing | None:
        """A way over the border for one tensor, ``None`` where copies cannot go on beside the work."""
        return None

    @abstractmethod
    def mark(self, resources: Resources) -> Mark:
        """A mark behind everything that was enqueued so far."""
