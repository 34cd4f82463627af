"""Places: which values and weights of a network get a grid of their own, which share one, and where pairs go.

- Products (Conv, ConvTranspose, Gemm, MatMul) read quantised data and a quantised weight; an Add of constants right
  behind a MatMul and a Relu or Clip belong to them, so that the grid covers what these let through.
- Joins (Add, Mul, Concat of data) and averages read and give quantised data.
- Movers (MaxPool, Reshape, Transpose, Relu, Clip, ...) give numbers that their input's grid has: they share it.
- Everything else reads what was dequantised, and computes in floats.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from toolkit.graph.layer import Graph, Leaf
from toolkit.graph.surgery import data_values
from toolkit.training.quantisation.folding import PRODUCTS

JOINS = ("Add", "Concat", "Mul")
AVERAGES = ("AveragePool", "GlobalAveragePool")
LIMITERS = ("Clip", "Relu")
MOVERS = (
    *LIMITERS,
    *("Dropout", "Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"),
    *("DepthToSpace", "SpaceToDepth"),
)
CHOSEN = (*PRODUCTS, *JOINS, *AVERAGES)
KNOWN_RANGES = {"Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0), "Tanh": (-1.0, 1.0)}
EVERYTHING = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter that ``leaf`` reads as its input ``index``; its outputs lie on ``axis``, ``None`` where mixed."""

    leaf: Leaf
    index: int
    axis: int | None

    @property
    def name(self) -> str:
        return self.leaf.inputs[self.index]


@dataclass(eq=False)
class Places:
    """What is to be quantised.

    - ``made``: values for whose every reader the pair stands, in order, with the leaf that makes each
    - ``read``: values that only the leaves listed read quantised: inputs of the network, results of other operators
    - ``shared``: the value whose grid a value shares
    - ``limits``: the range of a value beyond which nothing behind it can tell a difference
    """

    leaves: list[Leaf] = field(default_factory=list)
    made: dict[str, Leaf] = field(default_factory=dict)
    read: dict[str, list[Leaf]] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    weights: list[Weight] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def values(self) -> list[str]:
        """The values with a grid of their own."""
        return [name for name in (*self.read, *self.made) if name not in self.shared]


def find_places(graph: Graph, wanted: Iterable[Leaf], floats: Collection[str]) -> Places:
    """The places of a folded graph; ``floats`` are the values that are known to be float32."""
    return _Finder(graph, floats).find(wanted)


class _Finder:
    def __init__(self, graph: Graph, floats: Collection[str]) -> None:
        self.graph, self.floats = graph, floats
        self.data, self.consumers = data_values(graph), graph.consumers()
        self.producers = graph.producers()
        self.places = Places()
        self.absorbed: set[int] = set()

    def find(self, wanted: Iterable[Leaf]) -> Places:
        meant = {id(leaf) for leaf in wanted}
        candidates = [leaf for leaf in self.graph.leaves if id(leaf) in meant and not leaf.domain]
        chosen = {id(leaf): leaf for leaf in candidates if leaf.op_type in CHOSEN and self._takes(leaf)}
        ends = {name: leaf for leaf in chosen.values() for name in [self._end(leaf)] if name in self.floats}
        movers = self._movers(candidates, ends, chosen)
        found = self.places
        for leaf in self.graph.leaves:
            if id(leaf) not in chosen and id(leaf) not in movers:
                continue
            found.leaves.append(leaf)
            for name in self._quantised_inputs(leaf):
                if name not in found.made:
                    found.read.setdefault(name, []).append(leaf)
            end = leaf.outputs[0] if id(leaf) in movers else next((y for y, one in ends.items() if one is leaf), "")
            if end:
                found.made[end] = self.producers[end]
                if id(leaf) in movers:
                    found.shared[end] = found.shared.get(leaf.inputs[0], leaf.inputs[0])
            if leaf.op_type in PRODUCTS:
                self._add_weight(leaf)
        for name in found.values:
            found.limits[name] = self._limits(name, movers)
        return found

    def _takes(self, leaf: Leaf) -> bool:
        """Whether a leaf can be quantised; notes the reason if not."""
        reason = self._objection(leaf)
        if reason:
            self.places.left_out[leaf.path] = reason
        return not reason

    def _objection(self, leaf: Leaf) -> str:
        read = [name for name in leaf.inputs if name] if leaf.op_type not in PRODUCTS else leaf.inputs[:2]
        moving = [name for name in read if name in self.data]
        if not moving:
            return "nothing that it reads depends on data"
        if leaf.op_type in JOINS and len(moving) < len(read):
            return "one of what it joins is a constant"
        strange = [name for name in moving if name not in self.floats]
        if strange:
            return f"{strange[0]!r} is not of 32-bit floats"
        for name in read:
            if name not in self.data and self._weight(name) is None:
                return f"its weight {name!r} is no tensor of 32-bit floats in the file"
        return ""

    def _weight(self, name: str) -> np.ndarray | None:
        item = self.graph.parameters.get(name)
        return item.array if item is not None and item.dtype == np.float32 and item.shape and item.size else None

    def _end(self, leaf: Leaf) -> str:
        """The value behind a leaf and what belongs to it."""
        y = leaf.outputs[0]
        if leaf.op_type == "MatMul":
            y = self._after(y, ("Add",))
        return self._after(y, LIMITERS) if leaf.op_type in (*PRODUCTS, "Add", "Mul") else y

    def _after(self, y: str, op_types: Collection[str]) -> str:
        readers = self.consumers.get(y, [])
        if len(readers) != 1 or y in self.graph.outputs or readers[0].domain or readers[0].op_type not in op_types:
            return y
        others = [name for name in readers[0].inputs if name and name != y]
        if readers[0].inputs.count(y) != 1 or any(name in self.data for name in others):
            return y
        if readers[0].op_type == "Clip" and readers[0].inputs[0] != y:
            return y
        self.absorbed.add(id(readers[0]))
        self.places.left_out.pop(readers[0].path, None)
        return readers[0].outputs[0]

    def _movers(self, candidates: list[Leaf], ends: Collection[str], chosen: Collection[int]) -> set[int]:
        """The movers between what is quantised before them and what is behind."""
        gridded, before = set(ends), []
        for leaf in candidates:
            fits = leaf.op_type in MOVERS and id(leaf) not in self.absorbed and leaf.inputs[0] in gridded
            if fits and leaf.outputs[0] in self.floats and not any(leaf.outputs[1:]):
                before.append(leaf)
                gridded.add(leaf.outputs[0])
        needed: set[int] = set()
        for leaf in reversed(before):
            readers = self.consumers.get(leaf.outputs[0], [])
            if any(id(reader) in chosen or id(reader) in needed for reader in readers):
                needed.add(id(leaf))
        return needed

    def _quantised_inputs(self, leaf: Leaf) -> list[str]:
        count = 1 if leaf.op_type in MOVERS else 2 if leaf.op_type in PRODUCTS else None
        return list(dict.fromkeys(name for name in leaf.inputs[:count] if name in self.data))

    def _add_weight(self, leaf: Leaf) -> None:
        for index, name in enumerate(leaf.inputs[:2]):
            weight = self._weight(name) if name not in self.data else None
            if weight is not None:
                self.places.weights.append(Weight(leaf, index, _axis(leaf, index, weight)))

    def _limits(self, name: str, movers: Collection[int]) -> tuple[float, float]:
        """The range of a value that its readers tell apart, and within which its maker says it lies."""
        maker = self.producers.get(name)
        known = KNOWN_RANGES.get(maker.op_type, EVERYTHING) if maker is not None and not maker.domain else EVERYTHING
        told = self._told(name, movers)
        return max(known[0], told[0]), min(known[1], told[1])

    def _told(self, name: str, movers: Collection[int]) -> tuple[float, float]:
        readers = self.consumers.get(name, [])
        if name in self.graph.outputs or not readers:
            return EVERYTHING
        lows, highs = [], []
        for leaf in readers:
            low, high = self._limiter(leaf) if leaf.op_type in LIMITERS and not leaf.domain else EVERYTHING
            if id(leaf) in movers:
                inner = self._told(leaf.outputs[0], movers)
                low, high = max(low, inner[0]), min(high, inner[1])
            lows.append(low)
            highs.append(high)
        return min(lows), max(highs)

    def _limiter(self, leaf: Leaf) -> tuple[float, float]:
        if leaf.op_type == "Relu":
            return 0.0, math.inf
        given = [self.graph.parameters.get(name) for name in (*leaf.inputs[1:], "", "")][:2]
        if leaf.inputs[1:]:
            low = float(given[0].array) if given[0] is not None else -math.inf
            high = float(given[1].array) if given[1] is not None else math.inf
        else:
            low, high = float(leaf.attributes.get("min", -math.inf)), float(leaf.attributes.get("max", math.inf))
        return min(low, 0.0), max(high, 0.0)


def _axis(leaf: Leaf, index: int, weight: np.ndarray) -> int | None:
    """The axis of a weight that the outputs of its leaf are on, ``None`` where there is none for itself."""
    if leaf.op_type == "Conv":
        return 0
    if leaf.op_type == "ConvTranspose":
        return 1 if int(leaf.attributes.get("group", 1)) == 1 else None
    if index == 0 or weight.ndim < 2:
        return None
    if leaf.op_type == "Gemm":
        return 0 if leaf.attributes.get("transB", 0) else 1
    return weight.ndim - 1 if weight.ndim == 2 else None
