"""A session with cuDNN: one handle on one stream, that of a context, and the plans that have been chosen on it.

``plan`` asks the heuristics for engines, best first, and takes the first one that may be used and can be finalized.
Where float32 is to be exact, engines that say that they use tensor cores (which is TF32), narrower inputs or narrower
sums are passed over; engines compiled for a graph without products say it too, and are right to be taken.

Without a handle a session can still choose, for a device that is described: that is how plans are tested where there is
no GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from toolkit.backends.cuda import library
from toolkit.backends.cuda.cudnn.descriptors import Descriptor, NoEngineError, Typed
from toolkit.backends.cuda.cudnn.functions import Functions
from toolkit.backends.cuda.cudnn.graph import Graph, Record, Tensor
from toolkit.backends.cuda.cudnn.graph_constants import (
    Attribute,
    AttributeType,
    DescriptorType,
    HeuristicMode,
    NumericalNote,
)
from toolkit.backends.cuda.queue import queue_of
from toolkit.backends.protocol import Resources, Step
from toolkit.errors import BackendError

ALIGNMENT = 16  # bytes that tensors are promised to be aligned to; kernels load as much at once
WORKSPACE_LIMIT = 1 << 30  # bytes; engines that want more are passed over while others are left
INEXACT = frozenset(
    {NumericalNote.TENSOR_CORE, NumericalNote.DOWN_CONVERT_INPUTS, NumericalNote.REDUCED_PRECISION_REDUCTION}
)
_MODES = (HeuristicMode.A, HeuristicMode.B, HeuristicMode.FALLBACK)
_MOST_NOTES = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph made ready to run: which engine does it, what that says of its arithmetic, and its scratch memory."""

    graph: Graph
    descriptor: Descriptor
    engine: int
    notes: frozenset[NumericalNote]
    workspace: int

    @property
    def name(self) -> str:
        """For ``explain``."""
        return f"cudnn:{self.engine}"


class Session:
    """Handle, functions and plans. ``handle`` is ``None`` for one that only chooses."""

    def __init__(self, functions: Functions, handle: int | None, device: Descriptor | None = None) -> None:
        self.functions, self.handle, self._device = functions, handle, device
        self._plans: dict[tuple[Graph, bool], Plan | str] = {}

    @classmethod
    def for_device(cls, functions: Functions, properties: bytes) -> Session:
        """A session that chooses plans for the device that ``properties`` (JSON) describe, and runs nothing."""
        device = Descriptor(functions, DescriptorType.DEVICEPROP)
        device.set(Attribute.DEVICEPROP_JSON_REPRESENTATION, properties)
        return cls(functions, None, device.finalize())

    # choosing ---------------------------------------------------------------------------------------------------------

    def plan(self, graph: Graph, *, strict: bool = False) -> Plan:
        """The plan of a graph, remembered. ``strict``: float32 products without TF32.

        Raises ``NoEngineError`` where no engine serves.
        """
        key = (graph, strict and graph.is_contraction)
        found = self._plans.get(key)
        if found is None:
            try:
                found = self._choose(*key)
            except NoEngineError as error:
                found = str(error)
            self._plans[key] = found
        if isinstance(found, str):
            raise NoEngineError(found)
        return found

    def plans(self, graph: Graph, *, strict: bool = False) -> list[Plan]:
        """One plan for the whole graph, or several that do it in parts where no engine does all of it.

        Raises ``NoEngineError`` where an operation has no engine even alone.
        """
        try:
            return [self.plan(graph, strict=strict)]
        except NoEngineError:
            rows = graph.as_rows()
            if rows is not None:
                return self.plans(rows, strict=strict)
            if len(graph.operations) == 1:
                raise
        last = list(graph.written().values())[-1]
        first, rest = graph.cut(1, last.dtype)
        return [self.plan(first, strict=strict), *self.plans(rest, strict=strict)]

    def _choose(self, graph: Graph, strict: bool) -> Plan:
        reasons: list[str] = []
        roomy: list[Plan] = []
        try:
            operations = self._operation_graph(graph)
        except NoEngineError as error:
            raise NoEngineError(f"cuDNN has no engine for {_title(graph)}: {error}") from error
        for configuration in self._configurations(operations, reasons):
            engine = configuration.descriptors(Attribute.ENGINECFG_ENGINE, DescriptorType.ENGINE, 1)[0]
            values = engine.numbers(Attribute.ENGINE_NUMERICAL_NOTE, AttributeType.NUMERICAL_NOTE, _MOST_NOTES)
            notes = frozenset(NumericalNote(value) for value in values)
            if strict and notes & INEXACT:
                reasons.append("inexact float32")
                continue
            try:
                made = self._finalized(configuration)
            except NoEngineError as error:
                reasons.append(str(error))
                continue
            workspace = made.integer(Attribute.EXECUTION_PLAN_WORKSPACE_SIZE)
            found = Plan(graph, made, engine.integer(Attribute.ENGINE_GLOBAL_INDEX), notes, workspace)
            if workspace <= WORKSPACE_LIMIT:
                return found
            roomy.append(found)
        if roomy:
            return min(roomy, key=lambda item: item.workspace)
        last = reasons[-1] if reasons else "the heuristics propose none"
        raise NoEngineError(f"cuDNN has no engine for {_title(graph)} among {len(reasons)}: {last}")

    def _operation_graph(self, graph: Graph) -> Descriptor:
        made: dict[Any, Descriptor] = {}
        operations = [self._realise(item, made) for item in graph.operations]
        found = Descriptor(self.functions, DescriptorType.OPERATIONGRAPH)
        found.set(Attribute.OPERATIONGRAPH_OPS, operations)
        if self.handle is not None:
            found.set(Attribute.OPERATIONGRAPH_HANDLE, Typed(AttributeType.HANDLE, (self.handle,)))
        return found.finalize()

    def _realise(self, item: Record | Tensor, made: dict[Any, Descriptor]) -> Descriptor:
        """The descriptor of a record or tensor; a tensor that two operations touch is one descriptor."""
        if item in made:
            return made[item]
        found = self._tensor(item) if isinstance(item, Tensor) else Descriptor(self.functions, item.descriptor_type)
        if isinstance(item, Record):
            for name, value in item.settings:
                own = self._realise(value, made) if isinstance(value, Record | Tensor) else value
                found.set(Attribute[f"{item.prefix}_{name}"], own)
        made[item] = found.finalize()
        return found

    def _tensor(self, tensor: Tensor) -> Descriptor:
        found = Descriptor(self.functions, DescriptorType.TENSOR)
        found.set(Attribute.TENSOR_UNIQUE_ID, tensor.uid)
        found.set(Attribute.TENSOR_DATA_TYPE, tensor.dtype)
        found.set(Attribute.TENSOR_BYTE_ALIGNMENT, ALIGNMENT)
        found.set(Attribute.TENSOR_DIMENSIONS, tensor.shape)
        found.set(Attribute.TENSOR_STRIDES, tensor.strides)
        if tensor.is_virtual:
            found.set(Attribute.TENSOR_IS_VIRTUAL, True)
        if tensor.value is not None:
            found.set(Attribute.TENSOR_IS_BY_VALUE, True)
        return found

    def _configurations(self, operations: Descriptor, reasons: list[str]) -> Iterator[Descriptor]:
        """What the heuristics propose, best first; an engine may come again, its second plan fails like its first."""
        for mode in _MODES:
            heuristic = Descriptor(self.functions, DescriptorType.ENGINEHEUR)
            heuristic.set(Attribute.ENGINEHEUR_OPERATION_GRAPH, operations)
            heuristic.set(Attribute.ENGINEHEUR_MODE, mode)
            if self._device is not None:
                heuristic.set(Attribute.ENGINEHEUR_DEVICEPROP, self._device)
            try:
                heuristic.finalize()
            except NoEngineError as error:
                reasons.append(str(error))
                continue
            count = heuristic.count(Attribute.ENGINEHEUR_RESULTS)
            if count:
                yield from heuristic.descriptors(Attribute.ENGINEHEUR_RESULTS, DescriptorType.ENGINECFG, count)

    def _finalized(self, configuration: Descriptor) -> Descriptor:
        made = Descriptor(self.functions, DescriptorType.EXECUTION_PLAN)
        made.set(Attribute.EXECUTION_PLAN_ENGINE_CONFIG, configuration)
        if self._device is not None:
            made.set(Attribute.EXECUTION_PLAN_DEVICEPROP, self._device)
        else:
            assert self.handle is not None
            made.set(Attribute.EXECUTION_PLAN_HANDLE, Typed(AttributeType.HANDLE, (self.handle,)))
        return made.finalize()

    # running ----------------------------------------------------------------------------------------------------------

    def bind(self, plan: Plan, addresses: Mapping[int, int], workspace: int) -> Step:
        """A call that enqueues the plan on tensors at fixed device ``addresses``, given by uid."""
        if self.handle is None:
            raise BackendError(
                "A session for a device that is only described cannot run on it: take that of a context."
            )
        numbers = {tensor.uid: ctypes.c_float(tensor.value or 0.0) for tensor in plan.graph.numbers()}
        places = {tensor.uid: addresses[tensor.uid] for tensor in plan.graph.external()}
        places |= {uid: ctypes.addressof(number) for uid, number in numbers.items()}
        pack = Descriptor(self.functions, DescriptorType.VARIANT_PACK)
        pack.set(Attribute.VARIANT_PACK_UNIQUE_IDS, list(places))
        pack.set(Attribute.VARIANT_PACK_DATA_POINTERS, _addresses(list(places.values())))
        pack.set(Attribute.VARIANT_PACK_WORKSPACE, _addresses([workspace]))
        pack.finalize()
        step = partial(self.functions.BackendExecute, self.handle, plan.descriptor.handle, pack.handle)
        return keeping(step, plan, pack, numbers, self)


def session_of(resources: Resources) -> Session:
    """The session of a context."""
    return resources.own("cuda: cudnn", lambda: Session(functions(), queue_of(resources).cudnn))


@cache
def functions() -> Functions:
    """cuDNN's functions. Raises ``BackendError`` where the library is missing."""
    return Functions(library.load("cudnn"))


def _addresses(values: Sequence[int]) -> Typed:
    return Typed(AttributeType.VOID_PTR, tuple(values))


def keeping(step: partial[Any], *owned: Any) -> Step:
    """``step``, holding on to what it uses by address."""
    step.owned = owned  # type: ignore[attr-defined]
    return step


def _title(graph: Graph) -> str:
    return " + ".join(item.kind.removeprefix("OPERATION_").lower() for item in graph.operations)
