"""Segments: what of a graph can be compiled now, what must be called on the data, and what has to wait for that.

A fully static graph is one segment without calls. Where a shape or a branch depends on the data, the layers behind it
are deferred: once the calls of a segment have returned, the next one is bound for the types they gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from toolkit.compiler.program import Program, Variable
from toolkit.errors import DataDependentShapeError
from toolkit.graph.layer import Leaf
from toolkit.operators.record import DataDependentTypes, lookup


@dataclass(eq=False, slots=True)
class Unknown:
    """A value that no program holds: its type is not known before it is there, or it is no tensor at all."""

    name: str


@dataclass(eq=False, slots=True)
class Several:
    """A sequence whose length is known: its elements."""

    items: tuple[Item, ...]


@dataclass(eq=False, slots=True)
class Perhaps:
    """An optional of which it is known whether it holds something."""

    item: Item | None


Item = Variable | Unknown | Several | Perhaps
Scope = dict[str, Item]


def parts(item: Item) -> Iterator[Variable | Unknown]:
    """The values that an item consists of; itself if it is no sequence or optional."""
    if isinstance(item, Several):
        for element in item.items:
            yield from parts(element)
    elif isinstance(item, Perhaps):
        if item.item is not None:
            yield from parts(item.item)
    else:
        yield item


def replaced(item: Item, now: Mapping[Variable | Unknown, Item]) -> Item:
    """An item with what it consists of exchanged for what stands for it now."""
    if isinstance(item, Several):
        return Several(tuple(replaced(element, now) for element in item.items))
    if isinstance(item, Perhaps):
        return Perhaps(None if item.item is None else replaced(item.item, now))
    return now.get(item, item)


@dataclass(eq=False, slots=True)
class Deferred:
    """A leaf that could not be bound, with the values it reads (those of its bodies included) and produces by name.

    ``prefix`` is the path of the layers around it, ``inside`` the iterations of the unrolled loops around it, and
    ``reason`` says what it waits for.
    """

    leaf: Leaf
    prefix: str
    scope: Scope
    outputs: dict[str, Unknown]
    reason: str
    inside: tuple[int, ...] = ()

    def reads(self) -> Iterator[Variable | Unknown]:
        """Everything that it reads, sequences and optionals taken apart."""
        for item in self.scope.values():
            yield from parts(item)

    @property
    def layer(self) -> str:
        return self.prefix + self.leaf.path

    @property
    def is_always_called(self) -> bool:
        """Whether knowing the types of its inputs would not help: its operator is one that only data can answer."""
        record = lookup(self.leaf.domain, self.leaf.op_type, self.leaf.version)
        return record is not None and isinstance(record.infer, DataDependentTypes)


@dataclass(eq=False)
class Segment:
    """One step of the way through a graph.

    - ``program``: compiled and executed first; ``crossing`` holds the variables behind its outputs.
    - ``takes``: the values that it is given, in order: inputs of the program, and those without a type.
    - ``calls``: leaves executed on the data afterwards, in order.
    - ``rest``: leaves to bind when the calls have returned.
    - ``outputs``: what was asked for, each a value of this segment.
    """

    program: Program
    takes: list[Variable | Unknown]
    outputs: dict[str, Item]
    calls: list[Deferred] = field(default_factory=list)
    rest: list[Deferred] = field(default_factory=list)
    crossing: dict[str, Variable] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        """Whether every output is known when the calls have returned."""
        return not self.rest

    def carried(self) -> list[Variable | Unknown]:
        """What the next segment takes over: all that deferred leaves and outputs read and that is known by then."""
        read = [item for waiting in self.rest for item in waiting.reads()]
        read += [item for output in self.outputs.values() for item in parts(output)]
        made = {item for call in self.calls for item in call.outputs.values()}
        known = made.union(self.takes)
        return [
            item for item in dict.fromkeys(read) if is_carried(item) and (item in known or isinstance(item, Variable))
        ]

    def require_static(self) -> Program:
        """The program of a segment that is all there is. Raises ``DataDependentShapeError`` naming the first layer."""
        waiting = [*self.calls, *self.rest]
        if waiting:
            raise DataDependentShapeError(waiting[0].reason)
        return self.program


def is_carried(item: Variable | Unknown) -> bool:
    """Whether a value lives in memory of its own: constants and parameters are known to every segment."""
    return isinstance(item, Unknown) or (item.constant is None and item.parameter is None)


def close(
    program: Program,
    deferred: Sequence[Deferred],
    outputs: Mapping[str, Item],
    takes: Sequence[Variable | Unknown],
) -> Segment:
    """Sort what was deferred into calls and rest, and make the program give what they and the outputs read."""
    segment = Segment(program, list(takes), dict(outputs))
    made: set[Variable | Unknown] = set()
    for waiting in deferred:
        if _can_be_called(waiting, made, set(takes)):
            segment.calls.append(waiting)
            made.update(waiting.outputs.values())
        else:
            segment.rest.append(waiting)
    if not deferred and all(isinstance(item, Variable) for item in outputs.values()):
        segment.crossing = {name: item for name, item in outputs.items() if isinstance(item, Variable)}
    else:
        read = [item for waiting in deferred for item in waiting.reads()]
        read += [item for output in outputs.values() for item in parts(output)]
        found = dict.fromkeys(item for item in read if isinstance(item, Variable))
        computed = (item for item in found if is_carried(item) and item not in takes)
        segment.crossing = {f"{index}: {item.name}": item for index, item in enumerate(computed)}
    program.outputs = dict(segment.crossing)
    return segment


def _can_be_called(waiting: Deferred, made: set[Variable | Unknown], taken: set[Variable | Unknown]) -> bool:
    """Whether all that a leaf reads is there, and nothing that a call has yet to give could help to bind it."""
    for item in waiting.reads():
        if isinstance(item, Unknown) and item not in taken and not (item in made and waiting.is_always_called):
            return False
    return True
