"""The cells of recurrent layers in inference: what becomes of the sums of a few hidden units in one step.

A cell is a list of stages. Where one needs what another has computed for all units, threads wait in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolkit.backends.native.assembly import functions
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.recurrent.inference_layer import INDEX, Layer
from toolkit.backends.native.recurrent.sizes import FLOAT32


@dataclass(frozen=True, slots=True)
class Part:
    """A vector of hidden units in one step of a few sequences, ``rows`` from ``row`` on.

    ``read`` and ``written`` are the regions of the states before and behind the step. ``begins`` says that those before
    it are zero.
    """

    layer: Layer
    unit: Number
    step: Number
    row: Number
    rows: int
    read: Number
    written: Number
    begins: bool = False

    def products(self, gates: Sequence[int], source: Number | None = None) -> dict[tuple[int, int], Number]:
        """The states (or what lies in the region ``source``) times the weights of some gates, by sequence and gate."""
        layer, (direction, _) = self.layer, self.layer.apart(self.unit)
        start = (self.read if source is None else source) + (direction * layer.batch + self.row) * layer.hidden
        starts = [start + index * layer.hidden for index in range(self.rows)]
        panel = self.unit * (layer.hidden * layer.gates * layer.lanes)
        zero = layer.code.constant(0.0, FLOAT32, layer.lanes)
        if self.begins:
            return {(index, gate): zero for index in range(self.rows) for gate in gates}
        return layer.sums(layer.scratch, starts, layer.r, panel, layer.hidden, gates, [zero] * len(gates))

    def sums(self, gates: Sequence[int], source: Number | None = None) -> dict[tuple[int, int], Number]:
        """The same with the inputs and biases."""
        found = self.products(gates, source)
        return {(index, gate): value + self.entering(index, gate) for (index, gate), value in found.items()}

    def entering(self, index: int, gate: int) -> Number:
        """The product of an input, and the bias."""
        row = self.time(index) * self.layer.batch + self.row + index
        return self.layer.vector(self.layer.scratch, self.layer.projected(self.unit, row, gate))

    def place(self, index: int) -> Number:
        """Where the units of a sequence lie in a region of states."""
        return self.layer.state_at(self.unit, self.row + index)

    def old(self, index: int) -> Number:
        """The state before the step."""
        return self.region(index, self.read)

    def region(self, index: int, start: Number | int) -> Number:
        """The units of a sequence in a region."""
        return self.layer.vector(self.layer.scratch, self.place(index) + start)

    def store(self, index: int, start: Number | int, value: Number) -> None:
        self.layer.code.store(value, self.layer.scratch, self.place(index) + start)

    def length(self, index: int) -> Number | None:
        layer = self.layer
        return layer.code.load(layer.lengths, self.row + index, INDEX) if layer.lengths else None

    def time(self, index: int) -> Number:
        """Which time of a sequence the step is about; behind its end the steps keep to the time."""
        layer, step, length = self.layer, self.step, self.length(index)
        direction, _ = layer.apart(self.unit)
        backwards = (layer.code.index(layer.steps) if length is None else length) - 1 - step
        if length is not None:
            backwards = (step < length).choose(backwards, step)
        return (direction >= layer.first_reverse).choose(backwards, step)

    def lasting(self, index: int, new: Number, over: Number) -> Number:
        """``new``, but ``over`` where the sequence has ended."""
        length = self.length(index)
        return new if length is None else (self.step < length).spread(self.layer.lanes).choose(new, over)

    def finish(self, index: int, new: Number) -> None:
        """Write the new state of a sequence, and its result of the step."""
        layer, row = self.layer, self.row + index
        self.store(index, self.written, self.lasting(index, new, self.old(index)))
        if layer.y:
            zero = layer.code.constant(0.0, FLOAT32, layer.lanes)
            direction, vector = layer.apart(self.unit)
            place = (self.time(index) * layer.batch + row) * (layer.directions * layer.hidden)
            place = place + direction * layer.hidden + vector * layer.lanes
            layer.code.store(self.lasting(index, new, zero), layer.y, place)


Stage = Callable[[Part], None]


def _simple(activation: Callable[[Number], Number]) -> Stage:
    def stage(part: Part) -> None:
        for (index, _), value in part.sums([0]).items():
            part.finish(index, activation(value))

    return stage


def _lstm(part: Part) -> None:
    """Gates in the order input, forget, cell, output."""
    sums, region = part.sums(range(4)), part.layer.c
    for index in range(part.rows):
        cell = part.region(index, region)
        entering, kept, leaving = (functions.quick_sigmoid(sums[index, gate]) for gate in (0, 1, 3))
        new = kept.times_plus(cell, entering * functions.quick_tangent(sums[index, 2]))
        part.store(index, region, part.lasting(index, new, cell))
        part.finish(index, leaving * functions.quick_tangent(new))


def gru_gates(part: Part) -> None:
    """The first half of a step of GRU: the update gate, and the states behind the reset."""
    layer, sums = part.layer, part.sums([0, 1])
    for index in range(part.rows):
        part.store(index, layer.gated, functions.quick_sigmoid(sums[index, 0]))
        part.store(index, layer.gated + layer.states, functions.quick_sigmoid(sums[index, 1]) * part.old(index))


def _gru_state(part: Part) -> None:
    """The second half: the product of what the reset left."""
    layer = part.layer
    sums = part.sums([2], layer.code.index(layer.gated + layer.states))
    for index in range(part.rows):
        _mix(part, index, part.region(index, layer.gated), functions.quick_tangent(sums[index, 2]))


def _linear_gru(part: Part) -> None:
    """GRU with the reset behind the product, and a bias beside that."""
    layer, products = part.layer, part.products(range(3))
    for index in range(part.rows):
        update, reset = (functions.quick_sigmoid(products[index, gate] + part.entering(index, gate)) for gate in (0, 1))
        linear = products[index, 2] + layer.bias_of(part.unit, 3) if layer.bias else products[index, 2]
        _mix(part, index, update, functions.quick_tangent(reset.times_plus(linear, part.entering(index, 2))))


def _mix(part: Part, index: int, update: Number, new: Number) -> None:
    part.finish(index, update.times_plus(part.old(index) - new, new))


CELLS: dict[str, tuple[Stage, ...]] = {
    "LSTM": (_lstm,),
    "GRU": (gru_gates, _gru_state),
    "LinearGRU": (_linear_gru,),
    "Tanh": (_simple(functions.quick_tangent),),
    "Relu": (_simple(lambda x: x.larger(0.0)),),
}
