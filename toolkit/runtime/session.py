"""The training session: one compiled step per batch size over one set of master parameters.

A step is forward, loss, backward and update in one plan. Parameters, gradients and optimizer state live in the
session's store, in the layout of the kernels, and the network's parameters are told that their newest content is there.
Nothing is updated by a step whose loss or gradients are not finite.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.autodiff import Rematerialise, Shortfall, rematerialise, require_rematerialise, told
from toolkit.backends.protocol import Resources
from toolkit.backends.registry import resolve
from toolkit.compiler.bind import bind
from toolkit.compiler.decisions import Decisions
from toolkit.compiler.limits import require_affordable
from toolkit.compiler.passes.straight_through import OFFERED
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program
from toolkit.compiler.training_choices import Asked, training_choices
from toolkit.errors import GraphError, NonFiniteLossError
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.runtime.arrangement import Groups, Pins, arrange
from toolkit.runtime.cache import state_of
from toolkit.runtime.context import require_precision, resources
from toolkit.runtime.explain import Explanation, explain
from toolkit.runtime.feeds import named, sizes
from toolkit.runtime.plan import Plan
from toolkit.runtime.scout import Scout, Sizes
from toolkit.runtime.store import Store, converter, to_host
from toolkit.runtime.tensors import Task
from toolkit.runtime.training_program import (
    LOSS,
    Labels,
    Loss,
    Optimizer,
    append_loss,
    label_arrays,
    training_program,
)

Arrays = dict[str, np.ndarray]
PASSES = ("forward", "loss", "loss backward", "backward")  # what a step computes before it may update


@dataclass(frozen=True, slots=True)
class StepResult:
    """``loss`` is the mean over the real items of the batch (``None`` without labels), ``outputs`` the predictions.

    ``terms`` are the parts of the loss by name, unweighted; one that has no parts is its own, named ``""``.
    """

    loss: float | None
    outputs: Arrays
    terms: dict[str, float] = field(default_factory=dict)


class TrainingSession:
    """Compiles and runs training steps; see the module's docstring.

    ``loss_backend`` places the loss elsewhere than the network. ``outputs`` limits what is computed and returned, all
    of the network's outputs by default. ``straight_through``, ``batch_statistics`` and ``rematerialise`` are those of
    ``Trainer``. ``shortfalls`` tells, once a step is compiled, which parameters with ``requires_grad`` get no gradient
    or not all of it. Raises ``NotDifferentiableError`` when none gets one.
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        optimizer: Optimizer,
        *,
        backend: str | Sequence[str] = "cpu",
        loss_backend: str | Sequence[str] | None = None,
        threads: int | None = None,
        precision: str = "float32",
        seed: int = 0,
        outputs: Sequence[str] | None = None,
        straight_through: Asked = None,
        batch_statistics: str | None = None,
        rematerialise: Rematerialise = None,
    ) -> None:
        require_precision(precision)
        self._rematerialise = require_rematerialise(rematerialise)
        self._asked = straight_through, batch_statistics
        training_choices(network, *self._asked)
        self.network, self.loss, self.optimizer = network, loss, optimizer
        self._backends = resolve(backend)
        self._loss_backends = None if loss_backend is None else resolve(loss_backend)
        self._resources = resources(threads, seed, training=True)
        self._judging = resources(threads, seed, training=False)
        self.shortfalls: dict[str, Shortfall] = {}
        self._store = Store()
        self._outputs = outputs
        self._plans: OrderedDict[Hashable, _StepPlan] = OrderedDict()
        self._evaluations: OrderedDict[Hashable, Plan] = OrderedDict()
        self._scout = Scout(network, backend, threads, outputs)
        self._convert = converter(self._backends[0], self._resources)

    # the three things a session does ------------------------------------------------------------------------------

    def step(self, feeds: Mapping[str, Any] | np.ndarray, labels: Labels, scalars: np.ndarray) -> StepResult:
        """Train on one batch; ``scalars`` are the optimizer's numbers for this step.

        Raises ``NonFiniteLossError`` naming the layer, before anything is updated.
        """
        plan = self._forward_backward(feeds, labels)
        result = _result(plan.plan)
        self._require_finite(plan, feeds, labels, result.loss)
        plan.load_scalars(scalars)
        plan.plan.run("update")
        self._store.mark_written(plan.kept, self._convert)
        plan.plan.synchronised()
        return result

    def gradients(self, feeds: Mapping[str, Any] | np.ndarray, labels: Labels) -> Arrays:
        """The gradient of the mean loss for every parameter that learns; nothing is updated."""
        plan = self._forward_backward(feeds, labels)
        grads = self._store.gradients
        return {item.name: to_host(grads[item], self._convert) for item in plan.trained}

    def evaluate(self, feeds: Mapping[str, Any] | np.ndarray, labels: Labels | None = None) -> StepResult:
        """Inference semantics; the loss is computed where labels are given."""
        arrays = named(self.network, feeds)
        bound = sizes(self.network, arrays)

        def build(decisions: Decisions | None) -> Plan:
            program = optimise_for_inference(self._bind(bound, decisions), literal=False)
            if labels is not None:
                append_loss(program, self.loss, self.judged_outputs())
            return self._compile(program, self._judging)

        key = repr((bound, self.network.revision, labels is None))
        plan = self._scout.plan(self._evaluations, key, bound, arrays, build)
        plan.refresh()
        _load(plan, arrays, labels)
        plan.run("forward", "loss")
        return _result(plan)

    def explain(self) -> Explanation:
        """The steps of the plan compiled last. Raises ``GraphError`` before the first step."""
        if not self._plans:
            raise GraphError("Nothing is compiled yet: run one step first.")
        return explain(list(self._plans.values())[-1].plan)

    def profile(self, enabled: bool = True) -> None:
        """Record the time of every step of the runs that follow."""
        for item in self._plans.values():
            item.plan.profile(enabled)

    # state --------------------------------------------------------------------------------------------------------

    def state(self) -> Arrays:
        """What the optimizer remembers, as ``{"slot/parameter": array}``, for a checkpoint."""
        return {
            f"{key[0]}/{key[1].name}": self._store.read(key, self._convert)
            for key in self._store.buffers
            if isinstance(key, tuple)
        }

    def restore(self, state: Mapping[str, np.ndarray], feeds: Mapping[str, Any], labels: Labels) -> None:
        """Take over the state of another session; ``feeds`` and ``labels`` of any batch tell what to compile."""
        self._plan_for(named(self.network, feeds))
        for key in self._store.buffers:
            if isinstance(key, tuple):
                name = f"{key[0]}/{key[1].name}"
                if name not in state:
                    raise GraphError(
                        f"The saved optimizer state lacks {name!r}: it belongs to another optimizer or network."
                    )
                self._store.write(key, state[name], self._convert)

    @property
    def random(self) -> np.random.Generator:
        """The generator behind Dropout."""
        return self._resources.random

    # compiling ----------------------------------------------------------------------------------------------------

    def _forward_backward(self, feeds: Mapping[str, Any] | np.ndarray, labels: Labels) -> _StepPlan:
        arrays = named(self.network, feeds)
        plan = self._plan_for(arrays)
        plan.plan.refresh()
        _load(plan.plan, arrays, labels)
        plan.plan.run(*PASSES)
        return plan

    def _plan_for(self, arrays: Arrays) -> _StepPlan:
        bound = sizes(self.network, arrays)
        trained = tuple(name for name, item in self.network.parameters.items() if item.requires_grad)
        key = repr((bound, trained, self.network.revision, training_choices(self.network, *self._asked)))
        return self._scout.plan(self._plans, key, bound, arrays, lambda decisions: self._build(bound, decisions))

    def _bind(self, bound: Sizes, decisions: Decisions | None) -> Program:
        return bind(self.network, *bound, outputs=self._outputs, decisions=decisions)

    def judged_outputs(self) -> tuple[str, ...]:
        """The names of the outputs that the loss judges. Raises ``GraphError`` when that is not clear."""
        return self.loss.judged(list(self.network.outputs))

    def _build(self, bound: Sizes, decisions: Decisions | None) -> _StepPlan:
        choices = training_choices(self.network, *self._asked)
        judged = self.judged_outputs()
        step = training_program(self._bind(bound, decisions), self.loss, judged, self.optimizer, choices)
        self._note(step.shortfalls)
        groups = [(group.parameters, group.slots) for group in step.groups]
        gradients = [pair for group in step.groups for pair in group.gradients()]
        self._save_memory(step.program, groups, gradients)
        plan = self._compile(step.program, self._resources, groups, gradients)
        return _StepPlan(plan, step.trained, step.kept, [group.multiplier for group in step.groups])

    def _save_memory(self, program: Program, groups: Groups, gradients: Pins) -> None:
        """Rematerialise as was asked for, measured by what this session would need."""
        backends = [*self._backends, *(self._loss_backends or ())]

        def measure(changed: Program) -> int:
            place(changed, self._backends, self._loss_backends)
            store = self._store.imitation()
            return arrange(changed, backends, self._resources, store=store, groups=groups, gradients=gradients).nbytes

        layers = [leaf.path for leaf in self.network.graph.leaves]
        rematerialise(program, self._rematerialise, measure, layers)

    def _compile(self, program: Program, lent: Resources, groups: Any = (), gradients: Any = ()) -> Plan:
        require_affordable(program)
        place(program, self._backends, self._loss_backends)
        store = self._store if lent is self._resources else None
        packed = state_of(self.network).packed
        backends = [*self._backends, *(self._loss_backends or ())]
        return Plan(program, backends, lent, packed=packed, store=store, groups=groups, gradients=gradients)

    # watching -----------------------------------------------------------------------------------------------------

    def _note(self, shortfalls: dict[str, Shortfall]) -> None:
        """Keep what gradients lack, and warn of what was not known so far and is not zero by nature, or by rounding."""
        fresh = {
            name: found
            for name, found in shortfalls.items()
            if self.shortfalls.get(name) != found and (not found.is_exact or _rounds(found))
        }
        self.shortfalls = shortfalls
        if fresh:
            warnings.warn(
                f"Of the parameters that should learn, {len(fresh)} lack a gradient or a part of it. {told(fresh)}. "
                "The others learn; freeze these, or judge another output.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _require_finite(self, plan: _StepPlan, feeds: Any, labels: Labels, loss: float | None) -> None:
        if loss is not None and np.isfinite(loss):
            if all(np.isfinite(np.add.reduce(region)) for region in self._store.gradient_regions):
                return
            what = "gradients that are not finite"
        else:
            what = f"a loss of {loss}"
        _load(plan.plan, named(self.network, feeds), labels)
        where = _first_non_finite(plan.plan)
        raise NonFiniteLossError(
            f"This batch gives {what}; the first layer whose values are not finite is {where}. Nothing was updated. "
            "Check the batch for NaN, or lower the learning rate."
        )


@dataclass(frozen=True)
class _StepPlan:
    plan: Plan
    trained: list[Parameter]
    kept: list[Parameter]
    multipliers: list[float]

    def load_scalars(self, scalars: np.ndarray) -> None:
        """Hand the optimizer's numbers to each group, the learning rate (the first) scaled by its multiplier."""
        for index, rate in enumerate(self.multipliers):
            target = self.plan.input_arrays[f"scalars {index}"]
            target[:] = scalars
            target[0] *= rate


def _rounds(shortfall: Shortfall) -> bool:
    """Whether a straight-through estimator would give what is missing."""
    return any(stop.operator in OFFERED for stop in shortfall.stops)


def _load(plan: Plan, arrays: Mapping[str, np.ndarray], labels: Labels | None) -> None:
    for name, array in arrays.items():
        if name in plan.input_arrays:
            np.copyto(plan.input_arrays[name], array)
    for name, array in label_arrays(labels).items():
        np.copyto(plan.input_arrays[name], array, casting="same_kind")


def _result(plan: Plan) -> StepResult:
    found = plan.output_arrays
    outputs = {name: array.copy() for name, array in found.items() if not name.startswith(LOSS)}
    if LOSS not in found:
        return StepResult(None, outputs)
    loss, prefix = _number(found[LOSS]), f"{LOSS}."
    terms = {name.removeprefix(prefix): _number(array) for name, array in found.items() if name.startswith(prefix)}
    return StepResult(loss, outputs, terms or {"": loss})


def _number(array: np.ndarray) -> float:
    return float(array.reshape(-1)[0])


def _first_non_finite(plan: Plan) -> str:
    """Execute once more, step by step, up to the first one that writes NaN or infinity."""
    found: list[str] = []

    def look(task: Task) -> bool:
        written = [array for array in plan.output_bytes(task) if array.dtype.kind == "f"]
        if not all(np.isfinite(array).all() for array in written):
            found.append(f"{task.operator} {task.layer!r}")
        return bool(found)

    plan.observe(PASSES, look)
    return found[0] if found else "unknown"
