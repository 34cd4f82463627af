"""The program of a training step: forward, loss, backward and update in one graph.

Everything is written with expressions and differentiated like any other program, so losses and optimizers exist once
for all backends. What an optimizer keeps becomes state of the program; what it changes, assignments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from toolkit.autodiff import Gradients, Shortfall, differentiate, expand_gradients, told
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.training_choices import TrainingChoices
from toolkit.compiler.training_pipeline import prepare_for_training, tidy_after_differentiation
from toolkit.errors import GraphError, NotDifferentiableError
from toolkit.graph.parameter import Parameter, is_trainable_dtype
from toolkit.operators.expression import Expression, expand
from toolkit.operators.record import TensorType
from toolkit.runtime.updates import Optimizer, UpdateBuilder, UpdateGroup

LABELS, LOSS = "labels", "the loss"  # an input, unless the loss names several; an output, no name that a file may have
Labels = np.ndarray | Mapping[str, np.ndarray]  # one array stands for ``{"labels": array}``
LOSS_SCALE = "loss scale"


class Loss(Protocol):
    """What a session needs of a loss; ``toolkit.training.losses`` has them.

    - ``judged(names of the outputs)``: those that it reads; raises ``GraphError`` when that is not clear
    - ``label_types(types of the outputs by name)``: the types of the labels by the names of their inputs
    - ``terms(outputs, labels)``: scalars by name; the loss is their sum, each times its number among ``weights``
    """

    @property
    def weights(self) -> Mapping[str, float]: ...

    def judged(self, outputs: Sequence[str]) -> tuple[str, ...]: ...

    def label_types(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]: ...

    def terms(self, outputs: Mapping[str, Expression], labels: Mapping[str, Expression]) -> dict[str, Expression]: ...


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


def label_arrays(labels: Labels | None) -> Mapping[str, np.ndarray]:
    """Labels by the names of their inputs."""
    if labels.__class__ is np.ndarray:  # first, for it is what most steps have
        return {LABELS: labels}
    if labels is None:
        return {}
    return labels if isinstance(labels, Mapping) else {LABELS: labels}


def append_loss(program: Program, loss: Loss, judged: Sequence[str]) -> Variable:
    """Append the loss of the outputs ``judged`` to the program: its output ``LOSS``, with inputs for the labels.

    The terms of a loss that has several become the outputs ``LOSS.name``. Raises ``GraphError`` when the network has
    an input of the name of labels.
    """
    outputs = {name: program.outputs[name] for name in judged}
    kinds = loss.label_types({name: (item.dtype, item.shape) for name, item in outputs.items()})
    labels = {name: Variable(name, dtype, shape) for name, (dtype, shape) in kinds.items()}
    if taken := labels.keys() & program.inputs.keys():
        raise GraphError(
            f"The network has a value {min(taken)!r}, which a training step needs for its own. Rename it, or judge a "
            "loss that the network computes with ModelOutput."
        )
    program.inputs |= labels
    program.role, program.layer = "loss", type(loss).__name__
    given, wanted = ({name: program.expression(item) for name, item in group.items()} for group in (outputs, labels))
    terms = loss.terms(given, wanted)
    weighted = [term if loss.weights[name] == 1 else term * loss.weights[name] for name, term in terms.items()]
    value: Variable = sum(weighted[1:], weighted[0]).variable
    program.role, program.layer = "forward", ""
    program.outputs[LOSS] = value
    if list(terms) != [""]:
        program.outputs |= {f"{LOSS}.{name}": term.variable for name, term in terms.items()}
    return value


def training_program(
    program: Program,
    loss: Loss,
    judged: Sequence[str],
    optimizer: Optimizer,
    choices: TrainingChoices | None = None,
    *,
    accumulates: bool = False,
    scales: bool = False,
) -> TrainingProgram:
    """Turn a bound program into a training step.

    ``accumulates``: it gathers gradients until an update. ``scales``: it has the input ``loss scale``, by which the
    gradients are too large; each group's last number is to undo that, and to divide what was gathered.
    Raises ``NotDifferentiableError`` when no gradient reaches anything that may learn.
    """
    prepare_for_training(expand_gradients(program), choices)
    value = append_loss(program, loss, judged)
    statistics = [target.parameter for target, _ in program.assignments if target.parameter is not None]
    seed = _seed(program, value, scales)
    grads = differentiate(program, {value: seed}, program.trainable())
    missing = shortfalls_by_name(grads)
    if not grads:
        raise NotDifferentiableError(_nothing_to_train(program, judged, missing))
    made = TrainingProgram(program, statistics=statistics, shortfalls=missing)
    updates = UpdateBuilder(program, optimizer, accumulates=accumulates, factored=accumulates or scales)
    made.groups = updates.build(grads)
    tidy_after_differentiation(program)
    return made


def _seed(program: Program, value: Variable, scales: bool) -> Variable:
    """What the loss is differentiated from: ones, or the loss scale."""
    if not scales:
        return program.constant(np.ones(value.shape, value.dtype)).variable
    scale = program.inputs[LOSS_SCALE] = Variable(LOSS_SCALE, value.dtype, ())
    program.role, program.layer = "loss backward", "loss scale"
    seed: Variable = expand(program.expression(scale), value.shape).variable
    program.role, program.layer = "forward", ""
    return seed


def shortfalls_by_name(grads: Gradients) -> dict[str, Shortfall]:
    """What is missing of the gradients of parameters, by the name of the parameter."""
    return {item.parameter.name: found for item, found in grads.shortfalls().items() if item.parameter is not None}


def _nothing_to_train(program: Program, judged: Sequence[str], missing: Mapping[str, Shortfall]) -> str:
    """Why no parameter gets a gradient."""
    output_name = judged[0] if len(judged) == 1 else tuple(judged)
    if missing:
        return (
            f"Nothing to train: no gradient leads from output {output_name!r} to a parameter. {told(missing)}. "
            "Judge another output, or replace what lies behind that layer."
        )
    owners = [item.parameter for node in program.nodes for item in node.inputs if item and item.parameter]
    owners += [item for item in program.settled if is_trainable_dtype(item.dtype)]
    read = {item.name: item for item in owners}
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
