"""The training session: one compiled step per batch size over one set of master parameters.

A step is forward, loss, backward and update in one plan. Parameters, gradients and optimizer state live in the
session's store, in the layout of the kernels, and the network's parameters are told that their newest content is there.
Nothing is updated by a step whose loss or gradients are not finite.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from toolkit.autodiff import Rematerialise, Shortfall, require_rematerialise, told
from toolkit.backends.registry import resolve
from toolkit.compiler.bind import bind
from toolkit.compiler.decisions import Decisions
from toolkit.compiler.passes.precision import RELAXED, precision_named
from toolkit.compiler.passes.straight_through import OFFERED
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.compiler.program import Program
from toolkit.compiler.training_choices import Asked, training_choices
from toolkit.errors import GraphError, NonFiniteLossError
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.runtime.context import resources
from toolkit.runtime.door import Door
from toolkit.runtime.explain import Explanation, explain
from toolkit.runtime.feeds import named, sizes
from toolkit.runtime.plan import Plan
from toolkit.runtime.scout import Scout, Sizes
from toolkit.runtime.step_compiler import StepCompiler
from toolkit.runtime.step_plan import LossScale, StepPlan, first_non_finite
from toolkit.runtime.step_result import Results, StepResult
from toolkit.runtime.training_program import (
    LOSS_SCALE,
    Labels,
    Loss,
    append_loss,
    label_arrays,
    training_program,
)
from toolkit.runtime.updates import Optimizer

Arrays = dict[str, np.ndarray]
PASSES = ("forward", "loss", "loss backward", "backward")  # what a step computes before it may update
UPDATE, ACCUMULATION = ("statistics", "update"), ("statistics", "accumulate")  # what it does with that


class TrainingSession:
    """Compiles and runs training steps; see the module's docstring.

    ``loss_backend`` places the loss elsewhere than the network. ``outputs`` limits what is computed and returned, all
    of the network's outputs by default. ``straight_through``, ``batch_statistics`` and ``rematerialise`` are those of
    ``Trainer``. ``shortfalls`` tells, once a step is compiled, which parameters with ``requires_grad`` get no gradient
    or not all of it. ``accumulates``: gradients are gathered until ``update``, ``gathered`` is their weight so far.
    ``loss_scale`` enlarges the gradients that are computed, not those that are used. Raises ``NotDifferentiableError``
    when no parameter gets a gradient.
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
        accumulates: bool = False,
        loss_scale: LossScale | None = None,
    ) -> None:
        narrow, rematerialised = precision_named(precision), require_rematerialise(rematerialise)
        self._asked = straight_through, batch_statistics
        training_choices(network, *self._asked)
        self.network, self.loss, self.optimizer = network, loss, optimizer
        is_strict = precision != RELAXED
        self._resources = resources(threads, seed, training=True, strict=is_strict)
        self._judging = resources(threads, seed, training=False, strict=is_strict)
        self.shortfalls: dict[str, Shortfall] = {}
        self.gathered = 0.0
        self._accumulates, self._loss_scale = accumulates, loss_scale
        self._is_factored = accumulates or loss_scale is not None
        self._last: StepPlan | None = None
        self._door: Door[StepPlan] = Door()
        self._last_key = ""
        self._coming: tuple[Mapping[str, Any], Labels] | None = None
        self._compiler = StepCompiler(
            network,
            resolve(backend),
            None if loss_backend is None else resolve(loss_backend),
            self._resources,
            precision=narrow,
            rematerialised=rematerialised,
        )
        self._devices, self._store = self._compiler.devices, self._compiler.store
        self._outputs = outputs
        self._plans: OrderedDict[Hashable, StepPlan] = OrderedDict()
        self._evaluations: OrderedDict[Hashable, Plan] = OrderedDict()
        self._scout = Scout(network, backend, threads, outputs)

    # the three things a session does ------------------------------------------------------------------------------

    def step(
        self, feeds: Mapping[str, Any] | np.ndarray, labels: Labels, step: int, *, weight: float = 1.0
    ) -> StepResult:
        """Train on one batch; it is the optimizer's ``step``, counted from 1.

        A session that accumulates gathers the batch's gradients instead, by its ``weight`` (the items that its loss is
        the mean of), until ``update``. Raises ``NonFiniteLossError`` naming the layer, before anything is updated.
        """
        scale = 1.0 if self._loss_scale is None else self._loss_scale.value
        plan = self._loaded(feeds, labels)
        roles = ACCUMULATION if self._accumulates else UPDATE

        def load_numbers() -> None:
            if self._accumulates:
                plan.load_weights(float(self.gathered > 0), weight / scale)
            else:
                plan.load_numbers(self.optimizer, step, 1.0 / scale if self._is_factored else None)

        if plan.guard is not None:
            load_numbers()
            is_finite = plan.plan.run_guarded(PASSES, plan.guard, roles)
            result = plan.results.taken()
        else:
            look = self._passes(plan)
            result, is_finite = plan.results.taken(), look()
        if not self._require_finite(plan, feeds, labels, result.loss, is_finite):
            self.gathered = 0.0
            return replace(result, is_skipped=True)
        if plan.guard is None:
            load_numbers()
            _launch(plan.plan, *roles)
        self._store.mark_written(plan.statistics if self._accumulates else plan.kept)
        plan.plan.synchronised()
        if self._accumulates:
            self.gathered, self._last = self.gathered + weight, plan
        return result

    @property
    def has_device(self) -> bool:
        """Whether a device beside the host takes part, to which batches may be sent ahead."""
        return bool(self._devices.others)

    def expect(self, feeds: Mapping[str, Any], labels: Labels) -> None:
        """Say which batch comes behind the next step: it goes to the device while that one is computed."""
        self._coming = feeds, labels

    def update(self, step: int) -> None:
        """Move the parameters by the weighted mean of what was gathered since the last time."""
        if self.gathered and self._last is not None:
            plan = self._last
            plan.load_numbers(self.optimizer, step, 1.0 / self.gathered)
            _launch(plan.plan, "update")
            self._store.mark_written(plan.kept)
            plan.plan.synchronised()
            self.gathered = 0.0

    def gradients(self, feeds: Mapping[str, Any] | np.ndarray, labels: Labels) -> Arrays:
        """The gradient of the mean loss for every parameter that learns; nothing is updated."""
        plan = self._loaded(feeds, labels)
        self._passes(plan)
        found = {item.name: self._devices.to_host(self._store.gradients[item]) for item in plan.trained}
        if self._loss_scale is not None:
            for grad in found.values():
                grad /= grad.dtype.type(self._loss_scale.value)
        return found

    def evaluate(self, feeds: Mapping[str, Any] | np.ndarray, labels: Labels | None = None) -> StepResult:
        """Inference semantics; the loss is computed where labels are given."""
        arrays = named(self.network, feeds)
        bound = sizes(self.network, arrays)

        def build(decisions: Decisions | None) -> Plan:
            program = optimise_for_inference(self._bind(bound, decisions), literal=False)
            if labels is not None:
                append_loss(program, self.loss, self.judged_outputs())
            return self._compiler.evaluation(program, self._judging)

        key = repr((bound, self.network.revision, labels is None))
        plan = self._scout.plan(self._evaluations, key, bound, arrays, build)
        plan.refresh()
        plan.load({**arrays, **label_arrays(labels)})
        plan.run("forward", "loss")
        return Results(plan).taken()

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
            f"{key[0]}/{key[1].name}": self._store.read(key) for key in self._store.buffers if isinstance(key, tuple)
        }

    def restore(self, state: Mapping[str, np.ndarray], feeds: Mapping[str, Any]) -> None:
        """Take over the state of another session, as far as it fits; ``feeds`` of any batch tell what to compile.

        What is new here begins with zeros.
        """
        self._plan_for(named(self.network, feeds), self._state_of_network())
        for key, buffer in self._store.buffers.items():
            if isinstance(key, tuple):
                saved = state.get(f"{key[0]}/{key[1].name}")
                if saved is not None and saved.shape == buffer.layout.shape:
                    self._store.write(key, saved)

    def kept(self, slot: str) -> dict[Parameter, np.ndarray]:
        """The content of a slot by parameter; empty before the first step or for a slot that is not kept."""
        keys = [key for key in self._store.buffers if isinstance(key, tuple) and key[0] == slot]
        return {key[1]: self._store.read(key) for key in keys}

    @property
    def random(self) -> np.random.Generator:
        """The generator behind Dropout."""
        return self._resources.random

    # compiling ----------------------------------------------------------------------------------------------------

    def _loaded(self, feeds: Mapping[str, Any] | np.ndarray, labels: Labels) -> StepPlan:
        """The plan for a batch, which lies where it is read."""
        state = self._state_of_network()
        passed = self._door.passed(feeds, state)
        if passed is None or not passed[0].settled.is_current():
            arrays = named(self.network, feeds)
            plan = self._plan_for(arrays, state)
        else:
            plan, arrays = passed
        plan.plan.refresh()
        plan.plan.load({**arrays, **label_arrays(labels)})
        if self._loss_scale is not None:
            plan.plan.input_arrays[LOSS_SCALE].fill(self._loss_scale.value)
        return plan

    def _passes(self, plan: StepPlan) -> Callable[[], bool]:
        """Everything before an update; returns what tells whether its gradients are finite."""
        looks: list[Callable[[], bool]] = []

        def meanwhile() -> None:
            looks.append(self._devices.finiteness(self._store.gradient_regions))
            self._send_ahead(plan)

        plan.plan.run(*PASSES, meanwhile=meanwhile)
        return looks[0]

    def _send_ahead(self, plan: StepPlan) -> None:
        """Let the batch that comes next cross while this one is computed, where it is of the same sizes."""
        coming, self._coming = self._coming, None
        if coming is not None:
            arrays = named(self.network, coming[0])
            if self._plan_key(arrays, self._state_of_network()) == self._last_key:
                plan.plan.send_ahead({**arrays, **label_arrays(coming[1])})

    def _plan_for(self, arrays: Arrays, state: Any) -> StepPlan:
        bound, key = sizes(self.network, arrays), self._plan_key(arrays, state)
        self._last_key = key
        plan = self._scout.plan(self._plans, key, bound, arrays, lambda decisions: self._build(bound, decisions))
        if self._plans.get(key) is plan:  # else the data of a batch decides which it is
            self._door.open(self.network, arrays, plan, state)
        else:
            self._door.close()
        return plan

    def _state_of_network(self) -> Any:
        """What a step depends on beside the sizes of its batch."""
        trained = [name for name, item in self.network.parameters.items() if item.requires_grad]
        return trained, self.network.revision, training_choices(self.network, *self._asked)

    def _plan_key(self, arrays: Arrays, state: Any) -> str:
        return repr((sizes(self.network, arrays), *state))

    def _bind(self, bound: Sizes, decisions: Decisions | None) -> Program:
        return bind(self.network, *bound, outputs=self._outputs, decisions=decisions)

    def judged_outputs(self) -> tuple[str, ...]:
        """The names of the outputs that the loss judges. Raises ``GraphError`` when that is not clear."""
        return self.loss.judged(list(self.network.outputs))

    def _build(self, bound: Sizes, decisions: Decisions | None) -> StepPlan:
        choices = training_choices(self.network, *self._asked)
        judged = self.judged_outputs()
        step = training_program(
            self._bind(bound, decisions),
            self.loss,
            judged,
            self.optimizer,
            choices,
            accumulates=self._accumulates,
            scales=self._loss_scale is not None,
        )
        self._note(step.shortfalls)
        return self._compiler.step(step)

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

    def _require_finite(self, plan: StepPlan, feeds: Any, labels: Labels, loss: float | None, is_finite: bool) -> bool:
        """Whether the step may update; ``False`` where gradients overflowed by the loss scale alone."""
        scale = self._loss_scale
        if loss is not None and math.isfinite(loss):
            if is_finite:
                if scale is not None:
                    scale.succeeded()
                return True
            if scale is not None and scale.overflowed():
                return False
            what = "gradients that are not finite"
        else:
            what = f"a loss of {loss}"
        plan.plan.settle()
        plan.plan.load({**named(self.network, feeds), **label_arrays(labels)})
        where = first_non_finite(plan.plan, PASSES)
        raise NonFiniteLossError(
            f"This batch gives {what}; the first layer whose values are not finite is {where}. Nothing was updated. "
            "Check the batch for NaN, or lower the learning rate."
        )


def _rounds(shortfall: Shortfall) -> bool:
    """Whether a straight-through estimator would give what is missing."""
    return any(stop.operator in OFFERED for stop in shortfall.stops)


def _launch(plan: Plan, *roles: str) -> None:
    """Run what nobody waits for: a device is still at it when the next batch is prepared."""
    if not plan.launch(*roles):
        plan.run(*roles)
