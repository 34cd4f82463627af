"""The cells of recurrent layers backward, for some sequences in one step.

Each writes the gradients of its gates' inputs, and replaces the gradients of the states behind the step by those of the
states before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from toolkit.backends.native.assembly import functions
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.products.blocks import Matrix, Panels
from toolkit.backends.native.recurrent.grad_panels import GradPanels
from toolkit.backends.native.recurrent.sequences import Unit, Walk


@dataclass(frozen=True, slots=True)
class BackwardStep:
    """Where ``rows`` sequences have everything in one step; see ``ForwardStep`` for what was kept.

    ``weights`` is the turned R by its parts; ``dy`` the gradient of the result, ``dstate`` and ``dcell`` those of the
    states; ``spare`` are rows that GRU uses. The gradients of the gates' inputs go to ``grads``, those of what is reset
    in LinearGRU to ``flow``, and all of them to ``panels``, in rows from ``row`` on.
    """

    walk: Walk
    rows: int
    weights: list[Panels]
    gates: Matrix
    before: Matrix
    cell_before: Matrix
    cell_after: Matrix
    own: Matrix
    dy: Matrix | None
    dstate: Matrix
    dcell: Matrix
    spare: Matrix
    grads: Matrix
    flow: Matrix
    panels: GradPanels
    row: Number

    def add(self, source: Matrix, part: int, target: Matrix) -> None:
        """Take gradients through a part of R."""
        self.walk.blocks.add(source, self.rows, self.weights[part], target)

    def sweep(self, body: Callable[[Unit], None]) -> None:
        self.walk.sweep(self.rows, body)

    def grads_from(self, gate: int) -> Matrix:
        return self.grads.part(0, gate * self.walk.sizes.hidden)

    def store(self, unit: Unit, value: Number, gate: int) -> None:
        """The gradient of a gate's input."""
        unit.store(value, self.grads, gate)
        self.panels.store(unit, value, gate, self.row)

    def incoming(self, unit: Unit) -> Number:
        """The gradient of the state behind the step."""
        carried = unit.load(self.dstate)
        return carried if self.dy is None else carried + unit.load(self.dy)


Cell = Callable[[BackwardStep], None]


def _of_sigmoid(y: Number) -> Number:
    """The slope where the result is ``y``."""
    return y - y * y


def _of_tanh(y: Number) -> Number:
    return 1.0 - y * y


def _simple(slope: Callable[[Number, Number], Number]) -> Cell:
    """``slope(y, gradient of y)`` is the gradient in front of the activation."""

    def cell(step: BackwardStep) -> None:
        def body(unit: Unit) -> None:
            step.store(unit, slope(unit.load(step.gates), step.incoming(unit)), 0)
            unit.store(unit.walk.zero(), step.dstate)

        step.sweep(body)
        step.add(step.grads, 0, step.dstate)

    return cell


def _lstm(step: BackwardStep) -> None:
    def body(unit: Unit) -> None:
        entering, kept, new, leaving = (unit.load(step.gates, gate) for gate in range(4))
        shown = functions.quick_tangent(unit.load(step.cell_after))
        dstate = step.incoming(unit)
        dcell = (dstate * leaving).times_plus(_of_tanh(shown), unit.load(step.dcell))
        grads = (
            dcell * new * _of_sigmoid(entering),
            dcell * unit.load(step.cell_before) * _of_sigmoid(kept),
            dcell * entering * _of_tanh(new),
            dstate * shown * _of_sigmoid(leaving),
        )
        for gate, value in enumerate(grads):
            step.store(unit, value, gate)
        unit.store(dcell * kept, step.dcell)
        unit.store(unit.walk.zero(), step.dstate)

    step.sweep(body)
    step.add(step.grads, 0, step.dstate)


def _gru(step: BackwardStep) -> None:
    """``spare`` is the gradient of the state behind the reset."""

    def mix(unit: Unit) -> None:
        _through_mix(step, unit, step.incoming(unit))
        unit.store(unit.walk.zero(), step.spare)

    def reset(unit: Unit) -> None:
        share, dreset = unit.load(step.gates, 1), unit.load(step.spare)
        step.store(unit, dreset * unit.load(step.before) * _of_sigmoid(share), 1)
        unit.store(dreset.times_plus(share, unit.load(step.dstate)), step.dstate)

    step.sweep(mix)
    step.add(step.grads_from(2), 1, step.spare)
    step.sweep(reset)
    step.add(step.grads, 0, step.dstate)


def _linear_gru(step: BackwardStep) -> None:
    def body(unit: Unit) -> None:
        reset = unit.load(step.gates, 1)
        dnew = _through_mix(step, unit, step.incoming(unit))
        step.store(unit, dnew * unit.load(step.own) * _of_sigmoid(reset), 1)
        flow = dnew * reset
        unit.store(flow, step.flow)
        step.panels.store(unit, flow, 3, step.row)

    step.sweep(body)
    step.add(step.grads, 0, step.dstate)
    step.add(step.flow, 1, step.dstate)


def _through_mix(step: BackwardStep, unit: Unit, dstate: Number) -> Number:
    """Through ``update * before + (1 - update) * new``; returns the gradient in front of the activation of ``new``."""
    update, new = unit.load(step.gates, 0), unit.load(step.gates, 2)
    dnew = dstate * (1.0 - update) * _of_tanh(new)
    step.store(unit, dstate * (unit.load(step.before) - new) * _of_sigmoid(update), 0)
    step.store(unit, dnew, 2)
    unit.store(dstate * update, step.dstate)
    return dnew


CELLS: dict[str, Cell] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "LinearGRU": _linear_gru,
    "Tanh": _simple(lambda y, grad: grad * _of_tanh(y)),
    "Relu": _simple(lambda y, grad: (y > 0.0).choose(grad, 0.0)),
}
