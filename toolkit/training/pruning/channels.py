"""Channels: which axes of which tensors belong to one set of units, so that a unit can be taken out everywhere.

A set begins where a product makes its outputs and ends where other products read them. In between it passes what works
on each channel by itself (activations, pooling, BatchNormalization, convolutions by channel, Flatten), and sums join
the sets of what they add: their units go together. What mixes channels otherwise, inputs and outputs of the network fix
a set as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from toolkit.graph.layer import Leaf, reads
from toolkit.graph.network import Network
from toolkit.graph.surgery import data_values
from toolkit.training.surgery.shapes import values_of

BY_ELEMENT = (
    *(
        "Abs",
        "Celu",
        "Clip",
        "Dropout",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
    ),
    *("Mish", "Neg", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu"),
)
BY_CHANNEL = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool")
BROADCAST = ("Add", "Div", "Mul", "PRelu", "Sub")
FLATTENING = ("Flatten", "Reshape", "Squeeze")


@dataclass(frozen=True, slots=True)
class Slice:
    """``block`` numbers in a row on ``axis`` of the parameter ``name`` for each unit."""

    name: str
    axis: int
    block: int = 1


@dataclass(eq=False)
class Units:
    """A set of ``count`` units: where they are made, every tensor that has them, and why it is fixed, if it is."""

    count: int
    made: list[tuple[Leaf, Slice]] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    grouped: list[Leaf] = field(default_factory=list)
    flattened: list[tuple[Leaf, int]] = field(default_factory=list)
    fixed: str = ""
    joined: Units | None = None

    def root(self) -> Units:
        """The set that this one was joined to, at last."""
        return self if self.joined is None else self.joined.root()

    def join(self, other: Units) -> None:
        """Let two sets be one."""
        mine, theirs = self.root(), other.root()
        if mine is theirs:
            return
        if mine.count != theirs.count:
            mine.fix("sets of different sizes meet there")
            theirs.fix("sets of different sizes meet there")
            return
        mine.made += theirs.made
        mine.slices += theirs.slices
        mine.grouped += theirs.grouped
        mine.flattened += theirs.flattened
        mine.fixed = mine.fixed or theirs.fixed
        theirs.joined = mine

    def fix(self, reason: str) -> None:
        """Let the set stay as it is; the first reason counts."""
        root = self.root()
        root.fixed = root.fixed or reason


@dataclass(frozen=True, slots=True)
class Carried:
    """The units on ``axis`` of a value, ``block`` numbers in a row for each."""

    units: Units
    axis: int
    block: int = 1


class Channels:
    """The sets of units of a network. Raises what binding raises, where shapes cannot be told."""

    def __init__(self, network: Network) -> None:
        self.graph = network.graph
        self.data = data_values(self.graph)
        self.consumers = self.graph.consumers()
        wanted = [name for leaf in self.graph.leaves for name in leaf.outputs if name in self.data]
        self.values = values_of(network, [*network.inputs, *wanted])
        self.carried: dict[str, Carried] = {}
        for leaf in self.graph.leaves:
            if any(name in self.data for name in reads(leaf)):
                self._visit(leaf)
        for name in self.graph.outputs:
            self._fix(name, f"it leaves the network as {name!r}")

    def sets(self) -> Iterator[Units]:
        """Every set once, in order."""
        seen: dict[int, Units] = {}
        for carried in self.carried.values():
            root = carried.units.root()
            seen.setdefault(id(root), root)
        yield from seen.values()

    def _visit(self, leaf: Leaf) -> None:
        passed = None if leaf.domain or any(leaf.bodies) else self._passed(leaf)
        if passed is None:
            for name in reads(leaf):
                self._fix(name, f"{leaf.operator} {leaf.path!r} reads it")
        else:
            self.carried[leaf.outputs[0]] = passed

    def _passed(self, leaf: Leaf) -> Carried | None:
        """What the first output carries; ``None`` where a leaf does with channels what is not known here."""
        if leaf.op_type in ("Conv", "Gemm", "MatMul"):
            return self._product(leaf)
        x = self.carried.get(leaf.inputs[0])
        if leaf.op_type in BROADCAST:
            return self._broadcast(leaf)
        if x is None:
            return None
        if leaf.op_type in BY_ELEMENT:
            return x
        if leaf.op_type in BY_CHANNEL:
            return x if x.axis == 1 else None
        if leaf.op_type == "BatchNormalization" and x.axis == 1:
            slices = [self._slice(name, 0, x.block) for name in leaf.inputs[1:5]]
            return x if len(leaf.outputs) == 1 and self._take(x.units, slices) else None
        if leaf.op_type == "ReduceMean" or leaf.op_type in FLATTENING:
            return self._flattened(leaf, x)
        return None

    # products ---------------------------------------------------------------------------------------------------------

    def _product(self, leaf: Leaf) -> Carried | None:
        x, weight = leaf.inputs[0], self.graph.parameters.get(leaf.inputs[1])
        if weight is None or x not in self.data or leaf.inputs[1] in self.data or leaf.attributes.get("transA", 0):
            return None
        if len(self.consumers[weight.name]) > 1 or (leaf.op_type != "Conv" and len(weight.shape) != 2):
            return None
        group = int(leaf.attributes.get("group", 1))
        if group > 1:
            return self._by_channel(leaf, group)
        turned = leaf.op_type == "Conv" or bool(leaf.attributes.get("transB", 0))
        out, into = (0, 1) if turned else (1, 0)
        made = Units(weight.shape[out])
        bias = leaf.inputs[2] if len(leaf.inputs) > 2 else ""
        slices = [Slice(weight.name, out)]
        if bias:
            held = self.graph.parameters.get(bias)
            if held is None:
                return None
            if held.shape and held.shape[-1] != 1:
                slices.append(self._slice(bias, len(held.shape) - 1))  # type: ignore[arg-type]
        if not self._take(made, slices):
            return None
        made.made.append((leaf, slices[0]))
        rank = len(self.values[leaf.outputs[0]].shape or ())
        before = self.carried.get(x)
        if before is not None:
            if before.axis == (rank - 1 if leaf.op_type == "MatMul" else 1):
                before.units.root().slices.append(Slice(weight.name, into, before.block))
            else:
                before.units.fix(f"{leaf.op_type} {leaf.path!r} reads it along another axis")
        return Carried(made, rank - 1 if leaf.op_type == "MatMul" else 1)

    def _by_channel(self, leaf: Leaf, group: int) -> Carried | None:
        x = self.carried.get(leaf.inputs[0])
        weight = self.graph.parameters[leaf.inputs[1]]
        if x is None or x.axis != 1 or x.block != 1 or weight.shape[:2] != (group, 1) or group != x.units.root().count:
            return None
        if not self._take(x.units, [self._slice(name, 0) for name in leaf.inputs[1:] if name]):
            return None
        x.units.root().grouped.append(leaf)
        return x

    # what lies between ------------------------------------------------------------------------------------------------

    def _broadcast(self, leaf: Leaf) -> Carried | None:
        moving = [name for name in leaf.inputs if name in self.data]
        carried = [self.carried.get(name) for name in moving]
        first = carried[0]
        if first is None or any(item is None for item in carried):
            return None
        rank = len(self.values[leaf.outputs[0]].shape or ())
        if any(len(self.values[name].shape or ()) != rank for name in moving):
            return None
        for item in carried[1:]:
            if item is None or (item.axis, item.block) != (first.axis, first.block):
                return None
            first.units.join(item.units)
        for name in leaf.inputs:
            if name in moving:
                continue
            held = self.graph.parameters.get(name)
            place = None if held is None else first.axis - (rank - len(held.shape))
            if held is None or place is None:
                return None
            if (
                place >= 0
                and held.shape[place] != 1
                and not self._take(first.units, [self._slice(name, place, first.block)])
            ):
                return None
        return first

    def _flattened(self, leaf: Leaf, x: Carried) -> Carried | None:
        """Channels with all their places in a row, or their means."""
        given, made = (self.values[name].shape or () for name in (leaf.inputs[0], leaf.outputs[0]))
        if x.axis != 1 or len(given) < 2 or len(made) < 2 or made[0] != given[0]:
            return None
        if leaf.op_type == "ReduceMean":
            return x if made[1] == given[1] and x.block == 1 else None
        inside = given[2:]
        if any(not isinstance(size, int) for size in inside) or len(made) != 2:
            return None
        block = x.block * math.prod(size for size in inside if isinstance(size, int))
        if made[1] != x.units.root().count * block:
            return None
        if leaf.op_type == "Reshape":
            x.units.root().flattened.append((leaf, block))
        return Carried(x.units, 1, block)

    # tensors ----------------------------------------------------------------------------------------------------------

    def _slice(self, name: str, axis: int, block: int = 1) -> Slice | None:
        """A slice of a tensor that one leaf alone reads, ``None`` where it is none."""
        held = self.graph.parameters.get(name)
        return Slice(name, axis, block) if held is not None and len(self.consumers[name]) == 1 else None

    def _take(self, units: Units, slices: list[Slice | None] | list[Slice]) -> bool:
        """Note slices as those of a set; false where one of them is not known or has another size."""
        root = units.root()
        for item in slices:
            if item is None or self.graph.parameters[item.name].shape[item.axis] != root.count * item.block:
                return False
        root.slices += [item for item in slices if item is not None]
        return True

    def _fix(self, name: str, reason: str) -> None:
        carried = self.carried.get(name)
        if carried is not None:
            carried.units.fix(reason)
