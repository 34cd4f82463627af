"""A training step inside a model file: ONNX's TrainingInfo, beside a network that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.compiler.static_graph import Names, graph_of
from toolkit.compiler.training_choices import Asked, training_choices
from toolkit.graph.layer import Graph, Leaf
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.training_info import TrainingInfo
from toolkit.graph.value import Value
from toolkit.training.losses import Loss
from toolkit.training.optimizers import Optimizer
from toolkit.training.training_network import bound_program, finished, step_program, updated

FIRST_IR = 7  # that has training information
FIRST_CONSTANT_OF_SHAPE = 9  # opset


def add_training_info(
    network: Network,
    *,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int | None = None,
    dims: Mapping[str, int] | None = None,
    example: Mapping[str, Any] | np.ndarray | None = None,
    straight_through: Asked = None,
    batch_statistics: str | None = None,
) -> TrainingInfo:
    """Add a training step for ``batch_size`` items to ``network.training``, where exporters find it; returns it.

    - algorithm: reads the network's inputs and parameters and ``labels``; gives ``loss`` and every next content
    - update binding: from parameters, running statistics and optimizer state to their next contents
    - initialization: optimizer state of zeros, and step 1; the weights are not drawn anew

    It is written in the network's own opset. The options are those of ``training_network``. Raises
    ``UnsupportedOperatorError`` naming what that opset cannot say, and what ``training_network`` raises.
    """
    bound = bound_program(network, batch_size, dims, example)
    program = step_program(bound, loss, optimizer, training_choices(network, straight_through, batch_statistics))
    program.outputs = {"loss": program.outputs["loss"]}
    main, names = network.graph, Names(_names(network.graph))
    for name, variable in program.inputs.items():
        if name in main.inputs:
            names.share(variable, name)
    opset = network.opsets[""]
    _, kept = finished(program, opset)
    for variable in {*kept, *(item for node in program.nodes for item in node.inputs if item is not None)}:
        name = "" if variable.parameter is None else variable.parameter.name
        if name and main.parameters.get(name) is variable.parameter:
            names.share(variable, name)
    algorithm = graph_of(program, f"{network.name or 'network'}.training", network.opsets, kept, names)
    moving = {old: updated(item) for old, item in kept.items() if updated(item) in names.outputs}
    updates = {names[old]: names.outputs[title] for old, title in moving.items()}
    start, start_binding = _initialization([names[old] for old in moving], algorithm, opset)
    info = TrainingInfo(algorithm, updates, start, start_binding)
    network.training.append(info)
    network.ir_version = max(network.ir_version, FIRST_IR)
    return info


def _initialization(moving: list[str], algorithm: Graph, opset: int) -> tuple[Graph, dict[str, str]]:
    """What the algorithm keeps for itself, as it is before the first step: small contents literally, else zeros."""
    start, binding = Graph("initialization"), {}
    for name in moving:
        if name not in algorithm.parameters:
            continue
        array, output = algorithm.parameters[name].array, f"{name}.initial"
        if array.ndim and opset >= FIRST_CONSTANT_OF_SHAPE:
            shape = f"{name}.shape"
            start.parameters[shape] = Parameter(shape, np.asarray(array.shape, np.int64))
            zero = {"value": np.zeros(1, array.dtype)}
            leaf = Leaf("ConstantOfShape", [shape], [output], zero, version=opset, path=output)
        else:
            leaf = Leaf("Constant", [], [output], {"value": array}, version=opset, path=output)
        start.leaves.append(leaf)
        start.outputs[output] = Value(output, array.dtype, array.shape)
        binding[name] = output
    return start, binding


def _names(graph: Graph) -> set[str]:
    """Every name of a graph."""
    own = {*graph.inputs, *graph.parameters, *graph.outputs, *graph.values}
    return own.union(*({*leaf.inputs, *leaf.outputs} for leaf in graph.walk()))
