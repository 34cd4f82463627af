"""Conversion: a network with pairs becomes what is deployed; what it computes stays the same but for the biases.

- QuantizeLinear of a weight is computed now: the file holds the integers, and DequantizeLinear behind them.
- Biases of products of bytes become int32 on the grid that these have. Beside 4 bits that grid is too coarse for them:
  they stay floats.
- Types of 4 bits in a network before opset 21 become bytes: weights in the range of 4 bits, values behind a Clip.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.errors import TrainingError
from toolkit.graph.insertion import Insertion, Names, opset_of, position_of
from toolkit.graph.layer import Graph, Leaf, reads
from toolkit.graph.network import Network
from toolkit.graph.surgery import prune
from toolkit.operators.standard.quantization import quantize
from toolkit.training.quantisation.folding import PRODUCTS
from toolkit.training.quantisation.integers import KNOWN, Integers, along
from toolkit.training.quantisation.pairs import STEP_SIZE, dialect, speak

WIDER = {"int4": "int8", "uint4": "uint8"}
CLIP_INPUTS = 11  # the opset from which Clip takes its bounds as inputs
LARGEST = 2.0**31 - 1
BYTE = 256


def convert(network: Network) -> Network:
    """Turn the pairs of ``network`` into stored integers, in place; returns it.

    Raises ``TrainingError`` for a step size that training has brought to 0 or below.
    """
    graph, names = network.graph, Names(network.graph)
    before, held = list(graph.leaves), {name for leaf in graph.leaves for name in reads(leaf)}
    pairs = [leaf for leaf in before if leaf.op_type == "QuantizeLinear" and _is_own(graph, leaf)]
    for leaf in pairs:
        _require_steps(graph, leaf)
    for leaf in list(graph.leaves):
        if leaf.op_type in PRODUCTS and not leaf.domain:
            _quantise_bias(network, leaf, names)
    for leaf in pairs:
        if leaf.inputs[0] in graph.parameters:
            _store(network, leaf, names)
        else:
            _widen(network, leaf, names)
    prune(graph, before)
    _drop_unread(graph, held)
    for item in graph.parameters.values():
        if item.role.startswith(STEP_SIZE):
            item.requires_grad = False
    network.revision += 1
    return network


def _drop_unread(graph: Graph, before: set[str]) -> None:
    """Drop the parameters that were read ``before`` and no longer are."""
    now = {name for leaf in graph.leaves for name in reads(leaf)} | set(graph.outputs)
    for name in [name for name in graph.parameters if name in before and name not in now]:
        del graph.parameters[name]
        graph.inputs.pop(name, None)


def _is_own(graph: Graph, leaf: Leaf) -> bool:
    """Whether a pair was inserted here; what a file had before stays as it is."""
    scale = graph.parameters.get(leaf.inputs[1])
    return scale is not None and scale.role.startswith(STEP_SIZE)


def _require_steps(graph: Graph, leaf: Leaf) -> None:
    scale = graph.parameters[leaf.inputs[1]]
    if not (scale.array > 0).all():
        raise TrainingError(
            f"The step sizes {scale.name!r} must be above 0, training has brought one to {scale.array.min():.3g}. "
            "Train them with a smaller rate: network.select('*scale').learning_rate(0.1)."
        )


def _type_of(graph: Graph, leaf: Leaf) -> Integers:
    return KNOWN[graph.parameters[leaf.inputs[2]].dtype.name]


def _storable(network: Network, integers: Integers) -> Integers:
    """The type by which the network's opset can express one."""
    _, version = dialect(opset_of(network), integers)
    return integers if version <= opset_of(network) else KNOWN[WIDER[integers.name]]


def _readers(graph: Graph, leaf: Leaf) -> list[Leaf]:
    return [item for item in graph.leaves if leaf.outputs[0] in item.inputs]


def _store(network: Network, leaf: Leaf, names: Names) -> None:
    """Replace the QuantizeLinear of a weight by its result."""
    graph = network.graph
    weight, scale = (graph.parameters[name] for name in leaf.inputs[:2])
    integers = _type_of(graph, leaf)
    axis = leaf.attributes.get("axis")
    step = along(scale.array, weight.array.ndim, axis)
    numbers = quantize(weight.array, step, None, integers.dtype)
    kept = _storable(network, integers)
    insertion = Insertion(network, weight.name, names)
    held = insertion.parameter("quantised", numbers.astype(kept.dtype), requires_grad=False)
    for reader in _readers(graph, leaf):
        reader.inputs[0] = held
        _retype(network, reader, kept, insertion)
    graph.leaves = [item for item in graph.leaves if item is not leaf]


def _retype(network: Network, leaf: Leaf, kept: Integers, insertion: Insertion) -> None:
    """Let a leaf of a pair speak of another type of the same numbers."""
    zero_point = network.graph.parameters[leaf.inputs[2]]
    if zero_point.dtype != kept.dtype:
        wide = zero_point.array.astype(kept.dtype)
        leaf.inputs[2] = insertion.parameter("zero_point", wide, requires_grad=False, role=zero_point.role)
    speak(network, leaf, kept)


def _widen(network: Network, leaf: Leaf, names: Names) -> None:
    """Bytes instead of 4 bits, where the opset has no such type: a Clip before them keeps to the range."""
    graph = network.graph
    integers = _type_of(graph, leaf)
    kept = _storable(network, integers)
    if kept is integers:
        return
    scale, zero_point = (graph.parameters[name].array for name in leaf.inputs[1:3])
    insertion = Insertion(network, leaf.path.rsplit("/", 1)[0], names)
    offset = int(zero_point.astype(np.int32))
    low, high = (np.asarray((bound - offset) * scale, np.float32) for bound in (integers.low, integers.high))
    if insertion.opset < CLIP_INPUTS:
        leaf.inputs[0] = insertion.leaf("Clip", [leaf.inputs[0]], min=float(low), max=float(high))
    else:
        bounds = [
            insertion.parameter(name, array, requires_grad=False) for name, array in (("low", low), ("high", high))
        ]
        leaf.inputs[0] = insertion.leaf("Clip", [leaf.inputs[0], *bounds])
    insertion.place(position_of(graph, leaf))
    for item in (leaf, *_readers(graph, leaf)):
        _retype(network, item, kept, insertion)


def _quantise_bias(network: Network, leaf: Leaf, names: Names) -> None:
    graph = network.graph
    bias = graph.parameters.get(leaf.inputs[2]) if len(leaf.inputs) > 2 else None
    made = graph.producers()
    sides = [made.get(name) for name in leaf.inputs[:2]]
    if (
        bias is None
        or bias.dtype != np.float32
        or any(leaf.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    ):
        return
    if any(side is None or side.op_type != "DequantizeLinear" for side in sides):
        return
    x, weight = (graph.parameters[side.inputs[1]].array for side in sides if side is not None)
    step = (x.astype(np.float64) * weight.astype(np.float64)).astype(np.float32)
    types = [graph.parameters[side.inputs[2]].dtype.name for side in sides if side is not None]
    if any(KNOWN[name].levels < BYTE for name in types):
        return
    usable = (step.size == 1 or step.shape == bias.shape) and bias.array.ndim == 1
    if not usable or not (step > np.finfo(np.float32).tiny).all() or (np.abs(bias.array / step) > LARGEST).any():
        return
    numbers = np.rint(bias.array.astype(np.float64) / step).astype(np.int32)
    insertion = Insertion(network, bias.name, names)
    held = insertion.parameter("quantised", numbers, requires_grad=False)
    scale = insertion.parameter("scale", step, requires_grad=False, role=f"{STEP_SIZE}{bias.name!r}")
    attributes: dict[str, Any] = {"axis": 0} if step.ndim else {}
    leaf.inputs[2] = insertion.leaf("DequantizeLinear", [held, scale], **attributes)
    speak(network, insertion.leaves[-1], KNOWN["int8"])
    insertion.place(position_of(graph, leaf))
