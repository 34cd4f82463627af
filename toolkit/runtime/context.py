"""The context: one way of invoking a network. It binds every size, a backend and a mode, and owns all memory of a run.

Contexts of different batch sizes share the network's parameters, and packed forms of them where they agree. A context
is not thread-safe: make one per thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.backends.protocol import HOST, Resources
from toolkit.backends.registry import resolve
from toolkit.compiler.bind import first_segment
from toolkit.compiler.decisions import Decisions
from toolkit.compiler.items import items_at_once
from toolkit.compiler.limits import require_affordable
from toolkit.compiler.passes.precision import RELAXED, precision_named
from toolkit.compiler.pipeline import compute_in
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program
from toolkit.compiler.segment import Segment
from toolkit.compiler.settled import Settled
from toolkit.compiler.sizes import frozen_batch, input_shapes
from toolkit.errors import GraphError, InputError, ShapeError
from toolkit.graph.network import Network
from toolkit.runtime.cache import state_of
from toolkit.runtime.collection import uncollected
from toolkit.runtime.explain import Explanation, explain, explain_segments
from toolkit.runtime.feeds import as_they_are, check_shapes, named, wanted_as_they_are
from toolkit.runtime.floating_point import restore, silence
from toolkit.runtime.plan import Plan
from toolkit.runtime.segments import Segments, Types, for_inference
from toolkit.runtime.turns import PlanInTurns

Arrays = dict[str, np.ndarray]


def resources(threads: int | None, seed: int, training: bool, strict: bool = True) -> Resources:
    """What kernels are lent; ``threads=None`` takes every processor this process may use."""
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}.")
    return Resources(threads or available_cores(), seed, training, strict)


def available_cores() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Context:
    """A compiled way of running a network.

    - ``batch_size``: items per run; ``None`` only for networks that fix it.
    - ``backend``: a name or a preference list; layers go to the first backend that has a kernel.
    - ``dims``: sizes of the other symbolic dimensions by name.
    - ``precision``: ``"float32"``; ``"bfloat16"`` or ``"float16"``, for all layers that have a form of half width; or
      ``"mixed"``, in which convolutions and matrix products compute in bfloat16, sums, normalisations and softmax in
      float32. ``"tf32"`` is float32 in which a GPU may round the factors of products to eleven significant bits.
      Inputs, outputs and parameters keep their types. A processor without arithmetic of half width
      computes in float32 on rounded numbers: the same results, no faster.
    - ``threads``: processors to use, all by default; ``seed`` feeds the random operators of this context.
    - ``outputs``: compute only these.

    Raises ``InputError``, ``UnsupportedOperatorError``, ``ShapeError`` or ``BackendError`` while it is built.
    """

    is_training = False

    def __init__(
        self,
        network: Network,
        batch_size: int | None = None,
        *,
        backend: str | Sequence[str] = "cpu",
        dims: Mapping[str, int] | None = None,
        threads: int | None = None,
        precision: str = "float32",
        seed: int = 0,
        outputs: Sequence[str] | None = None,
    ) -> None:
        self._precision = precision_named(precision)
        if batch_size is not None and batch_size < 0:
            raise InputError(f"batch_size must be 0 or more, got {batch_size}.")
        self.network = network
        self.batch_size = batch_size
        self._backends = resolve(backend)
        self._dims = dict(dims or {})
        self.resources = resources(threads, seed, self.is_training, precision != RELAXED)
        self.resources.kernels = state_of(network).kernels
        self.is_profiled = self._is_streaming = False
        self.decisions: Decisions | None = None
        self._outputs = outputs
        self.shapes = input_shapes(network, batch_size, self._dims)
        self._wanted = wanted_as_they_are(network, self.shapes)
        self._compile_all()

    # building --------------------------------------------------------------------------------------------------------

    def _compile_all(self) -> None:
        """Compile what can be known by now, from the parameters as they are."""
        self._plan: Plan | None = None
        self._is_compiled, self.settled = False, Settled()
        self._segments = Segments(self._first_segment, self)
        with uncollected():
            self._plan = self._prepared()
        self._is_compiled = True

    def _follow_parameters(self) -> Plan | None:
        """The plan, of the parameters as they are: compiled anew where one was written that counts as a constant."""
        if not self._is_compiled or not self.settled.is_current():
            self._compile_all()
        if self._plan is not None:
            self._plan.refresh()
        return self._plan

    def _first_segment(self, types: Types) -> Segment:
        named_types = dict(zip(self.network.inputs, types, strict=True))
        return first_segment(self.network, self.batch_size, self._dims, outputs=self._outputs, types=named_types)

    def _prepared(self) -> Plan | None:
        """The plan of a network in which data decides nothing; what can be known before the data is compiled anyway."""
        if any(shape is None for shape in self.shapes.values()):
            return None
        names, programs = tuple(backend.name for backend in self._backends), state_of(self.network).programs
        bound = (
            self.batch_size,
            tuple(self.shapes.items()),
            tuple(sorted(self._dims.items())),
            tuple(self._outputs or ()),
        )
        key = (*bound, self._precision, names, self.resources.strict)
        known = programs.get(key)
        if known is not None and known.settled.is_current():
            self.settled.add(known.settled)
            return self._planned(known)
        types = [(value.dtype, self.shapes[name]) for name, value in self.network.inputs.items()]
        first = self._segments.prepare(types)  # type: ignore[arg-type]  # what has a shape has a type
        if first.plan is None or not first.is_whole:
            return None
        programs[key] = first.plan.program
        return first.plan

    def compile(self, program: Program, **options: Any) -> Plan:
        """A plan for a program on this context's backends; the options are those of ``Plan``."""
        require_affordable(program)
        return self._planned(self._placed(program), **options)

    def _placed(self, program: Program) -> Program:
        """The program in the precision of the context, on its backends."""
        place(compute_in(program, self._precision, self._backends), self._backends)
        return program

    def _planned(self, program: Program, **options: Any) -> Plan:
        options["packed"] = state_of(self.network).packed
        program, turns = self._divided(program)
        if turns == 1:
            made = Plan(program, self._backends, self.resources, **options)
        else:
            made = PlanInTurns(program, self._backends, self.resources, turns=turns, **options)
        if self.is_profiled:
            made.profile()
        return made

    def _divided(self, program: Program) -> tuple[Program, int]:
        """What to plan instead of a program of the whole network, and how often it makes up the batch."""
        batch_size = self.batch_size
        is_whole = program.inputs.keys() == self.network.inputs.keys() and program.outputs.keys() == {
            *(self._outputs or self.network.outputs)
        }
        on_host = all(backend.device == HOST for backend in self._backends)
        if self.is_training or not batch_size or not is_whole or not on_host or frozen_batch(self.network) is not None:
            return program, 1
        name, first = next(iter(program.inputs.items()))
        if first.shape != self.shapes[name]:  # it was divided by a context that had the same sizes
            return program, batch_size // first.shape[0]
        items = items_at_once(program, batch_size)
        if items == batch_size:
            return program, 1
        try:
            part = for_inference(first_segment(self.network, items, self._dims, outputs=self._outputs).program)
        except ShapeError:  # a constant says how many items there are
            return program, 1
        if any(part.outputs[name].shape != (items, *item.shape[1:]) for name, item in program.outputs.items()):
            return program, 1
        return self._placed(part), batch_size // items

    # running ---------------------------------------------------------------------------------------------------------

    def run(self, feeds: Mapping[str, Any] | np.ndarray, out: Arrays | None = None) -> Arrays:
        """Infer: ``{output name: array}`` for ``{input name: array}`` (or one array for one input).

        The arrays are new unless ``out`` gives arrays to write into; then nothing is allocated. Raises ``InputError``.
        """
        plan = self._plan
        if plan is None or plan.is_stale:
            self._require_free()
            plan = self._follow_parameters()
        if plan is None:
            return _given_out(self._run_segments(feeds), out)
        if self._is_streaming:
            self._require_free()
        arrays = as_they_are(feeds, plan.wanted)
        if arrays is None:
            self._load(plan, named(self.network, feeds))
        else:
            plan.take(arrays)
        plan.run("forward")
        return {name: give() for name, give in plan.givers.items()} if out is None else self._results(plan, out)

    def _run_segments(self, feeds: Mapping[str, Any] | np.ndarray) -> dict[str, Any]:
        arrays = None if self._wanted is None else as_they_are(feeds, self._wanted)
        is_known = arrays is not None
        if arrays is None:
            checked = named(self.network, feeds)
            check_shapes(self.network, checked, self.shapes)
            arrays = list(checked.values())
        before = silence()
        try:
            return self._segments.run(arrays, is_known=is_known)
        finally:
            restore(before)

    def stream(self, batches: Iterable[Mapping[str, Any] | np.ndarray]) -> Iterator[Arrays]:
        """What ``run`` gives for each of ``batches``, one after another.

        On a device the copies of one batch go on while another is computed: the next batch is read, checked and sent
        ahead before the results of the last one are handed out. Until the iterator ends or is closed, the context runs
        nothing else. Raises what ``run`` raises.
        """
        plan = self._plan
        if plan is None or not plan.is_streamed:
            return map(self.run, batches)
        return self._streamed(plan, batches)

    def _streamed(self, plan: Plan, batches: Iterable[Mapping[str, Any] | np.ndarray]) -> Iterator[Arrays]:
        self._require_free()
        self._is_streaming, is_pending = True, False
        try:
            for feeds in batches:
                if plan.is_stale:
                    if is_pending:
                        yield self._fetched(plan)
                        is_pending = False
                    plan.settle()
                    plan = self._follow_parameters() or plan
                if self._plan is None or not plan.is_streamed:  # as a number has become that the program is made of
                    self._is_streaming = False
                    alone = self.run(feeds)
                    self._is_streaming = True
                    yield alone
                    continue
                arrays = named(self.network, feeds)
                check_shapes(self.network, arrays, self.shapes)
                plan.send_ahead(arrays)
                if plan.launch("forward"):
                    found = [self._fetched(plan)] if is_pending else []
                    plan.fetch("forward")
                    is_pending = True
                    yield from found
                else:  # the first time, or while times are taken
                    plan.run("forward")
                    yield self._results(plan, None)
            if is_pending:
                yield self._fetched(plan)
        finally:
            plan.settle()
            self._is_streaming = False

    def _fetched(self, plan: Plan) -> Arrays:
        plan.fetched()
        return self._results(plan, None)

    def _require_free(self) -> None:
        if self._is_streaming:
            raise GraphError(
                "This context is in the midst of stream(...), whose results a run would overwrite. Exhaust or close "
                "its iterator, or build another context."
            )

    def forward(self, feeds: Mapping[str, Any] | np.ndarray) -> Arrays:
        """Only with ``training=True``; see ``TrainingContext``."""
        raise GraphError("forward and backward need a context built with training=True.")

    def backward(self, grads: Mapping[str, np.ndarray]) -> dict[str, Arrays]:
        """Only with ``training=True``; see ``TrainingContext``."""
        raise GraphError("forward and backward need a context built with training=True.")

    def _load(self, plan: Plan, arrays: Arrays) -> None:
        check_shapes(self.network, arrays, self.shapes)
        plan.refresh()
        plan.load(arrays)

    def _results(self, plan: Plan, out: Arrays | None) -> Arrays:
        found = {name: array for name, array in plan.output_arrays.items() if name in self.network.outputs}
        return {name: array.copy() for name, array in found.items()} if out is None else _given_out(found, out)

    # reports ---------------------------------------------------------------------------------------------------------

    def profile(self, enabled: bool = True) -> None:
        """Record the time of every step of the runs that follow; ``explain`` shows the medians."""
        self.is_profiled = enabled
        if self._plan is not None:
            self._plan.profile(enabled)

    def explain(self) -> Explanation:
        """Per step: layer, operator, backend, kernel, what was fused into it, bytes, and time if profiled.

        Where data decides what is executed, the segments of the latest run are shown in turn.
        """
        return explain(self._plan) if self._plan is not None else explain_segments(self._segments.path())

    @property
    def arena_nbytes(self) -> int:
        """Bytes of activations, gradients and workspaces."""
        return self.explain().arena_nbytes if self._plan is None else self._plan.arena_nbytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shapes}, {'/'.join(backend.name for backend in self._backends)})"


def _given_out(found: dict[str, Any], out: Arrays | None) -> dict[str, Any]:
    """``found``, or ``out`` filled with it."""
    if out is None:
        return found
    for name, value in found.items():
        if name not in out:
            raise InputError(f"out= needs an array for every output {list(found)}, {name!r} is missing.")
        if not isinstance(value, np.ndarray) or value.shape != out[name].shape:
            shape = value.shape if isinstance(value, np.ndarray) else type(value).__name__
            raise InputError(f"out= has {out[name].shape} for output {name!r}, which is {shape} on this data.")
        np.copyto(out[name], value)
    return out
