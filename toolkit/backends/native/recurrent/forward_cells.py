"""The cells of recurrent layers forward, for some sequences in one step; gates are left as their activations gave them.

When a cell begins, the gates hold the products of the inputs and the biases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from toolkit.backends.native.assembly import functions
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.products.blocks import Matrix, Panels
from toolkit.backends.native.recurrent.sequences import Unit, Walk

sigmoid, tanh = functions.quick_sigmoid, functions.quick_tangent


@dataclass(frozen=True, slots=True)
class ForwardStep:
    """Where ``rows`` sequences have everything in one step.

    ``weights`` is R by its parts; ``own`` is what GRU and LinearGRU have beside their states, in LSTM there is the cell
    ``cell_before`` the step and ``cell_after`` it; the last bias of LinearGRU lies at ``last_bias``.
    """

    walk: Walk
    rows: int
    weights: list[Panels]
    gates: Matrix
    before: Matrix
    after: Matrix
    cell_before: Matrix
    cell_after: Matrix
    own: Matrix
    y: Matrix | None
    bias: str
    last_bias: Number

    def gates_from(self, gate: int) -> Matrix:
        return self.gates.part(0, gate * self.walk.sizes.hidden)

    def add(self, source: Matrix, part: int, target: Matrix) -> None:
        """Add the product of states with a part of R."""
        self.walk.blocks.add(source, self.rows, self.weights[part], target)

    def sweep(self, body: Callable[[Unit], None]) -> None:
        self.walk.sweep(self.rows, body)

    def finish(self, unit: Unit, new: Number) -> None:
        """The new state, and the result of the step."""
        unit.store(new, self.after)
        if self.y is not None:
            unit.store(new, self.y)


Cell = Callable[[ForwardStep], None]


def _simple(activation: Callable[[Number], Number]) -> Cell:
    def cell(step: ForwardStep) -> None:
        step.add(step.before, 0, step.gates)

        def body(unit: Unit) -> None:
            new = activation(unit.load(step.gates))
            unit.store(new, step.gates)
            step.finish(unit, new)

        step.sweep(body)

    return cell


def _lstm(step: ForwardStep) -> None:
    """Gates in the order input, forget, cell, output."""
    step.add(step.before, 0, step.gates)

    def body(unit: Unit) -> None:
        entering, kept, leaving = (sigmoid(unit.load(step.gates, gate)) for gate in (0, 1, 3))
        new = tanh(unit.load(step.gates, 2))
        cell = kept.times_plus(unit.load(step.cell_before), entering * new)
        for gate, value in enumerate((entering, kept, new, leaving)):
            unit.store(value, step.gates, gate)
        unit.store(cell, step.cell_after)
        step.finish(unit, leaving * tanh(cell))

    step.sweep(body)


def _gru(step: ForwardStep) -> None:
    """Gates in the order update, reset, new state, whose product waits for the reset."""
    step.add(step.before, 0, step.gates)

    def reset(unit: Unit) -> None:
        for gate in range(2):
            unit.store(sigmoid(unit.load(step.gates, gate)), step.gates, gate)
        unit.store(unit.load(step.gates, 1) * unit.load(step.before), step.own)

    step.sweep(reset)
    step.add(step.own, 1, step.gates_from(2))
    step.sweep(lambda unit: _mix(step, unit, unit.load(step.gates, 0), tanh(unit.load(step.gates, 2))))


def _linear_gru(step: ForwardStep) -> None:
    """The reset comes behind the product, and behind a bias of that."""
    step.add(step.before, 0, step.gates)
    step.walk.fill(step.own, step.rows, step.walk.sizes.hidden, step.bias, step.last_bias)
    step.add(step.before, 1, step.own)

    def body(unit: Unit) -> None:
        update, reset = (sigmoid(unit.load(step.gates, gate)) for gate in range(2))
        unit.store(update, step.gates, 0)
        unit.store(reset, step.gates, 1)
        _mix(step, unit, update, tanh(reset.times_plus(unit.load(step.own), unit.load(step.gates, 2))))

    step.sweep(body)


def _mix(step: ForwardStep, unit: Unit, update: Number, new: Number) -> None:
    unit.store(new, step.gates, 2)
    step.finish(unit, update.times_plus(unit.load(step.before) - new, new))


CELLS: dict[str, Cell] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "LinearGRU": _linear_gru,
    "Tanh": _simple(tanh),
    "Relu": _simple(lambda x: x.larger(0.0)),
}
