"""Pairs of QuantizeLinear and DequantizeLinear: a float network becomes one that computes on grids, in floats.

Weights stay floats before their pair, so the network can be trained (``straight_through=True``) and its step sizes are
initializers that the pair shares. ``conversion`` makes of it what is deployed.

Networks before opset 13 get the operators of com.microsoft, which quantise by channel in every opset. Types of 4 bits
are those of opset 21 here, whatever the network's opset is; converting settles how a file has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.graph.insertion import Insertion, Names, opset_of, position_of
from toolkit.graph.layer import Leaf
from toolkit.graph.network import Network
from toolkit.training.quantisation.calibration import Calibration, detached
from toolkit.training.quantisation.folding import PRODUCTS
from toolkit.training.quantisation.integers import Integers, grid, weight_scale
from toolkit.training.quantisation.places import MOVERS, Weight

BY_CHANNEL = 13  # the opset from which ai.onnx quantises by channel
MICROSOFT = "com.microsoft"
STEP_SIZE = "the step size of "  # how the role of a scale that a pair got here begins


@dataclass(frozen=True, slots=True)
class Pair:
    """The parameters of a pair around ``source``: a value, or the weight of that name with its ``axis``."""

    source: str
    scale: str
    zero_point: str
    integers: Integers
    axis: int | None = None


@dataclass(eq=False)
class Paired:
    """A network with pairs; ``values`` by the names that the values have without them, ``weights`` in order."""

    network: Network
    values: dict[str, Pair]
    weights: list[Pair]


def insert_pairs(
    calibration: Calibration,
    *,
    weights: Integers,
    activations: Integers,
    per_channel: bool,
    largest: int,
    learn_steps: bool = False,
) -> Paired:
    """A copy of the calibrated network with a pair at each place; ``largest`` is what a weight may become at most."""
    network = detached(calibration.network)
    inserter = _Inserter(network, calibration, learn_steps)
    for name in calibration.places.values:
        scale, zero_point = grid(*calibration.range(name, activations.levels), activations)
        inserter.add_value(name, scale, zero_point, activations)
    for name, owner in calibration.places.shared.items():
        inserter.share_value(name, owner)
    for weight in calibration.places.weights:
        inserter.add_weight(weight, weights, per_channel, largest)
    network.revision += 1
    return Paired(network, inserter.values, list(inserter.weights.values()))


def dialect(opset: int, integers: Integers) -> tuple[str, int]:
    """The domain and version of the operators that quantise to a type in a network of that opset."""
    if opset >= max(integers.since, BY_CHANNEL):
        return "", opset
    return ("", integers.since) if integers.levels == 16 else (MICROSOFT, 1)


def speak(network: Network, leaf: Leaf, integers: Integers) -> None:
    """Let a leaf be written in the dialect that a type needs."""
    leaf.domain, leaf.version = dialect(opset_of(network), integers)
    if leaf.domain:
        network.opsets.setdefault(leaf.domain, leaf.version)


class _Inserter:
    def __init__(self, network: Network, calibration: Calibration, learn_steps: bool) -> None:
        self.network, self.graph, self.learn_steps = network, network.graph, learn_steps
        self.names = Names(network.graph)
        self.places = calibration.places
        twins = zip(calibration.network.graph.leaves, network.graph.leaves, strict=True)
        self.twins = {id(old): new for old, new in twins}
        self.values: dict[str, Pair] = {}
        self.weights: dict[tuple[str, int | None], Pair] = {}
        self._outputs: dict[tuple[str, int | None], str] = {}

    def add_value(self, name: str, scale: np.ndarray, zero_point: np.ndarray, integers: Integers) -> None:
        """Put a pair of its own at a value."""
        insertion = Insertion(self.network, name, self.names)
        held = self._hold(insertion, name, scale, zero_point)
        self._at_value(insertion, name, Pair(name, *held, integers))

    def share_value(self, name: str, owner: str) -> None:
        """Put a pair at a value that has the grid of another one."""
        pair = self.values[owner]
        insertion = Insertion(self.network, name, self.names)
        self._at_value(insertion, name, Pair(name, pair.scale, pair.zero_point, pair.integers))

    def _hold(self, insertion: Insertion, what: str, scale: np.ndarray, zero_point: np.ndarray) -> tuple[str, str]:
        return (
            insertion.parameter("scale", scale, requires_grad=self.learn_steps, role=f"{STEP_SIZE}{what!r}"),
            insertion.parameter("zero_point", zero_point, requires_grad=False, role=f"the zero point of {what!r}"),
        )

    def _at_value(self, insertion: Insertion, name: str, pair: Pair) -> None:
        maker = self.places.made.get(name)
        if maker is not None:
            leaf = self.twins[id(maker)]
            source = self.names.fresh(f"{name}_float")
            leaf.outputs = [source if output == name else output for output in leaf.outputs]
            self._write(insertion, source, pair, output=name)
            insertion.place(position_of(self.graph, leaf) + 1)
            pair = Pair(source, pair.scale, pair.zero_point, pair.integers)
        else:
            readers = [self.twins[id(leaf)] for leaf in self.places.read[name]]
            output = self._write(insertion, name, pair)
            insertion.place(min(position_of(self.graph, leaf) for leaf in readers))
            for leaf in readers:
                count = 1 if leaf.op_type in MOVERS else 2 if leaf.op_type in PRODUCTS else len(leaf.inputs)
                read = [output if item == name else item for item in leaf.inputs[:count]]
                leaf.inputs = [*read, *leaf.inputs[count:]]
        self.values[name] = pair

    def add_weight(self, weight: Weight, integers: Integers, per_channel: bool, largest: int) -> None:
        """Put a pair between a weight and the leaf that reads it, or let it read the pair that is there."""
        axis = weight.axis if per_channel else None
        key, leaf = (weight.name, axis), self.twins[id(weight.leaf)]
        if key not in self.weights:
            array = self.graph.parameters[weight.name].array
            scale = weight_scale(array, axis, largest)
            insertion = Insertion(self.network, weight.name, self.names)
            held = self._hold(insertion, weight.name, scale, np.zeros(scale.shape, integers.dtype))
            self.weights[key] = Pair(weight.name, *held, integers, axis)
            self._outputs[key] = self._write(insertion, weight.name, self.weights[key])
            insertion.place(self._first_reader(weight.name))
        leaf.inputs[weight.index] = self._outputs[key]

    def _first_reader(self, name: str) -> int:
        return next(index for index, leaf in enumerate(self.graph.leaves) if name in leaf.inputs)

    def _write(self, insertion: Insertion, source: str, pair: Pair, output: str = "") -> str:
        attributes: dict[str, Any] = {} if pair.axis is None else {"axis": pair.axis}
        grid_inputs: Sequence[str] = (pair.scale, pair.zero_point)
        numbers = insertion.leaf("QuantizeLinear", [source, *grid_inputs], **attributes)
        found = insertion.leaf("DequantizeLinear", [numbers, *grid_inputs], output=output, **attributes)
        for leaf in insertion.leaves:
            speak(self.network, leaf, pair.integers)
        return found
