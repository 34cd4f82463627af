"""Running a graph in segments: compiled plans with calls on the data between them.

What a segment gives decides how the next one is bound, so each keeps the ones that followed it by the types it gave.
The bodies of If, Loop and Scan are graphs of their own and run the same way. Floating-point values that only segments
read, and the state that a loop carries, stay on the device that computed them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from toolkit.backends.protocol import HOST, Resources
from toolkit.compiler.bind import body_segment, next_segment
from toolkit.compiler.decisions import Decisions
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.segment import Deferred, Item, Perhaps, Scope, Segment, Several, Unknown, is_carried, parts
from toolkit.compiler.settled import Settled
from toolkit.errors import MALFORMED, InputError, ToolkitError, malformed, naming, said
from toolkit.graph.layer import Graph, Leaf
from toolkit.graph.network import Network
from toolkit.operators.inference import explicit_attributes, since_version
from toolkit.operators.long_tail import reference_for
from toolkit.operators.record import TensorType, lookup
from toolkit.operators.standard.preview_gradient import GRADIENT
from toolkit.runtime.execution import Span, data_error
from toolkit.runtime.plan import Plan
from toolkit.runtime.residence import Resident, fetched

PASSING_ON = frozenset({("", "If"), ("", "Loop")})  # they look at conditions and counts alone
KEPT_SUCCESSORS = 32  # bound forms that a segment keeps; more only cost memory when every run brings new sizes

Types = list[TensorType | None]
Values = Sequence[Any]
Held = Mapping[Variable | Unknown, Any]


class Workshop(Protocol):
    """What running segments needs of the context they belong to."""

    network: Network
    resources: Resources
    is_profiled: bool
    settled: Settled  # what the programs that it has compiled took for constant
    decisions: Decisions | None  # where what the data decides is recorded, if somebody asked for it

    def compile(self, program: Program, *, given: Mapping[str, str], staying: Collection[str]) -> Plan: ...


def for_inference(program: Program) -> Program:
    """What is planned of a program that was bound."""
    return optimise_for_inference(_differentiated(program))


class Stage:
    """A segment made ready: its plan, its calls, and the stages that have followed it.

    It is bound for values of ``types`` that lie on ``devices``; outputs in ``keeps`` the caller takes on a device.
    """

    def __init__(
        self, segment: Segment, workshop: Workshop, types: Types, devices: Sequence[str], keeps: Collection[str]
    ) -> None:
        self.segment, self.keeps = segment, keeps
        self.plan = None
        workshop.settled.add(segment.program.settled)
        if segment.program.outputs:
            where = dict(zip(segment.takes, devices, strict=True))
            given = {name: where[item] for name, item in segment.program.inputs.items()}
            self.plan = workshop.compile(for_inference(segment.program), given=given, staying=_staying(segment, keeps))
        self.calls = [DataCall(waiting, workshop) for waiting in segment.calls]
        self.carries = segment.carried() if not segment.is_last else []
        on_host = {item for call in self.calls if call.is_reading for item in call.outputs}
        self.gives = [(name, item, name in keeps or item in on_host) for name, item in segment.outputs.items()]
        self._takes, self._fed = tuple(segment.takes), tuple(segment.program.inputs.values())
        lent = self._lent()
        self._made = [(name, item, item in lent) for name, item in segment.crossing.items()]
        self._kinds = [
            None if known is None or device != HOST else known for known, device in zip(types, devices, strict=True)
        ]
        self.following: OrderedDict[Hashable, Stage] = OrderedDict()
        self.last_followed: Stage | None = None
        self._workshop = workshop

    @property
    def is_whole(self) -> bool:
        """Whether its plan is all that there is to execute."""
        is_static = self.segment.is_last and not self.calls
        return self.plan is not None and is_static and list(self.segment.crossing) == list(self.segment.outputs)

    def run(self, values: Values) -> dict[Variable | Unknown, Any]:
        """Execute plan and calls; returns every value that lives after them."""
        held: dict[Variable | Unknown, Any] = {item: values[index] for index, item in enumerate(self._takes)}
        plan, is_profiled = self.plan, self._workshop.is_profiled
        if plan is not None:
            if is_profiled != (plan.spans is not None):
                plan.profile(is_profiled)
            plan.refresh()
            plan.take(values if self._fed == self._takes else [held[item] for item in self._fed])
            plan.run("forward")
            for name, item, is_lent in self._made:
                held[item] = plan.output_arrays[name] if is_lent else plan.givers[name]()
        for call in self.calls:
            if is_profiled:
                call.run_timed(held)
            else:
                call.run(held)
        return held

    def _lent(self) -> set[Variable | Unknown]:
        """What the plan computes on the host for calls alone, which let go of it before the plan runs again."""
        if self.plan is None:
            return set()
        segment = self.segment
        kept = {*self.carries, *(part for item in segment.outputs.values() for part in parts(item))}
        for waiting, call in zip(segment.calls, self.calls, strict=True):
            if not call.keeps_nothing:
                kept.update(waiting.reads())
        return {item for name, item in segment.crossing.items() if item not in kept and name in self.plan.output_arrays}

    def fits(self, values: Values) -> bool:
        """Whether a glance tells that it is the stage for these: arrays of the types that it was bound for."""
        for value, known in zip(values, self._kinds, strict=True):
            if value.__class__ is not np.ndarray or known is None:
                return False
            if value.dtype != known[0] or value.shape != known[1]:
                return False
        return True

    def path(self) -> list[Stage]:
        """This stage and those of the latest run behind it."""
        return [self, *(self.last_followed.path() if self.last_followed is not None else [])]

    def next(self, held: Held) -> tuple[Stage, list[Any]]:
        """The stage that follows for the values held now, and what it takes."""
        values = [held[item] for item in self.carries]
        if self.last_followed is not None and self.last_followed.fits(values):
            return self.last_followed, values
        types, devices = [type_of(value) for value in values], [device_of(value) for value in values]

        def build() -> Stage:
            following = next_segment(self._workshop.network, self.segment, types)
            return Stage(following, self._workshop, types, devices, self.keeps)

        self.last_followed = remembered(self.following, (*types, *devices), build)
        return self.last_followed, values


class Segments:
    """Runs one graph; ``first(types)`` binds its first segment for the types of the values that ``run`` is given.

    The outputs in ``keeps`` may be given as ``Resident`` values.
    """

    def __init__(
        self, first: Callable[[Types], Segment], workshop: Workshop, keeps: Collection[str] = frozenset()
    ) -> None:
        self._first, self._keeps = first, keeps
        self._workshop = workshop
        self._stages: OrderedDict[Hashable, Stage] = OrderedDict()
        self.last: Stage | None = None

    def run(self, values: Values, *, is_known: bool = False) -> dict[str, Any]:
        """The outputs by name: arrays, lists for sequences, ``None`` for empty optionals, dicts for maps.

        ``is_known``: the values are arrays of the types that ``prepare`` was asked for last.
        """
        stage = self.last
        if stage is None or not (is_known or stage.fits(values)):
            values = [as_value(value) for value in values]
            stage = self.prepare([type_of(value) for value in values], [device_of(value) for value in values])
        held = stage.run(values)
        while not stage.segment.is_last:
            stage, values = stage.next(held)
            held = stage.run(values)
        found = {}
        for name, item, is_kept in stage.gives:
            value = content(item, held)
            found[name] = value if is_kept or value.__class__ is np.ndarray else fetched(value)
        return found

    def path(self) -> list[Stage]:
        """The stages of the latest run, or what is known of the first one."""
        return [] if self.last is None else self.last.path()

    def prepare(self, types: Types, devices: Sequence[str] | None = None) -> Stage:
        """The first stage for values of ``types`` that lie on ``devices``, on the host where nothing is said."""
        where = [HOST] * len(types) if devices is None else devices

        def build() -> Stage:
            return Stage(self._first(types), self._workshop, types, where, self._keeps)

        self.last = remembered(self._stages, (*types, *where), build)
        return self.last


class DataCall:
    """One leaf that is executed on the data by its operator's reference."""

    def __init__(self, waiting: Deferred, workshop: Workshop) -> None:
        leaf = waiting.leaf
        self.operator, self.layer = leaf.operator, waiting.layer
        self.is_reading = (leaf.domain, leaf.op_type) not in PASSING_ON
        self._inside, self._workshop = waiting.inside, workshop
        self.spans: list[Span] = []
        self._reference: Callable[..., Any]
        self._inputs = [None if not name else waiting.scope[name] for name in leaf.inputs]
        self.outputs = [waiting.outputs[name] if name else None for name in leaf.outputs]
        self.bodies = {
            name: Body(value, waiting, workshop) for name, value in leaf.attributes.items() if isinstance(value, Graph)
        }
        self._bodies = list(self.bodies.values())
        attributes = explicit_attributes(leaf.op_type, self._inputs, leaf.attributes, len(leaf.outputs))
        self._attributes = {**attributes, **self.bodies}
        version = since_version(leaf.domain, leaf.op_type, leaf.version) or leaf.version
        record = lookup(leaf.domain, leaf.op_type, version)
        self.keeps_nothing = record is not None and record.prepare is not None
        if record is not None and record.prepare is not None:
            with naming(lambda why: malformed(self.operator, self.layer, why)):
                self.kernel, self._reference = "numpy", record.prepare(**self._attributes)
            self._attributes = {}
        elif record is not None and record.reference is not None:
            self.kernel, self._reference = "numpy", record.reference
            if record.is_random:
                self._attributes["random"] = workshop.resources.random
        else:
            found = reference_for(leaf.domain, leaf.op_type, version, attributes)
            assert found is not None, "binding has asked for a kernel before"
            self.kernel, self._reference = "onnx.reference", found

    def run(self, held: dict[Variable | Unknown, Any]) -> None:
        """Add the outputs to ``held``. Raises ``InputError`` naming the layer when the data does not fit it."""
        values: list[Any] = []
        for item in self._inputs:
            value = None if item is None else held[item] if item in held else content(item, held)
            values.append(fetched(value) if self.is_reading and value.__class__ is not np.ndarray else value)
        for body in self._bodies:
            body.capture(held)
        try:
            result = self._reference(*values, **self._attributes)
        except MALFORMED as error:
            if isinstance(error, ToolkitError):
                raise
            raise data_error(self.operator, self.layer, said(error)) from error
        results = result if result.__class__ is tuple else (result,)
        if len(results) < len(self.outputs):
            self._require_all(len(results))
        for item, value in zip(self.outputs, results, strict=False):
            if item is not None:
                held[item] = as_value(value)
        if self._workshop.decisions is not None:
            times = max((body.times for body in self._bodies), default=0)
            told = [fetched(as_value(value)) for value in results]
            self._workshop.decisions.record(self._inside, self.layer, values, told, times)

    def run_timed(self, held: dict[Variable | Unknown, Any]) -> None:
        """``run``, and remember when and for how long."""
        started = time.perf_counter()
        self.run(held)
        self.spans.append((started, time.perf_counter() - started))

    def _require_all(self, count: int) -> None:
        if any(item is not None for item in self.outputs[count:]):
            raise InputError(
                f"{self.operator} {self.layer!r} gives {count} outputs, the model names {len(self.outputs)}. "
                "Export the model again."
            )


class Body:
    """A body of a control-flow leaf as a function of values: ``body(*inputs) -> tuple of outputs``.

    ``graph`` is the container it executes, for what it declares about its inputs and outputs.
    """

    def __init__(self, graph: Graph, waiting: Deferred, workshop: Workshop) -> None:
        self.graph = graph
        outside = {name: item for name, item in waiting.scope.items() if name not in graph.inputs}
        self._captured = {name: item for name, item in outside.items() if any(map(is_carried, parts(item)))}
        self._known: Scope = {name: item for name, item in outside.items() if name not in self._captured}
        self._workshop, self._inside = workshop, waiting.inside
        self.times = 0
        self._held: Held = {}
        self._values: list[Any] | None = None  # taken from what is held by the first call: a branch may have none
        names = [*graph.inputs, *self._captured]

        def first(types: Types) -> Segment:
            known = dict(zip(names, types, strict=True))
            return body_segment(workshop.network, graph, self._known, known, f"{waiting.layer}/")

        self.segments = Segments(first, workshop, _passed_on(waiting.leaf, graph))

    def capture(self, held: Held) -> None:
        """What the body reads from outside is what is held now, however often it is called until the next time."""
        self._held, self._values, self.times = held, None, 0

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        if len(inputs) != len(self.graph.inputs):
            raise ValueError(
                f"body {self.graph.name!r} takes {len(self.graph.inputs)} inputs {list(self.graph.inputs)}, "
                f"got {len(inputs)}"
            )
        if self._values is None:
            self._values = [content(item, self._held) for item in self._captured.values()]
        decisions = self._workshop.decisions
        if decisions is None:
            found = self.segments.run([*inputs, *self._values])
        else:
            around, decisions.iterations = decisions.iterations, (*decisions.iterations, *self._inside, self.times)
            found = self.segments.run([*inputs, *self._values])
            decisions.iterations = around
        self.times += 1
        return tuple(found[name] for name in self.graph.outputs)


def _passed_on(leaf: Leaf, graph: Graph) -> frozenset[str]:
    """The outputs of a body that only bodies or later segments read: what a loop carries, what a branch gives."""
    names = list(graph.outputs)
    if leaf.op_type == "Loop":
        return frozenset(names[1 : len(leaf.inputs) - 1])
    return frozenset(names if leaf.op_type == "If" else ())


def _staying(segment: Segment, keeps: Collection[str]) -> list[str]:
    """The values of a segment that nobody on the host is known to read: numbers, no sizes or positions."""
    read: set[Variable | Unknown] = set()
    for waiting in segment.calls:
        leaf = waiting.leaf
        if (leaf.domain, leaf.op_type) not in PASSING_ON:
            read.update(part for name in leaf.inputs if name for part in parts(waiting.scope[name]))
    for name, item in segment.outputs.items():
        if name not in keeps:
            read.update(parts(item))
    return [name for name, item in segment.crossing.items() if item not in read and item.dtype.kind == "f"]


def content(item: Item, held: Held) -> Any:
    """The value behind an item: what is held, a constant, or a parameter."""
    if item in held:
        return held[item]  # type: ignore[index]  # sequences and optionals are never held as such
    if isinstance(item, Variable):
        if item.constant is not None:
            return item.constant
        if item.parameter is not None:
            return item.parameter.array
    if isinstance(item, Several):
        return [content(element, held) for element in item.items]
    if isinstance(item, Perhaps):
        return None if item.item is None else content(item.item, held)
    return held[item]


def as_value(value: Any) -> Any:
    """Arrays stay arrays, numpy scalars become arrays; sequences, maps and ``None`` stay what they are."""
    if value.__class__ is np.ndarray:
        return value
    return np.asarray(value) if isinstance(value, (np.generic, bool, int, float)) else value


def _differentiated(program: Program) -> Program:
    """The program with what computes the derivatives that it asks for; few models do, so autodiff may stay away."""
    if any((node.domain, node.op_type) == GRADIENT for node in program.nodes):
        program = import_module("toolkit.autodiff").expand_gradients(program)
    return program


def type_of(value: Any) -> TensorType | None:
    """Element type and shape of an array, ``None`` for every other kind of value."""
    return (value.dtype, value.shape) if isinstance(value, (np.ndarray, Resident)) else None


def device_of(value: Any) -> str:
    """Where a value lies."""
    return value.device if isinstance(value, Resident) else HOST


def remembered(kept: OrderedDict[Hashable, Stage], key: Hashable, build: Callable[[], Stage]) -> Stage:
    """The stage for ``key``, built when it is new; the one used longest ago is dropped when there are many."""
    stage = kept.get(key)
    if stage is None:
        stage = kept[key] = build()
        if len(kept) > KEPT_SUCCESSORS:
            kept.popitem(last=False)
    else:
        kept.move_to_end(key)
    return stage
