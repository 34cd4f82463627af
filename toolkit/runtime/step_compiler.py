"""How a training session compiles: programs are placed, made to fit the memory asked for, and become plans.

It decides nothing about what is trained, and runs nothing. What its steps keep lies in the session's one store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.autodiff import Rematerialise, rematerialise
from toolkit.backends.protocol import Backend, Resources, Step
from toolkit.compiler.limits import require_affordable
from toolkit.compiler.passes.precision import Precision
from toolkit.compiler.pipeline import compute_in
from toolkit.compiler.placement import place
from toolkit.compiler.program import Program
from toolkit.graph.network import Network
from toolkit.runtime.arrangement import Groups, Pins, arrange
from toolkit.runtime.cache import state_of
from toolkit.runtime.devices import Devices
from toolkit.runtime.plan import Plan
from toolkit.runtime.step_plan import StepPlan
from toolkit.runtime.store import Store
from toolkit.runtime.training_program import LOSS, TrainingProgram


class StepCompiler:
    """Compiles programs of one network, whose loss may be placed on ``loss_backends``, all lent ``resources``.

    ``rematerialised`` is what ``Trainer`` was asked for as ``rematerialise``.
    """

    def __init__(
        self,
        network: Network,
        backends: Sequence[Backend],
        loss_backends: Sequence[Backend] | None,
        resources: Resources,
        *,
        precision: Precision | None,
        rematerialised: Rematerialise,
    ) -> None:
        self._network, self._precision, self._rematerialised = network, precision, rematerialised
        self._backends, self._loss_backends = backends, loss_backends
        self._all = [*backends, *(loss_backends or ())]
        self._resources = resources
        self.devices = Devices(self._all, resources)
        self.store = Store(self.devices)

    def step(self, training: TrainingProgram) -> StepPlan:
        """The plan of a training step. Raises what the passes and the backends raise."""
        groups = [(group.parameters, group.slots) for group in training.groups]
        gradients = [pair for group in training.groups for pair in group.gradients()]
        self._save_memory(training.program, groups, gradients)
        self._place(training.program)
        options: dict[str, Any] = {"groups": groups, "gradients": gradients}
        plan = Plan(training.program, self._all, self._resources, packed=self._packed, store=self.store, **options)
        factors = [(group.rate, group.decay) for group in training.groups]
        return StepPlan(plan, training.trained, training.statistics, factors, self._guard(plan))

    def evaluation(self, program: Program, lent: Resources) -> Plan:
        """The plan of a program that changes nothing."""
        self._place(program)
        return Plan(program, self._all, lent, packed=self._packed)

    @property
    def _packed(self) -> Any:
        return state_of(self._network).packed

    def _place(self, program: Program) -> None:
        require_affordable(program)
        place(compute_in(program, self._precision, self._backends), self._backends, self._loss_backends)

    def _save_memory(self, program: Program, groups: Groups, gradients: Pins) -> None:
        """Rematerialise as was asked for, measured by what this session would need."""

        def measure(changed: Program) -> int:
            place(changed, self._backends, self._loss_backends)
            options: dict[str, Any] = {"groups": groups, "gradients": gradients}
            return arrange(changed, self._all, self._resources, store=self.store.imitation(), **options).nbytes

        layers = [leaf.path for leaf in self._network.graph.leaves]
        on_host = not self.devices.others
        rematerialise(program, self._rematerialised, measure, layers, on_host=on_host)

    def _guard(self, plan: Plan) -> list[Step] | None:
        """What stands between the passes of a plan and its update, where the results outlive that."""
        loss = plan.output_buffer(LOSS)
        if loss is None or not plan.keeps_outputs:
            return None
        return self.devices.guard([loss, *self.store.gradient_regions])
