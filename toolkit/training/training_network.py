"""A training step as a network like any other: forward, loss, gradients and update in one static graph.

Exporters write it, other engines run it. It is what the session compiles, for one batch size, in standard operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.compiler.bind import bind
from toolkit.compiler.passes.expansion import expand_own_operators
from toolkit.compiler.passes.opset import restate
from toolkit.compiler.pipeline import tidy_after_differentiation
from toolkit.compiler.program import Program, Variable
from toolkit.compiler.static_graph import Names, graph_of
from toolkit.compiler.training_choices import training_choices
from toolkit.errors import GraphError, TrainingError
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.operators.derivative import cast
from toolkit.operators.expression import OPSET, as_expression, emit, reshape
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
) -> Network:
    """One training step of ``network`` for ``batch_size`` items, and the sizes ``dims`` of its other dimensions.

    - inputs: those of the network, and ``labels``, or ``labels.term`` for each term of a loss that has several
    - outputs: those of the network, ``loss``, ``loss.term`` for each of several terms, and ``W.gradient`` for every
      parameter ``W`` that learns
    - with an ``optimizer`` also ``W.updated``; what it keeps, as ``W.momentum`` and ``W.momentum.updated``; the inputs
      ``learning_rate`` and ``step``, which counts from 1, and ``step.updated``

    Every ``X.updated`` is the next content of the input ``X``. These inputs (parameters, running statistics, optimizer
    state, rate and step) have their present content as a default: a loop feeds each output back. Without an optimizer
    the parameters are inputs all the same. The weights are those of now; the network itself is not changed.

    Raises ``NotDifferentiableError`` when nothing that may learn influences the loss, ``UnsupportedOperatorError``
    naming the layer when standard operators cannot say its part, and what binding raises.
    """
    program = step_program(network, loss, optimizer, batch_size, dims)
    _require_free_names(network, program)
    opsets = {**network.opsets, "": max(OPSET, network.opsets.get("", OPSET))}
    kept = finished(program, opsets[""])
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


def step_program(
    network: Network,
    loss: Loss,
    optimizer: Optimizer | None,
    batch_size: int | None,
    dims: Mapping[str, int] | None,
) -> Program:
    """The program of a step, with its loss, gradients and updates among the outputs.

    Raises ``GraphError`` when the network has another output of the name of the loss.
    """
    judged = loss.judged(list(network.outputs))
    program = bind(network, batch_size, dims)
    chosen: Any = optimizer or SGD(1.0)
    made = training_program(program, loss, judged, chosen, training_choices(network))
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


def finished(program: Program, opset: int) -> dict[Variable, Parameter]:
    """Say the program in standard operators of ``opset``; returns what it keeps, by the variables that stand for it."""
    kept = {old: _kept(old) for old, _ in program.assignments}
    program.outputs |= {updated(kept[old]): new for old, new in program.assignments if new is not old}
    program.assignments = []
    restate(program, opset)
    expand_own_operators(program)
    restate(program, opset)
    tidy_after_differentiation(program)
    return kept


def updated(parameter: Parameter) -> str:
    """The name of the output that is the next content of what a step keeps."""
    return f"{parameter.name}.updated"


def _kept(variable: Variable) -> Parameter:
    if variable.parameter is not None:
        return variable.parameter
    assert isinstance(variable.state, tuple)
    slot, owner = variable.state
    return Parameter(f"{owner.name}.{slot}", np.zeros(variable.shape, variable.dtype), requires_grad=False)
