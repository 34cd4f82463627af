"""The training context: forward and backward passes by hand, for whoever writes a training loop of their own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.autodiff import (
    Rematerialise,
    Shortfall,
    differentiate,
    expand_gradients,
    rematerialise,
    require_rematerialise,
)
from toolkit.backends.protocol import HOST
from toolkit.compiler.bind import bind
from toolkit.compiler.decisions import Decisions
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.training_choices import Asked, training_choices
from toolkit.compiler.training_pipeline import prepare_for_training, tidy_after_differentiation
from toolkit.errors import DataDependentShapeError, GraphError, InputError
from toolkit.graph.network import Network
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.runtime.arrangement import arrange
from toolkit.runtime.context import Arrays, Context
from toolkit.runtime.feeds import check_shapes, named
from toolkit.runtime.plan import Plan
from toolkit.runtime.scout import Scout

Judged = tuple[str, ...]


class TrainingContext(Context):
    """``forward`` and ``backward`` with training semantics: live Dropout, batch statistics where the file has them.

    - ``input_gradients``: the inputs whose gradients ``backward`` gives: all, none (``False``), or those named. What
      leads only to others is not computed.
    - ``straight_through``, ``batch_statistics``, ``rematerialise``: as in ``Trainer``.

    The other options are those of ``Context``. Where data decides what is executed, the passes follow the batch of the
    latest ``forward``.
    """

    is_training = True

    def __init__(
        self,
        network: Network,
        batch_size: int | None = None,
        *,
        backend: str | Sequence[str] = "cpu",
        threads: int | None = None,
        outputs: Sequence[str] | None = None,
        input_gradients: bool | Sequence[str] = True,
        straight_through: Asked = None,
        batch_statistics: str | None = None,
        rematerialise: Rematerialise = None,
        **options: Any,
    ) -> None:
        self._rematerialise = require_rematerialise(rematerialise)
        self._asked = straight_through, batch_statistics
        self._input_gradients = _chosen(network, input_gradients)
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self._shortfalls: dict[Judged, dict[str, Shortfall]] = {}
        self._feeds: Arrays | None = None
        self._is_spent = False
        self._scout = Scout(network, backend, threads, outputs)
        self._judged: Judged = tuple(
            name for name in (network.outputs if outputs is None else outputs) if _is_float(network, name)
        )
        super().__init__(network, batch_size, backend=backend, threads=threads, outputs=outputs, **options)

    # building --------------------------------------------------------------------------------------------------------

    def _prepared(self) -> Plan | None:
        try:
            made = self._plans[self._judged] = self._build(self._judged, None)
        except DataDependentShapeError:
            return None  # the first batch tells
        return made

    def _build(self, judged: Judged, decisions: Decisions | None) -> Plan:
        """Forward, and backward for gradients of the ``judged`` outputs."""
        program = bind(self.network, self.batch_size, self._dims, outputs=self._outputs, decisions=decisions)
        choices = training_choices(self.network, *self._asked)
        program = self._differentiated(prepare_for_training(expand_gradients(program), choices), judged)
        layers = [leaf.path for leaf in self.network.graph.leaves]
        on_host = all(backend.device == HOST for backend in self._backends)
        rematerialise(program, self._rematerialise, self._measured, layers, on_host=on_host)
        return self.compile(program)

    def _measured(self, program: Program) -> int:
        """Bytes of the arena that a program takes."""
        place(program, self._backends)
        return arrange(program, self._backends, self.resources).nbytes

    def _differentiated(self, program: Program, judged: Judged) -> Program:
        seeds: dict[Variable, Variable] = {}
        for name in judged:
            output = program.outputs[name]
            seed = program.inputs[f"gradient of {name}"] = Variable(f"gradient of {name}", output.dtype, output.shape)
            if output in seeds:  # outputs that compute the same have become one
                program.role, program.layer = "backward", name
                seed = program.append("Add", [seeds[output], seed], {}, version=14).y
                program.role, program.layer = "forward", ""
            seeds[output] = seed
        wrt = {f"inputs {name}": program.inputs[name] for name in self._input_gradients}
        wrt.update((f"parameters {item.parameter.name}", item) for item in program.trainable() if item.parameter)
        grads = differentiate(program, seeds, wrt.values())
        missing = grads.shortfalls()
        self._shortfalls[judged] = {name: missing[item] for name, item in wrt.items() if item in missing}
        program.outputs.update((name, grads[item]) for name, item in wrt.items() if item in grads)
        return tidy_after_differentiation(program)

    def _plan_for(self, judged: Judged, arrays: Arrays) -> Plan:
        sizes = (self.batch_size, self._dims)
        return self._scout.plan(self._plans, judged, sizes, arrays, lambda decisions: self._build(judged, decisions))

    # running ---------------------------------------------------------------------------------------------------------

    def run(self, feeds: Mapping[str, Any] | np.ndarray, out: Arrays | None = None) -> Arrays:
        """Only without training: evaluate in a context of its own."""
        raise GraphError("This is a training context: call forward and backward, or build one with training=False.")

    def forward(self, feeds: Mapping[str, Any] | np.ndarray) -> Arrays:
        """The outputs with training semantics; what ``backward`` needs is kept until the next call."""
        arrays = named(self.network, feeds)
        check_shapes(self.network, arrays, self.shapes)
        self._plan = self._plan_for(self._judged, arrays)
        self._feeds = {name: array.copy() for name, array in arrays.items()}
        self._random_state = self.resources.random.bit_generator.state
        self._load(self._plan, arrays)
        self._plan.run("forward")
        self._is_spent = False
        return self._results(self._plan, None)

    def backward(self, grads: Mapping[str, np.ndarray]) -> dict[str, Arrays]:
        """Gradients for given gradients of outputs, any subset of them.

        Returns ``{"inputs": {...}, "parameters": {...}}`` with the entries that a gradient leads to. Raises
        ``GraphError`` without a ``forward`` before, ``InputError`` for unknown outputs or shapes.
        """
        if self._feeds is None or self._plan is None:
            raise GraphError("backward needs a forward before it: it differentiates what forward has computed.")
        judged = tuple(name for name in self._plan.outputs if name in grads)
        allowed = [
            name for name in self.network.outputs if name in self._plan.outputs and _is_float(self.network, name)
        ]
        if not grads or any(name not in allowed for name in grads):
            raise InputError(f"Gradients can be given for {allowed}, got {list(grads)}.")
        plan = self._switch(judged)
        for name, grad in grads.items():
            target = plan.input_arrays[f"gradient of {name}"]
            given = np.asarray(grad, dtype=target.dtype)
            if given.shape != target.shape:
                raise InputError(f"The gradient of output {name!r} must be {target.shape}, got {given.shape}.")
            np.copyto(target, given)
        self._is_spent = True
        plan.run("backward")
        found: dict[str, Arrays] = {"inputs": {}, "parameters": {}}
        for key, array in plan.output_arrays.items():
            kind, _, name = key.partition(" ")
            if kind in found and key not in self.network.outputs:
                found[kind][name] = array.copy()
        return found

    @property
    def shortfalls(self) -> dict[str, Shortfall]:
        """What ``backward`` cannot give, or not completely, and why: by ``inputs NAME`` and ``parameters NAME``."""
        return self._shortfalls.get(self._judged, {})

    def _switch(self, judged: Judged) -> Plan:
        """The plan for this set of judged outputs, with the forward pass repeated as it was where need be.

        Another set has another plan; and a backward pass overwrites what the forward pass kept for it.
        """
        assert self._plan is not None
        assert self._feeds is not None
        if judged != self._judged or self._is_spent:
            if judged != self._judged or not self._plan.settled.is_current():
                self._plan, self._judged = self._plan_for(judged, self._feeds), judged
            self.resources.random.bit_generator.state = self._random_state
            self._load(self._plan, self._feeds)
            self._plan.run("forward")
        return self._plan


def _chosen(network: Network, wanted: bool | Sequence[str]) -> list[str]:
    """The names of the inputs whose gradients are wanted."""
    smooth = [name for name, value in network.inputs.items() if _is_smooth(value.dtype)]
    if isinstance(wanted, bool):
        return smooth if wanted else []
    for name in wanted:
        if name not in smooth:
            raise InputError(f"input_gradients names {name!r}; the floating-point inputs are {smooth}.")
    return list(wanted)


def _is_float(network: Network, name: str) -> bool:
    return name in network.outputs and _is_smooth(network.outputs[name].dtype)


def _is_smooth(dtype: np.dtype | None) -> bool:
    return dtype is not None and is_trainable_dtype(dtype)
