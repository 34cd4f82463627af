"""What a recurrent layer in inference works on: where everything lies, and the products of rows with panels of weights.

The hidden units of a vector have all their gates in one panel, so a few rows times that panel stay in registers until
the units' new states are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.blocking import evenly
from toolkit.backends.native.recurrent.sizes import FLOAT32, Sizes, lanes_of
from toolkit.compiler.program import Node, Variable

INDEX = np.dtype(np.int64)
ACCUMULATORS = {16: 12, 32: 24}  # vectors, by registers: factors of their rows and weights fill the others
MOST_ROWS = 4  # at once
SMALL_STEP = 1 << 14  # multiplications of one step, from which a second thread is worth its waiting
COUNTER = 64  # bytes at the beginning of the workspace, of which barriers use the first


class Layer:
    """A layer and its places, while its code is written."""

    def __init__(self, node: Node, threads: int) -> None:
        sizes = Sizes.of(node)
        self.kind, self.first_reverse = sizes.kind, sizes.first_reverse
        self.steps, self.batch, self.size = sizes.steps, sizes.batch, sizes.size
        self.directions, self.gates, self.hidden = sizes.directions, sizes.gates, sizes.hidden
        self.lanes, self._accumulators = lanes_of(node), ACCUMULATORS[compiler().registers]
        self.vectors = self.hidden // self.lanes
        lengths = node.attributes.get("lengths")
        self.tables = [] if lengths is None else [np.array(lengths, np.int64)]
        self._regions()
        inputs = [item is not None for item in node.inputs]
        outputs = [item is not None for item in node.outputs]
        self.code = Code(sum(inputs) + sum(outputs) + 1 + len(self.tables))
        places = iter(self.code.places)
        given = [next(places) if is_there else "" for is_there in inputs] + [""] * (6 - len(inputs))
        self.x, self.w, self.r, self.bias, *self.begun = given
        self.begins_as_zero = _is_zero((*node.inputs, None, None)[4])
        made = [next(places) if is_there else "" for is_there in outputs]
        self.y, self.last = made[0], made[1:]
        self.scratch = next(places)
        self.lengths = next(places, "")
        step = self.batch * self.directions * self.gates * self.hidden * self.hidden
        self.team = Team(self.code, threads if step >= SMALL_STEP else 1, self.scratch)
        self.needs_barrier = not self.team.is_alone and self.directions % threads != 0
        self.meet = self.team.barrier() if self.needs_barrier else lambda: None

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

    # products ---------------------------------------------------------------------------------------------------------

    def rows(self, count: int, write: Callable[[Number, int], None]) -> None:
        """A few rows at a time, and what is left of them."""
        most = evenly(count, min(MOST_ROWS, max(1, self._accumulators // self.gates)))
        whole = count // most * most
        with self.code.loop(whole, most) as row:
            write(row, most)
        if whole < count:
            write(self.code.index(whole), count - whole)

    def project(self, unit: Number) -> None:
        """The inputs of all steps times the weights of a vector of units."""
        code = self.code
        panel = unit * (self.size * self.gates * self.lanes)
        biases = self._biases(unit)

        def write(row: Number, rows: int) -> None:
            starts = [(row + index) * self.size for index in range(rows)]
            sums = self.sums(self.x, starts, self.w, panel, self.size, range(self.gates), biases)
            for (index, gate), value in sums.items():
                code.store(value, self.scratch, self.projected(unit, row + index, gate))

        self.rows(self.steps * self.batch, write)

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
        parts = 2 if len(starts) * len(gates) * 2 <= self._accumulators and depth % 2 == 0 else 1
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
                spread = [code.load(factors, start + position + part, FLOAT32).spread(lanes) for start in starts]
                for gate in gates:
                    vector = self.vector(weights, at + gate * lanes)
                    for row, factor in zip(rows, spread, strict=True):
                        cell = cells[part, row, gate]
                        cell.set(factor.times_plus(vector, cell.get()))
        found = {}
        for row, gate in product(rows, gates):
            values = [cells[part, row, gate].get() for part in range(parts)]
            found[row, gate] = values[0] + values[1] if parts == 2 else values[0]
        return found


def _is_zero(state: Variable | None) -> bool:
    """Whether a first state is known to be zero."""
    return state is None or (state.constant is not None and not state.constant.any())
