"""Folding: what stands behind a product and can be part of its weight and bias becomes that before it is quantised.

- BatchNormalization with fixed statistics behind Conv, ConvTranspose and Gemm: it is a factor and an offset a channel.
  Training afterwards changes weight and bias as they then are; nobody knows the statistics any more.
- Add of one number a channel behind a Conv without bias (as CNTK writes it) becomes the bias.
- Weights that leaves compute from the file's tensors are computed once.

All on a network whose parameters are its own. Nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from toolkit.graph.insertion import LISTED, Names
from toolkit.graph.layer import Graph, Leaf
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.graph.surgery import ancestors, data_values, prune
from toolkit.graph.value import Value

CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = (*CONVOLUTIONS, "Gemm", "MatMul")


def fold(network: Network) -> None:
    """Apply all of the rules above to ``network``, in place."""
    graph = network.graph
    before = list(graph.leaves)
    compute_weights(network)
    names = Names(graph)
    for leaf in before:
        if leaf.domain or leaf.op_type not in (*CONVOLUTIONS, "Gemm"):
            continue
        _fold_addition(network, leaf, names)
        _fold_normalization(network, leaf, names)
    prune(graph, before)
    network.revision += 1


def compute_weights(network: Network) -> None:
    """Turn what products read as weights, where leaves compute it from the file's tensors, into parameters."""
    graph = network.graph
    data = data_values(graph)
    wanted = {
        name
        for leaf in graph.leaves
        if leaf.op_type in PRODUCTS and not leaf.domain and any(item in data for item in leaf.inputs[:2])
        for name in leaf.inputs[:3]
        if name and name not in data and name not in graph.parameters
    }
    if not wanted:
        return
    before = list(graph.leaves)
    inside = Graph(graph.name, {}, {name: Value(name) for name in wanted}, ancestors(graph, wanted))
    inside.parameters, inside.values = graph.parameters, graph.values
    for name, array in Network(inside, network.opsets, network.functions).run({}).items():
        if name not in graph.outputs:
            _hold(network, name, array)
    for leaf in graph.leaves:
        leaf.outputs = [f"{name}_computed" if name in graph.parameters else name for name in leaf.outputs]
    prune(graph, before)


def _hold(network: Network, name: str, array: np.ndarray) -> None:
    """Put a tensor into the graph under that name."""
    held = np.array(array, order="C")
    held.flags.writeable = False
    network.graph.parameters[name] = Parameter(name, held)
    if network.ir_version < LISTED:
        network.graph.inputs[name] = Value(name, held.dtype, held.shape)


def _only_consumer(graph: Graph, name: str, op_type: str) -> Leaf | None:
    found = graph.consumers().get(name, [])
    fits = len(found) == 1 and found[0].op_type == op_type and not found[0].domain and name not in graph.outputs
    return found[0] if fits and found[0].inputs.count(name) == 1 else None


def _held(graph: Graph, names: Iterable[str]) -> list[np.ndarray] | None:
    """The numbers of parameters, ``None`` where one of them is none."""
    held = [graph.parameters.get(name) for name in names]
    return None if any(item is None for item in held) else [item.array for item in held if item is not None]


def _channels(leaf: Leaf, weight: np.ndarray) -> tuple[int, int]:
    """The axis of a weight that its outputs are on, and how many there are."""
    if leaf.op_type == "ConvTranspose":
        return 1, weight.shape[1] * int(leaf.attributes.get("group", 1))
    axis = 0 if leaf.op_type == "Conv" or leaf.attributes.get("transB", 0) else 1
    return axis, weight.shape[axis]


def _replace_output(graph: Graph, leaf: Leaf, later: Leaf) -> None:
    leaf.outputs[0], later.outputs = later.outputs[0], []
    graph.leaves = [item for item in graph.leaves if item is not later]


def _give_bias(network: Network, leaf: Leaf, bias: np.ndarray, dtype: np.dtype, names: Names) -> None:
    """Let a leaf read ``bias``, under the name of its own where it has one for itself."""
    if len(leaf.inputs) > 2 and leaf.inputs[2] and len(network.graph.consumers()[leaf.inputs[2]]) == 1:
        name = leaf.inputs[2]
    else:
        name = names.fresh(f"{leaf.path.strip('/')}/bias")
    _hold(network, name, bias.astype(dtype))
    leaf.inputs[2:] = [name]


def _fold_addition(network: Network, leaf: Leaf, names: Names) -> None:
    graph = network.graph
    addition = _only_consumer(graph, leaf.outputs[0], "Add")
    held = _held(graph, leaf.inputs[1:2])
    if addition is None or held is None or leaf.op_type == "Gemm" or (len(leaf.inputs) > 2 and leaf.inputs[2]):
        return
    weight = held[0]
    terms = _held(graph, [name for name in addition.inputs if name != leaf.outputs[0]])
    _, channels = _channels(leaf, weight)
    shape = (channels, *(1,) * (weight.ndim - 2))
    if terms and "axis" not in addition.attributes and terms[0].shape in (shape, (1, *shape)):
        _give_bias(network, leaf, terms[0].reshape(-1), weight.dtype, names)
        _replace_output(graph, leaf, addition)


def _fold_normalization(network: Network, leaf: Leaf, names: Names) -> None:
    graph = network.graph
    later = _only_consumer(graph, leaf.outputs[0], "BatchNormalization")
    if later is None or later.inputs[0] != leaf.outputs[0] or later.attributes.get("training_mode", 0):
        return
    statistics = _held(graph, later.inputs[1:5])
    own = _held(graph, [name for name in leaf.inputs[1:3] if name])
    usual = leaf.attributes.get("alpha", 1.0) == leaf.attributes.get("beta", 1.0) == 1.0
    group = int(leaf.attributes.get("group", 1))
    if statistics is None or own is None or not usual or (leaf.op_type == "ConvTranspose" and group > 1):
        return
    weight = own[0]
    axis, channels = _channels(leaf, weight)
    scale, shift, mean, variance = (item.astype(np.float64) for item in statistics)
    bias = own[1].astype(np.float64) if len(own) > 1 else np.zeros(channels)
    if bias.ndim > 1 and bias.size != channels:
        return
    factor = scale / np.sqrt(variance + later.attributes.get("epsilon", 1e-5))
    sides = [-1 if number == axis else 1 for number in range(weight.ndim)]
    name = leaf.inputs[1]
    if len(graph.consumers()[name]) > 1:
        name = leaf.inputs[1] = names.fresh(f"{leaf.path.strip('/')}/weight")
    _hold(network, name, (weight * factor.reshape(sides)).astype(weight.dtype))
    _give_bias(network, leaf, (bias.reshape(-1) - mean) * factor + shift, weight.dtype, names)
    _replace_output(graph, leaf, later)
