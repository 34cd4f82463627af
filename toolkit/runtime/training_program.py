"""The program of a training step: forward, loss, backward and update in one graph.

Everything is written with expressions and differentiated like any other program, so losses and optimizers exist once
for all backends. What an optimizer keeps becomes state of the program; what it changes, assignments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from toolkit.autodiff import Gradients, Shortfall, differentiate, expand_gradients, told
from toolkit.compiler.pipeline import prepare_for_training, tidy_after_differentiation
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.training_choices import TrainingChoices
from toolkit.errors import GraphError, NotDifferentiableError
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression


class Loss(Protocol):
    """What a session needs of a loss; ``toolkit.training.losses`` has them."""

    output: str | None

    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> tuple[np.dtype, tuple[int, ...]]: ...

    def build(self, output: Expression, labels: Expression) -> Expression: ...


class Optimizer(Protocol):
    """What a session needs of an optimizer; ``toolkit.training.optimizers`` has them."""

    operator: str
    attributes: dict[str, Any]
    slots: tuple[str, ...]

    def scalars(self, step: int) -> np.ndarray: ...


@dataclass
class UpdateGroup:
    """Parameters that one update node changes: those of one learning-rate multiplier."""

    node: Node
    parameters: list[Parameter]
    slots: tuple[str, ...]
    multiplier: float

    def gradients(self) -> list[tuple[Variable, Parameter]]:
        """The gradient that the node reads for each parameter."""
        first = 1 + len(self.parameters)
        read = self.node.inputs[first : first + len(self.parameters)]
        return [(item, owner) for item, owner in zip(read, self.parameters, strict=True) if item is not None]


@dataclass
class TrainingProgram:
    """A step: its update groups, and the running ``statistics`` that it moves besides.

    ``shortfalls`` tells by name which parameters with ``requires_grad`` get no gradient, or not all of it, and why.
    """

    program: Program
    groups: list[UpdateGroup] = field(default_factory=list)
    statistics: list[Parameter] = field(default_factory=list)
    shortfalls: dict[str, Shortfall] = field(default_factory=dict)

    @property
    def trained(self) -> list[Parameter]:
        return [item for group in self.groups for item in group.parameters]

    @property
    def kept(self) -> list[Parameter]:
        """Everything that a step changes."""
        return [*self.trained, *self.statistics]


def judged_output(network: Network, loss: Loss) -> str:
    """The name of the output that the loss judges. Raises ``GraphError`` when that is not clear."""
    names = list(network.outputs)
    if loss.output is None and len(names) == 1:
        return names[0]
    if loss.output not in names:
        raise GraphError(
            f"{type(loss).__name__}(output={loss.output!r}): the network has the outputs {names}. "
            "Name one of them with output=."
        )
    return loss.output


def append_loss(program: Program, loss: Loss, output_name: str) -> Variable:
    """Append the loss of an output to the program, as its output ``loss``, with the input ``labels``."""
    output = program.outputs[output_name]
    dtype, shape = loss.labels(output.dtype, output.shape)
    labels = program.inputs["labels"] = Variable("labels", dtype, shape)
    program.role, program.layer = "loss", type(loss).__name__
    value: Variable = loss.build(program.expression(output), program.expression(labels)).variable
    program.role, program.layer = "forward", ""
    program.outputs["loss"] = value
    return value


def training_program(
    program: Program, loss: Loss, output_name: str, optimizer: Optimizer, choices: TrainingChoices | None = None
) -> TrainingProgram:
    """Turn a bound program into a training step.

    Raises ``NotDifferentiableError`` when no gradient reaches anything that may learn.
    """
    prepare_for_training(expand_gradients(program), choices)
    value = append_loss(program, loss, output_name)
    statistics = [target.parameter for target, _ in program.assignments if target.parameter is not None]
    seed = program.constant(np.ones(value.shape, value.dtype)).variable
    grads = differentiate(program, {value: seed}, program.trainable())
    missing = shortfalls_by_name(grads)
    if not grads:
        raise NotDifferentiableError(_nothing_to_train(program, output_name, missing))
    made = TrainingProgram(program, statistics=statistics, shortfalls=missing)
    made.groups = _append_updates(program, grads, optimizer)
    tidy_after_differentiation(program)
    return made


def shortfalls_by_name(grads: Gradients) -> dict[str, Shortfall]:
    """What is missing of the gradients of parameters, by the name of the parameter."""
    return {item.parameter.name: found for item, found in grads.shortfalls().items() if item.parameter is not None}


def _nothing_to_train(program: Program, output_name: str, missing: Mapping[str, Shortfall]) -> str:
    """Why no parameter gets a gradient."""
    if missing:
        return (
            f"Nothing to train: no gradient leads from output {output_name!r} to a parameter. {told(missing)}. "
            "Judge another output, or replace what lies behind that layer."
        )
    read = {
        item.parameter.name: item.parameter for node in program.nodes for item in node.inputs if item and item.parameter
    }
    if not read:
        return (
            f"Nothing to train: output {output_name!r} depends on no parameter of floating-point numbers. "
            "Judge another output, or give the network a layer that learns, for example with replace_head."
        )
    weights = [name for name, item in read.items() if not item.role and not item.requires_grad]
    kinds = Counter(item.role.partition(" in ")[0] for item in read.values() if item.role)
    settings = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    if not weights:
        return (
            f"Nothing to train: of what output {output_name!r} depends on, nothing is a weight ({settings}). Judge "
            "another output, or train settings with network.select(...).unfreeze(settings=True)."
        )
    return (
        f"Nothing to train: no parameter with requires_grad leads to output {output_name!r}; {len(weights)} weights "
        "that are read are frozen. Unfreeze some with network.select(...).unfreeze(), or judge another output."
    )


def _append_updates(program: Program, grads: Mapping[Variable, Variable], optimizer: Optimizer) -> list[UpdateGroup]:
    """One update node per learning-rate multiplier; parameters and slots become assignments of the program."""
    by_rate: dict[float, list[Variable]] = {}
    for item in grads:
        assert item.parameter is not None
        by_rate.setdefault(item.parameter.learning_rate, []).append(item)
    program.role, program.layer = "update", type(optimizer).__name__
    groups = [
        _append_update(program, f"scalars {index}", rate, {item: grads[item] for item in parameters}, optimizer)
        for index, (rate, parameters) in enumerate(by_rate.items())
    ]
    program.role, program.layer = "forward", ""
    return groups


def _append_update(
    program: Program, scalars_name: str, rate: float, grads: Mapping[Variable, Variable], optimizer: Optimizer
) -> UpdateGroup:
    scalars = Variable(scalars_name, np.dtype(np.float32), optimizer.scalars(1).shape)
    program.inputs[scalars_name] = scalars
    states = [
        Variable(f"{slot} of {item.name}", item.dtype, item.shape, state=(slot, item.parameter))
        for slot in optimizer.slots
        for item in grads
    ]
    node = program.append(
        optimizer.operator,
        [scalars, *grads, *grads.values(), *states],
        {**optimizer.attributes, "count": len(grads)},
        domain=TOOLKIT_DOMAIN,
        outputs=len(grads) * (1 + len(optimizer.slots)),
    )
    pairs = zip([*grads, *states], node.outputs, strict=True)
    program.assignments += [(old, new) for old, new in pairs if new is not None]
    owners = [item.parameter for item in grads if item.parameter is not None]
    return UpdateGroup(node, owners, optimizer.slots, rate)
