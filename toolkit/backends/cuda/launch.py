"""Kernels of our own as steps: which functions are launched, how many threads each gets, and on what.

A ``Launch`` names its arguments by role; ``SourceKernel`` turns roles into addresses once, when it is bound, and loads
the compiled functions then. A step only enqueues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.backends.cuda.kernel_cache import loaded
from toolkit.backends.cuda.memory import DeviceBlock, filled
from toolkit.backends.cuda.queue import queue_of
from toolkit.backends.cuda.source import Function
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step

THREADS = 256
Grid = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Input:
    """The address of an input."""

    index: int


@dataclass(frozen=True, slots=True)
class Output:
    """The address of an output."""

    index: int


@dataclass(frozen=True, slots=True)
class Scratch:
    """An address in the workspace."""

    offset: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """An address in memory that the kernel keeps from run to run; zeros at first."""

    offset: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """An address that is known already, once a kernel is bound."""

    value: int


@dataclass(frozen=True, slots=True)
class Table:
    """The address of numbers that the kernel brings along: the bytes of an array, on the device once it is bound."""

    content: bytes

    @classmethod
    def of(cls, array: np.ndarray) -> Table:
        return cls(np.ascontiguousarray(array).tobytes())


Argument = Input | Output | Scratch | Kept | Address | Table | np.generic
NOTHING = np.uint64(0)  # the address of a tensor that is left out


@dataclass(frozen=True, slots=True)
class Launch:
    """One function on a grid of ``blocks`` of ``threads``, its ``arguments`` in the order of its parameters."""

    function: Function
    blocks: Grid
    threads: Grid
    arguments: tuple[Argument, ...]

    def __post_init__(self) -> None:
        assert len(self.arguments) == len(self.function.parameters), self.function.name

    @property
    def is_empty(self) -> bool:
        return 0 in self.blocks


def in_one_row(function: Function, items: int, arguments: Sequence[Argument], threads: int = THREADS) -> Launch:
    """One thread for each of ``items``."""
    return Launch(function, (-(-items // threads), 1, 1), (threads, 1, 1), tuple(arguments))


class SourceKernel(Kernel):
    """A node as launches of functions that NVRTC compiles."""

    def __init__(
        self,
        name: str,
        launches: Sequence[Launch],
        inputs: Sequence[Layout | None],
        outputs: Sequence[Layout | None],
        resources: Resources,
        *,
        workspace: int = 0,
        in_place: Sequence[tuple[int, int]] = (),
        aliases: Sequence[tuple[int, int]] = (),
        kept: int = 0,
    ) -> None:
        self.name = name
        self.launches = tuple(item for item in launches if not item.is_empty)
        self.inputs, self.outputs, self.workspace = list(inputs), list(outputs), workspace
        self.in_place, self.aliases = tuple(in_place), tuple(aliases)
        self._resources, self.kept = resources, kept

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        return enqueuing(self.launches, inputs, outputs, workspace, self._resources, self.kept)


def enqueuing(
    launches: Sequence[Launch],
    inputs: Sequence[Buffer | None],
    outputs: Sequence[Buffer | None],
    workspace: Buffer | None,
    resources: Resources,
    kept: int = 0,
) -> Step:
    """The call that enqueues ``launches`` in turn; it holds on to the memory that they keep, and to their tables."""
    stream, own = queue_of(resources).stream, DeviceBlock(kept) if kept else None
    given = (item for launch in launches for item in launch.arguments)
    tables = {item: filled(item.content) for item in given if isinstance(item, Table)}
    calls = []
    for launch in launches:
        function = loaded(launch.function)
        function.prepare("".join(map(_format, launch.arguments)))
        values = [
            tables[item].address if isinstance(item, Table) else _value(item, inputs, outputs, workspace, own)
            for item in launch.arguments
        ]
        calls.append((function.prepared_async_call, launch.blocks, launch.threads, stream, *values))

    def step(owned: tuple[DeviceBlock | None, ...] = (own, *tables.values())) -> None:
        for enqueue, *given in calls:
            enqueue(*given)

    return step


def _format(argument: Argument) -> str:
    """How pycuda packs an argument: a pointer, or an unsigned number of 32 or 64 bits."""
    return {4: "I", 8: "Q"}[argument.dtype.itemsize] if isinstance(argument, np.generic) else "P"


def _value(
    argument: Input | Output | Scratch | Kept | Address | np.generic,
    inputs: Sequence[Buffer | None],
    outputs: Sequence[Buffer | None],
    workspace: Buffer | None,
    own: DeviceBlock | None,
) -> int | float:
    if isinstance(argument, np.generic):
        return argument.item()
    if isinstance(argument, Address):
        return argument.value
    if isinstance(argument, Scratch | Kept):
        memory = workspace if isinstance(argument, Scratch) else own
        assert memory is not None
        return memory.address + argument.offset
    buffer = (inputs if isinstance(argument, Input) else outputs)[argument.index]
    assert buffer is not None
    return buffer.address
