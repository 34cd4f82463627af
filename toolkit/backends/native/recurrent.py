"""Recurrent layers in inference: all steps in one kernel, the hidden units divided among threads.

First the inputs of all steps meet their weights. Then each step multiplies the last states: a few hidden units with all
their gates, for one or two sequences, stay in registers until the units' new states are known. Threads wait for each
other once a step, and not at all where each has a direction to itself. States lie twice, as read and as written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from toolkit.backends.native import functions
from toolkit.backends.native.code import Code
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.library import compiler
from toolkit.backends.native.number import Number
from toolkit.backends.native.packing import GatePanels
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.native.team import Team
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.recurrent_layer import STATES

FLOAT32, INDEX = np.dtype(np.float32), np.dtype(np.int64)
LEAST_LANES = 4  # hidden units of a vector
ACCUMULATORS = 8  # vectors
SMALL_STEP = 1 << 14  # multiplications of one step, from which a second thread is worth its waiting
LINE = 16  # floats of a line of the caches
COUNTER = 64  # bytes at the beginning of the workspace, of which barriers use the first


def is_recurrent(node: Node) -> bool:
    """Whether the layer has known weights, hidden units in whole vectors, and keeps nothing for a gradient."""
    weights = node.inputs[1:3]
    if not is_of_numbers(node) or len([item for item in weights if item is not None and is_static(item)]) != 2:
        return False
    keeps = [item for item in node.outputs[1 + STATES[node.attributes["kind"]] :] if item is not None]
    return not keeps and _lanes(node) >= LEAST_LANES


def _lanes(node: Node) -> int:
    recurrent = node.inputs[2]
    assert recurrent is not None
    return math.gcd(recurrent.shape[-1], compiler().lanes(FLOAT32))


@kernel(TOOLKIT_DOMAIN, "Recurrent", accepts=is_recurrent)
def lower_recurrent(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The sequence and the last states; weights in panels, everything else in rows."""
    layer = _Layer(node, resources.threads)
    layouts: list[Layout | None] = [None if item is None else plain(item.dtype, item.shape) for item in node.inputs]
    for index in (1, 2):
        layouts[index] = GatePanels(layer.lanes).layout(node.inputs[index])
    results = [None if item is None else plain(item.dtype, item.shape) for item in node.outputs]
    return CompiledKernel(layer.code, layouts, results, workspace=layer.workspace, tables=layer.tables)


class _Layer:
    """Writes the code of a layer."""

    def __init__(self, node: Node, threads: int) -> None:
        x, w = node.inputs[:2]
        assert x is not None and w is not None
        self.kind, direction = node.attributes["kind"], node.attributes.get("direction", "forward")
        self.steps, self.batch, self.size = x.shape
        self.directions, _, self.gates, self.hidden = w.shape
        self.lanes = _lanes(node)
        self.vectors = self.hidden // self.lanes
        self.first_reverse = {"forward": 1, "reverse": 0, "bidirectional": 1}[direction]
        lengths = node.attributes.get("lengths")
        self.tables = [] if lengths is None else [np.array(lengths, np.int64)]
        self._regions()
        inputs = [item is not None for item in node.inputs]
        outputs = [item is not None for item in node.outputs]
        self.code = Code(sum(inputs) + sum(outputs) + 1 + len(self.tables))
        places = iter(self.code.places)
        given = [next(places) if is_there else "" for is_there in inputs] + [""] * (6 - len(inputs))
        self.x, self.w, self.r, self.bias, *self.begun = given
        made = [next(places) if is_there else "" for is_there in outputs]
        self.y, self.last = made[0], made[1:]
        self.scratch = next(places)
        self.lengths = next(places, "")
        step = self.batch * self.directions * self.gates * self.hidden * self.hidden
        self.team = Team(self.code, threads if step >= SMALL_STEP else 1, self.scratch)
        self.needs_barrier = not self.team.is_alone and self.directions % threads != 0
        self.meet = self.team.barrier() if self.needs_barrier else lambda: None
        self._write()

    # memory -----------------------------------------------------------------------------------------------------------

    def _regions(self) -> None:
        """Where in the workspace, in floats, what lies: products of the inputs, states read and written, and others."""
        states = self.directions * self.batch * self.hidden
        self.pre = COUNTER // FLOAT32.itemsize
        self.h = self.pre + self.steps * states * self.gates
        self.c = self.h + 2 * states
        self.gated = self.c + states
        self.states = states
        self.workspace = FLOAT32.itemsize * (self.gated + 2 * states)

    def state_at(self, unit: Number, row: Number) -> Number:
        """Where in a region of states a vector of hidden units (of all directions) of a sequence begins."""
        direction, vector = self.apart(unit)
        return (direction * self.batch + row) * self.hidden + vector * self.lanes

    def apart(self, unit: Number) -> tuple[Number, Number]:
        if self.directions == 1:
            return self.code.index(0), unit
        direction = unit / self.vectors
        return direction, unit - direction * self.vectors

    def vector(self, place: str, at: Number) -> Number:
        return self.code.load(place, at, FLOAT32, self.lanes)

    # the whole --------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        code = self.code
        begin, end = self.team.share(self.directions * self.vectors)
        with code.loop(end, start=begin) as unit:
            self._begin(unit)
            self._project(unit)
        self.meet()
        with code.loop(self.steps) as step:
            parity = step & 1
            read, written = parity * self.states + self.h, (parity ^ 1) * self.states + self.h
            for stage in CELLS[self.kind]:
                with code.loop(end, start=begin) as unit:
                    self._rows(self.batch, self._advance(stage, unit, step, read, written))
                self._meet_and_fetch(stage, written)
        with code.loop(end, start=begin) as unit:
            self._end(unit)

    def _meet_and_fetch(self, stage: Stage, written: Number) -> None:
        """Wait for the others, and ask for all that they have written at once: one by one it would take much longer."""
        if not self.needs_barrier:
            return
        self.meet()
        region = written if stage is not _gru_gates else self.code.index(self.gated + self.states)
        with self.code.loop(self.states, LINE) as at:
            self.code.prefetch(self.scratch, region + at, FLOAT32)

    def _advance(
        self, stage: Stage, unit: Number, step: Number, read: Number, written: Number
    ) -> Callable[[Number, int], None]:
        return lambda row, rows: stage(_Part(self, unit, step, row, rows, read, written))

    def _rows(self, count: int, write: Callable[[Number, int], None]) -> None:
        """Two rows at a time, and the last one alone where they are odd."""
        most = min(2, count)
        whole = count // most * most
        with self.code.loop(whole, most) as row:
            write(row, most)
        if whole < count:
            write(self.code.index(whole), 1)

    def _begin(self, unit: Number) -> None:
        """Bring in the first states."""
        with self.code.loop(self.batch) as row:
            at = self.state_at(unit, row)
            for place, region in zip(self.begun, (self.h, self.c)[: STATES[self.kind]], strict=False):
                zero = self.code.constant(0.0, FLOAT32, self.lanes)
                self.code.store(self.vector(place, at) if place else zero, self.scratch, at + region)

    def _end(self, unit: Number) -> None:
        """Hand out the last states."""
        with self.code.loop(self.batch) as row:
            at = self.state_at(unit, row)
            regions = (self.h + (self.steps % 2) * self.states, self.c)
            for place, region in zip(self.last, regions, strict=False):
                if place:
                    self.code.store(self.vector(self.scratch, at + region), place, at)

    # products ---------------------------------------------------------------------------------------------------------

    def _project(self, unit: Number) -> None:
        """The inputs of all steps times the weights of a vector of units."""
        code = self.code
        panel = unit * (self.size * self.gates * self.lanes)
        biases = self._biases(unit)

        def write(row: Number, rows: int) -> None:
            starts = [(row + index) * self.size for index in range(rows)]
            sums = self.sums(self.x, starts, self.w, panel, self.size, range(self.gates), biases)
            for (index, gate), value in sums.items():
                code.store(value, self.scratch, self.projected(unit, row + index, gate))

        self._rows(self.steps * self.batch, write)

    def _biases(self, unit: Number) -> list[Number]:
        zero = self.code.constant(0.0, FLOAT32, self.lanes)
        return [self.bias_of(unit, gate) if self.bias else zero for gate in range(self.gates)]

    def bias_of(self, unit: Number, index: int) -> Number:
        """One of the biases of a vector of units."""
        direction, vector = self.apart(unit)
        biases = self.gates + (self.kind == "LinearGRU")
        return self.vector(self.bias, (direction * biases + index) * self.hidden + vector * self.lanes)

    def projected(self, unit: Number, row: Number, gate: int) -> Number:
        """Where the product of an input lies; ``row`` counts the sequences of all steps."""
        return ((unit * (self.steps * self.batch) + row) * self.gates + gate) * self.lanes + self.pre

    def sums(
        self,
        factors: str,
        starts: Sequence[Number],
        weights: str,
        panel: Number,
        depth: int,
        gates: Sequence[int],
        first: Sequence[Number],
    ) -> dict[tuple[int, int], Number]:
        """``first`` plus rows times some gates of a panel, by row and gate."""
        code, lanes = self.code, self.lanes
        rows = range(len(starts))
        parts = 2 if len(starts) * len(gates) * 2 <= ACCUMULATORS and depth % 2 == 0 else 1
        zero = code.constant(0.0, FLOAT32, lanes)
        cells = {
            (part, row, gate): code.cell(zero if part else start)
            for part in range(parts)
            for row in rows
            for gate, start in zip(gates, first, strict=True)
        }
        with code.loop(depth, parts) as position:
            for part in range(parts):
                at = panel + (position + part) * (self.gates * lanes)
                vectors = {gate: self.vector(weights, at + gate * lanes) for gate in gates}
                for row, start in zip(rows, starts, strict=True):
                    factor = code.load(factors, start + position + part, FLOAT32).spread(lanes)
                    for gate in gates:
                        cell = cells[part, row, gate]
                        cell.set(factor.times_plus(vectors[gate], cell.get()))
        found = {}
        for row, gate in product(rows, gates):
            values = [cells[part, row, gate].get() for part in range(parts)]
            found[row, gate] = values[0] + values[1] if parts == 2 else values[0]
        return found


@dataclass(frozen=True, slots=True)
class _Part:
    """A vector of hidden units in one step of a few sequences, ``rows`` from ``row`` on.

    ``read`` and ``written`` are the regions of the states before and behind the step.
    """

    layer: _Layer
    unit: Number
    step: Number
    row: Number
    rows: int
    read: Number
    written: Number

    def products(self, gates: Sequence[int], source: Number | None = None) -> dict[tuple[int, int], Number]:
        """The states (or what lies in the region ``source``) times the weights of some gates, by sequence and gate."""
        layer, (direction, _) = self.layer, self.layer.apart(self.unit)
        start = (self.read if source is None else source) + (direction * layer.batch + self.row) * layer.hidden
        starts = [start + index * layer.hidden for index in range(self.rows)]
        panel = self.unit * (layer.hidden * layer.gates * layer.lanes)
        zero = [layer.code.constant(0.0, FLOAT32, layer.lanes)] * len(gates)
        return layer.sums(layer.scratch, starts, layer.r, panel, layer.hidden, gates, zero)

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


Stage = Callable[[_Part], None]


def _simple(activation: Callable[[Number], Number]) -> Stage:
    def stage(part: _Part) -> None:
        for (index, _), value in part.sums([0]).items():
            part.finish(index, activation(value))

    return stage


def _lstm(part: _Part) -> None:
    """Gates in the order input, forget, cell, output."""
    sums, region = part.sums(range(4)), part.layer.c
    for index in range(part.rows):
        cell = part.region(index, region)
        entering, kept, leaving = (functions.sigmoid(sums[index, gate]) for gate in (0, 1, 3))
        new = kept.times_plus(cell, entering * functions.hyperbolic_tangent(sums[index, 2]))
        part.store(index, region, part.lasting(index, new, cell))
        part.finish(index, leaving * functions.hyperbolic_tangent(new))


def _gru_gates(part: _Part) -> None:
    """The first half of a step of GRU: the update gate, and the states behind the reset."""
    layer, sums = part.layer, part.sums([0, 1])
    for index in range(part.rows):
        part.store(index, layer.gated, functions.sigmoid(sums[index, 0]))
        part.store(index, layer.gated + layer.states, functions.sigmoid(sums[index, 1]) * part.old(index))


def _gru_state(part: _Part) -> None:
    """The second half: the product of what the reset left."""
    layer = part.layer
    sums = part.sums([2], layer.code.index(layer.gated + layer.states))
    for index in range(part.rows):
        _mix(part, index, part.region(index, layer.gated), functions.hyperbolic_tangent(sums[index, 2]))


def _linear_gru(part: _Part) -> None:
    """GRU with the reset behind the product, and a bias beside that."""
    layer, products = part.layer, part.products(range(3))
    for index in range(part.rows):
        update, reset = (functions.sigmoid(products[index, gate] + part.entering(index, gate)) for gate in (0, 1))
        linear = products[index, 2] + layer.bias_of(part.unit, 3) if layer.bias else products[index, 2]
        _mix(part, index, update, functions.hyperbolic_tangent(reset.times_plus(linear, part.entering(index, 2))))


def _mix(part: _Part, index: int, update: Number, new: Number) -> None:
    part.finish(index, update.times_plus(part.old(index) - new, new))


CELLS: dict[str, tuple[Stage, ...]] = {
    "LSTM": (_lstm,),
    "GRU": (_gru_gates, _gru_state),
    "LinearGRU": (_linear_gru,),
    "Tanh": (_simple(functions.hyperbolic_tangent),),
    "Relu": (_simple(lambda x: x.larger(0.0)),),
}
