"""The context: one way of invoking a network. It binds every size, a backend and a mode, and owns all memory of a run.

Contexts of different batch sizes share the network's parameters, and packed forms of them where they agree. A context
is not thread-safe: make one per thread.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.autodiff import differentiate
from toolkit.backends.protocol import Resources
from toolkit.backends.registry import resolve
from toolkit.compiler.bind import bind
from toolkit.compiler.pipeline import optimise_for_inference, prepare_for_training, tidy_after_differentiation
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program, Variable
from toolkit.errors import BackendError, GraphError, InputError
from toolkit.graph.network import Network
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.runtime.cache import state_of
from toolkit.runtime.explain import Explanation, explain
from toolkit.runtime.feeds import check_shapes, named
from toolkit.runtime.plan import Plan

Arrays = dict[str, np.ndarray]


def resources(threads: int | None, seed: int, training: bool) -> Resources:
    """What kernels are lent; ``threads=None`` takes every processor this process may use."""
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}.")
    return Resources(threads or available_cores(), seed, training)


def available_cores() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_precision(precision: str) -> None:
    """Raise ``BackendError`` for precisions that no backend offers yet."""
    if precision != "float32":
        raise BackendError(f"precision must be 'float32', got {precision!r}: no backend offers another one yet.")


class Context:
    """A compiled way of running a network.

    - ``batch_size``: items per run; ``None`` only for networks that fix it.
    - ``backend``: a name or a preference list; layers go to the first backend that has a kernel.
    - ``dims``: sizes of the other symbolic dimensions by name.
    - ``training``: ``forward`` and ``backward`` with training semantics (live Dropout, batch statistics where the file
      is in training form) instead of ``run``.
    - ``threads``: processors to use, all by default; ``seed`` feeds the random operators of this context.
    - ``outputs``: compute only these.

    Raises ``InputError``, ``UnsupportedOperatorError``, ``ShapeError`` or ``BackendError`` while it is built.
    """

    def __init__(
        self,
        network: Network,
        batch_size: int | None = None,
        *,
        backend: str | Sequence[str] = "cpu",
        dims: Mapping[str, int] | None = None,
        training: bool = False,
        threads: int | None = None,
        precision: str = "float32",
        seed: int = 0,
        outputs: Sequence[str] | None = None,
    ) -> None:
        require_precision(precision)
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}.")
        self.network = network
        self.batch_size = batch_size
        self.training = training
        self._backends = resolve(backend)
        self._dims = dict(dims or {})
        self._resources = resources(threads, seed, training)
        self._outputs = outputs
        self._feeds: Arrays | None = None
        self._judged = self._default_judged() if training else ()
        self._plans: dict[tuple[str, ...], Plan] = {}
        program = self._program(self._judged)
        self.shapes = {name: item.shape for name, item in program.inputs.items() if name in network.inputs}
        self._plan = self._compile(program)
        self._plans[self._judged] = self._plan

    # building --------------------------------------------------------------------------------------------------------

    def _program(self, judged: tuple[str, ...]) -> Program:
        program = bind(self.network, self.batch_size, self._dims, outputs=self._outputs)
        if not self.training:
            return optimise_for_inference(program)
        return self._differentiated(prepare_for_training(program), judged)

    def _default_judged(self) -> tuple[str, ...]:
        names = self._outputs or list(self.network.outputs)
        return tuple(name for name in names if _is_float(self.network, name))

    def _differentiated(self, program: Program, judged: tuple[str, ...]) -> Program:
        """Append the backward pass for gradients of ``judged`` outputs."""
        seeds: dict[Variable, Variable] = {}
        for name in judged:
            output = program.outputs[name]
            seeds[output] = program.inputs[f"gradient of {name}"] = Variable(
                f"gradient of {name}", output.dtype, output.shape
            )
        inputs = {name: item for name, item in program.inputs.items() if name in self.network.inputs}
        wrt = {f"inputs {name}": item for name, item in inputs.items() if is_trainable_dtype(item.dtype)}
        wrt.update((f"parameters {item.name}", item) for item in program.trainable())
        grads = differentiate(program, seeds, wrt.values())
        program.outputs.update((name, grads[item]) for name, item in wrt.items() if item in grads)
        return tidy_after_differentiation(program)

    def _compile(self, program: Program) -> Plan:
        place(program, self._backends)
        return Plan(program, self._backends, self._resources, packed=state_of(self.network).packed)

    # running ---------------------------------------------------------------------------------------------------------

    def run(self, feeds: Mapping[str, Any] | np.ndarray, out: Arrays | None = None) -> Arrays:
        """Infer: ``{output name: array}`` for ``{input name: array}`` (or one array for one input).

        The arrays are new unless ``out`` gives arrays to write into; then nothing is allocated. Raises ``InputError``.
        """
        if self.training:
            raise GraphError("This is a training context: call forward and backward, or build one with training=False.")
        self._load(named(self.network, feeds))
        self._plan.run("forward")
        return self._results(self._plan, out)

    def forward(self, feeds: Mapping[str, Any] | np.ndarray) -> Arrays:
        """The outputs with training semantics; what ``backward`` needs is kept until the next call."""
        if not self.training:
            raise GraphError("forward and backward need a context built with training=True.")
        arrays = named(self.network, feeds)
        self._load(arrays)
        self._feeds = {name: array.copy() for name, array in arrays.items()}
        self._random_state = self._resources.random.bit_generator.state
        self._plan.run("forward")
        return self._results(self._plan, None)

    def backward(self, grads: Mapping[str, np.ndarray]) -> dict[str, Arrays]:
        """Gradients for given gradients of outputs, any subset of them.

        Returns ``{"inputs": {...}, "parameters": {...}}`` with the entries that a gradient leads to. Raises
        ``GraphError`` without a ``forward`` before, ``InputError`` for unknown outputs or shapes.
        """
        if self._feeds is None:
            raise GraphError("backward needs a forward before it: it differentiates what forward has computed.")
        judged = tuple(name for name in self._plan.outputs if name in grads)
        unknown = [name for name in grads if name not in judged or not _is_float(self.network, name)]
        if unknown or not grads:
            raise InputError(f"Gradients can be given for {list(self._default_judged())}, got {list(grads)}.")
        self._switch(judged)
        for name, grad in grads.items():
            target = self._plan.input_arrays[f"gradient of {name}"]
            given = np.asarray(grad, dtype=target.dtype)
            if given.shape != target.shape:
                raise InputError(f"The gradient of output {name!r} must be {target.shape}, got {given.shape}.")
            np.copyto(target, given)
        self._plan.run("backward")
        found: dict[str, Arrays] = {"inputs": {}, "parameters": {}}
        for key, array in self._plan.output_arrays.items():
            kind, _, name = key.partition(" ")
            if kind in found and key not in self.network.outputs:
                found[kind][name] = array.copy()
        return found

    def _switch(self, judged: tuple[str, ...]) -> None:
        """Use the plan for this set of judged outputs; another set repeats the forward pass as it was."""
        if judged == self._judged:
            return
        if judged not in self._plans:
            self._plans[judged] = self._compile(self._program(judged))
        self._plan, self._judged = self._plans[judged], judged
        assert self._feeds is not None
        self._resources.random.bit_generator.state = self._random_state
        self._load(self._feeds)
        self._plan.run("forward")

    def _load(self, arrays: Arrays) -> None:
        check_shapes(self.network, arrays, self.shapes)
        self._plan.refresh()
        for name, target in self._plan.input_arrays.items():
            if name in arrays:
                np.copyto(target, arrays[name])

    def _results(self, plan: Plan, out: Arrays | None) -> Arrays:
        names = [name for name in plan.outputs if name in self.network.outputs]
        if out is None:
            return {name: plan.output_arrays[name].copy() for name in names}
        for name in names:
            if name not in out:
                raise InputError(f"out= needs an array for every output {names}, {name!r} is missing.")
            np.copyto(out[name], plan.output_arrays[name])
        return out

    # reports ---------------------------------------------------------------------------------------------------------

    def profile(self, enabled: bool = True) -> None:
        """Record the time of every step of the runs that follow; ``explain`` shows the medians."""
        self._plan.profile(enabled)

    def explain(self) -> Explanation:
        """Per step: layer, operator, backend, kernel, what was fused into it, bytes, and time if profiled."""
        return explain(self._plan)

    @property
    def arena_nbytes(self) -> int:
        """Bytes of activations, gradients and workspaces."""
        return self._plan.arena_nbytes

    def __repr__(self) -> str:
        mode = "training" if self.training else "inference"
        return f"Context({mode}, {self.shapes}, {'/'.join(backend.name for backend in self._backends)})"


def _is_float(network: Network, name: str) -> bool:
    dtype = network.outputs[name].dtype
    return name in network.outputs and dtype is not None and is_trainable_dtype(dtype)
