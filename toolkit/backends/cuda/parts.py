"""Kernels made of parts: calls of cuDNN and cublasLt that follow each other on the stream, with memory between them.

A part knows its tensors by place: an input or output of the node, or scratch memory that the plan lends to the kernel
while it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from toolkit.backends.cuda.cudnn.graph import Graph
from toolkit.backends.cuda.cudnn.session import Plan, Session
from toolkit.backends.cuda.launch import Address, Argument, Launch, enqueuing
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step

ALIGNMENT = 256  # bytes, of every tensor in scratch memory


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies: ``source`` is ``input``, ``output`` or ``scratch``."""

    source: str
    index: int


def reads(index: int) -> Place:
    """Input ``index`` of the node."""
    return Place("input", index)


def writes(index: int) -> Place:
    """Output ``index`` of the node."""
    return Place("output", index)


def scratch(index: int) -> Place:
    """A tensor that only the parts of a kernel see."""
    return Place("scratch", index)


Addresses = Callable[[Place], int]


class Part(Protocol):
    """A call that can be bound to addresses; ``workspace`` is the scratch memory that it wants for itself, in bytes."""

    @property
    def name(self) -> str: ...

    @property
    def workspace(self) -> int: ...

    def bind(self, address: Addresses, workspace: int) -> Step:
        """The call on the tensors that ``address`` finds."""
        ...


@dataclass(frozen=True)
class GraphPart:
    """A plan of cuDNN; ``places`` says where its tensors lie, by uid."""

    session: Session
    plan: Plan
    places: Mapping[int, Place]

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def workspace(self) -> int:
        return self.plan.workspace

    def bind(self, address: Addresses, workspace: int) -> Step:
        found = {tensor.uid: address(self.places[tensor.uid]) for tensor in self.plan.graph.external()}
        return self.session.bind(self.plan, found, workspace)


@dataclass(frozen=True)
class CallPart:
    """A C function: ``make`` takes where tensors lie and where the workspace begins, and gives the bound call."""

    name: str
    make: Callable[[Addresses, int], Step]
    workspace: int = 0

    def bind(self, address: Addresses, workspace: int) -> Step:
        return self.make(address, workspace)


@dataclass(frozen=True)
class LaunchPart:
    """A kernel of our own; ``places`` says where the tensors lie that its launch names by role."""

    launch: Launch
    places: Mapping[Argument, Place]
    resources: Resources
    workspace: int = 0

    @property
    def name(self) -> str:
        return self.launch.function.name

    def bind(self, address: Addresses, workspace: int) -> Step:
        found: dict[Argument, Argument] = {role: Address(address(place)) for role, place in self.places.items()}
        arguments = tuple(found.get(item, item) for item in self.launch.arguments)
        return enqueuing([replace(self.launch, arguments=arguments)], (), (), None, self.resources)


class Scratch:
    """Memory between parts: tensors get a place each, one after the other."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.nbytes = 0

    def take(self, nbytes: int) -> Place:
        """A place for that many bytes."""
        self.offsets.append(self.nbytes)
        self.nbytes += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return scratch(len(self.offsets) - 1)


def graph_parts(
    session: Session, graph: Graph, places: Mapping[int, Place], memory: Scratch, *, strict: bool
) -> list[Part]:
    """The parts that compute a graph: one, or several with tensors in scratch memory where no engine does all of it."""
    known = dict(places)
    parts: list[Part] = []
    for plan in session.plans(graph, strict=strict):
        for tensor in plan.graph.external():
            if tensor.uid not in known:
                known[tensor.uid] = memory.take(tensor.nbytes)
        parts.append(GraphPart(session, plan, known))
    return parts


class PartsKernel(Kernel):
    """A node done by parts in order."""

    def __init__(
        self,
        parts: Sequence[Part],
        inputs: Sequence[Layout | None],
        outputs: Sequence[Layout | None],
        memory: Scratch | None = None,
        *,
        in_place: Sequence[tuple[int, int]] = (),
        aliases: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.in_place, self.aliases = in_place, aliases
        self.parts = parts
        self.name = " + ".join(part.name for part in parts)
        self._memory = Scratch() if memory is None else memory
        self.workspace = self._memory.nbytes + max((part.workspace for part in parts), default=0)

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        base = 0 if workspace is None else workspace.address

        def address(place: Place) -> int:
            if place.source == "scratch":
                return base + self._memory.offsets[place.index]
            buffer = (inputs if place.source == "input" else outputs)[place.index]
            assert buffer is not None, f"{place.source} {place.index} has no buffer"
            return buffer.address

        steps = [part.bind(address, base + self._memory.nbytes) for part in self.parts]
        return steps[0] if len(steps) == 1 else chain(steps)


def chain(steps: Sequence[Step]) -> Step:
    """Several steps as one; stops at the first error code and returns it."""

    def run() -> Any:
        for step in steps:
            status = step()
            if status:
                return status
        return None

    return run
