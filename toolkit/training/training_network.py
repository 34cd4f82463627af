"""A training step as a network like any other: forward, loss, gradients and update in one static graph.

Exporters write it, other engines run it. It is what the session compiles, for one batch size, in standard operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.compiler.bind import bind
from toolkit.compiler.passes.expansion import expand_own_operators
from toolkit.compiler.passes.opset import opset_for, restate
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.static_graph import Names, graph_of
from toolkit.compiler.training_choices import Asked, TrainingChoices, training_choices
from toolkit.compiler.training_pipeline import tidy_after_differentiation
from toolkit.errors import DataDependentShapeError, GraphError, InputError, TrainingError
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.operators.derivative import cast
from toolkit.operators.expression import as_expression, emit, reshape
from toolkit.runtime.context import Context
from toolkit.runtime.feeds import named, sizes
from toolkit.runtime.scout import decided
from toolkit.runtime.training_program import LABELS, LOSS, TrainingProgram, training_program
from toolkit.training.losses import Loss
from toolkit.training.optimizers import SGD, Moment, Optimizer

IR_VERSION = 10  # the oldest that knows the opset
FLOAT32, FLOAT64, INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
RATE, STEP = "learning_rate", "step"


def training_network(
    network: Network,
    *,
    loss: Loss,
    optimizer: Optimizer | None = None,
    batch_size: int | None = None,
    dims: Mapping[str, int] | None = None,
    example: Mapping[str, Any] | np.ndarray | None = None,
    straight_through: Asked = None,
    batch_statistics: str | None = None,
) -> Network:
    """One training step of ``network`` for ``batch_size`` items, and the sizes ``dims`` of its other dimensions.

    ``example``, the inputs of one batch, tells both, and what only data can tell: where branches, trip counts or shapes
    depend on the data, the step is that of every batch that decides them as the example does. ``straight_through`` and
    ``batch_statistics`` are those of ``Trainer``.

    - inputs: those of the network, and ``labels``, or ``labels.term`` for each term of a loss that has several
    - outputs: those of the network, ``loss``, ``loss.term`` for each of several terms, and ``W.gradient`` for every
      parameter ``W`` that learns
    - with an ``optimizer`` also ``W.updated``; what it keeps, as ``W.momentum`` and ``W.momentum.updated``; the inputs
      ``learning_rate`` and ``step``, which counts from 1, and ``step.updated``

    Every ``X.updated`` is the next content of the input ``X``. These inputs (parameters, running statistics, optimizer
    state, rate and step) have their present content as a default: a loop feeds each output back. Without an optimizer
    the parameters are inputs all the same. The weights are those of now; the network itself is not changed. The step is
    written for opset 21, which engines know best, where all of it can be said there, else for a newer one.

    Raises ``NotDifferentiableError`` when nothing that may learn influences the loss, ``UnsupportedOperatorError``
    naming the layer when standard operators cannot say its part, ``DataDependentShapeError`` where an example is
    needed, and what binding raises.
    """
    bound = bound_program(network, batch_size, dims, example)
    program = step_program(bound, loss, optimizer, training_choices(network, straight_through, batch_statistics))
    _require_free_names(network, program)
    opset, kept = finished(program)
    opsets = {**network.opsets, "": opset}
    graph = graph_of(program, f"{network.name or 'network'}.training", opsets, kept, Names())
    for name, value in network.inputs.items():
        if name in graph.inputs:
            graph.inputs[name].batch_axis = value.batch_axis
    return Network(graph, opsets, ir_version=max(IR_VERSION, network.ir_version))


def _require_free_names(network: Network, program: Program) -> None:
    """Raise ``GraphError`` where the network has values of the names that a step needs for labels and loss."""
    own = [name for name in program.inputs if name.startswith(LABELS) and name not in network.inputs]
    for name in [*own, "loss"]:
        taken = name in network.inputs or name in network.parameters or (name in own and name in network.outputs)
        if taken:
            raise GraphError(f"The network has a value {name!r}, which a training step needs for its own. Rename it.")


def bound_program(
    network: Network,
    batch_size: int | None,
    dims: Mapping[str, int] | None,
    example: Mapping[str, Any] | np.ndarray | None,
) -> Program:
    """The network bound for given sizes, or for those and the decisions of an example.

    Raises ``InputError`` when both are given, and ``DataDependentShapeError`` where an example is needed and missing.
    """
    if example is None:
        try:
            return bind(network, batch_size, dims)
        except DataDependentShapeError as error:
            raise DataDependentShapeError(
                f"{error} Give example=, the inputs of one batch: the step is then that of every batch that decides "
                "the same."
            ) from error
    if batch_size is not None or dims is not None:
        raise InputError("A training step takes its sizes from example=: leave out batch_size= and dims=.")
    arrays = named(network, example)
    batch_size, dims = sizes(network, arrays)
    try:
        return bind(network, batch_size, dims)
    except DataDependentShapeError:
        return bind(network, batch_size, dims, decisions=decided(Context(network, batch_size, dims=dims), arrays))


def step_program(program: Program, loss: Loss, optimizer: Optimizer | None, choices: TrainingChoices) -> Program:
    """The program of a step of a bound network, with its loss, gradients and updates among the outputs.

    Raises ``GraphError`` when the network has another output of the name of the loss.
    """
    judged = loss.judged(list(program.outputs))
    chosen: Any = optimizer or SGD(1.0)
    made = training_program(program, loss, judged, chosen, choices)
    for name in [name for name in program.outputs if name.startswith(LOSS)]:
        title, value = name.replace(LOSS, "loss", 1), program.outputs.pop(name)
        if program.outputs.setdefault(title, value) is not value:
            raise GraphError(
                f"The network has an output {title!r}, which a training step needs for its own. Rename it."
            )
    gradients = {f"{owner.name}.gradient": item for group in made.groups for item, owner in group.gradients()}
    program.outputs |= gradients
    if optimizer is None:
        _without_updates(made)
    else:
        _compute_scalars(made, optimizer)
    return program


def _without_updates(made: TrainingProgram) -> None:
    """Leave the optimizer out; what it would have changed is kept as it is."""
    program = made.program
    program.nodes = [node for node in program.nodes if node.role != "update"]
    program.inputs = {name: item for name, item in program.inputs.items() if not name.startswith("scalars ")}
    program.assignments = [
        (old, new if new.producer is None or new.producer.role != "update" else old)
        for old, new in program.assignments
        if old.state is None
    ]


def _compute_scalars(made: TrainingProgram, optimizer: Optimizer) -> None:
    """Put what computes the optimizer's numbers, from the inputs for rate and step, before everything else."""
    program = made.program
    rate = Variable(RATE, FLOAT32, (), parameter=Parameter(RATE, np.asarray(optimizer.learning_rate, np.float32)))
    step = Variable(STEP, INT64, (), parameter=Parameter(STEP, np.asarray(1)))
    nodes, program.nodes = program.nodes, []
    program.role, program.layer = "update", type(optimizer).__name__
    wide_rate, wide_step = (cast(program.expression(item), FLOAT64) for item in (rate, step))
    for group in made.groups:
        given = program.inputs.pop(f"scalars {group.index}")
        numbers = _numbers(optimizer, Moment(wide_rate * group.rate, wide_step, group.decay))
        parts = [reshape(as_expression(item, wide_rate), (1,)) for item in numbers]
        vector = cast(emit("Concat", *parts, axis=0), FLOAT32).variable
        for node in nodes:
            node.inputs = [vector if item is given else item for item in node.inputs]
    program.assignments.append((step, (program.expression(step) + 1).variable))
    program.assignments.append((rate, rate))
    program.role, program.layer = "forward", ""
    program.nodes += nodes


def _numbers(optimizer: Optimizer, now: Moment) -> list[Any]:
    try:
        return optimizer.numbers(now)
    except TypeError as error:
        raise TrainingError(
            f"{optimizer!r} computes its numbers in a way that a graph cannot ({error}), so its step cannot be "
            "exported. Use arithmetic that expressions know, or export the gradients alone: optimizer=None."
        ) from error


def finished(program: Program, opset: int | None = None) -> tuple[int, dict[Variable, Parameter]]:
    """Say the program in standard operators of ``opset``, or of one that can say it.

    Returns the opset, and what the program keeps by the variables that stand for it.
    """
    kept = {old: _kept(old) for old, _ in program.assignments}
    program.outputs |= {updated(kept[old]): new for old, new in program.assignments if new is not old}
    program.assignments = []
    restate(program, opset or opset_for(program))
    expand_own_operators(program)
    opset = opset or opset_for(program)
    restate(program, opset)
    tidy_after_differentiation(program)
    return opset, kept


def updated(parameter: Parameter) -> str:
    """The name of the output that is the next content of what a step keeps."""
    return f"{parameter.name}.updated"


def _kept(variable: Variable) -> Parameter:
    if variable.parameter is not None:
        return variable.parameter
    assert isinstance(variable.state, tuple)
    slot, owner = variable.state
    return Parameter(f"{owner.name}.{slot}", np.zeros(variable.shape, variable.dtype), requires_grad=False)
