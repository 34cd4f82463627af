"""Recurrent layers of many sequences, forward: each thread takes some through all steps; for training all is kept.

Weights are packed first, by all threads. In each step the gates of a thread's sequences begin as the biases, then come
the products of the inputs and of the states, and what the cell makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.blocks import Matrix
from toolkit.backends.native.recurrent.forward_cells import CELLS, ForwardStep
from toolkit.backends.native.recurrent.regions import Regions
from toolkit.backends.native.recurrent.sequences import Walk
from toolkit.backends.native.recurrent.sizes import MANY, Sizes, is_kept
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.recurrent_layer import INPUTS, STATES


def is_of_many(node: Node) -> bool:
    """Whether the layer keeps what its gradient needs or has many sequences, all of which have all steps."""
    return is_of_numbers(node) and "lengths" not in node.attributes and (is_kept(node) or node.x.shape[1] >= MANY)


@kernel(TOOLKIT_DOMAIN, "Recurrent", accepts=is_of_many)
def lower_forward(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The sequence, the last states, and what is kept; everything in rows."""
    forward = _Forward(node, resources.threads)
    return CompiledKernel(forward.walk.code, forward.inputs, forward.outputs, workspace=forward.walk.workspace)


class _Forward:
    """Writes the code."""

    def __init__(self, node: Node, threads: int) -> None:
        self._sizes = sizes = Sizes.of(node)
        count = 1 + STATES[sizes.kind]
        self.inputs = plain_layouts(node.inputs)
        self.outputs = plain_layouts(node.outputs)
        kept = node.outputs[count] if len(node.outputs) > count else None
        if kept is not None:
            self.outputs[count] = Regions(sizes, "", 0, is_kept=True).layout(kept.shape)
        self.walk = walk = Walk(sizes, threads, self.inputs, self.outputs)
        self._x, w, r, self._bias, *self._begun = [*walk.given, *[""] * (INPUTS - len(walk.given))]
        self._y, self._last = walk.made[0], walk.made[1:count]
        if kept is not None:
            self._regions = Regions(sizes, walk.made[count], 0, is_kept=True)
        else:
            start = walk.reserve(Regions(sizes, "", 0, is_kept=False).count)
            self._regions = Regions(sizes, walk.scratch, start, is_kept=False)
        meet = walk.team.barrier()
        zero, width, hidden = walk.code.index(0), sizes.width, sizes.hidden
        self._w = walk.packed(Matrix(w, zero, width), sizes.size * width, sizes.size, width)
        self._r = [
            walk.packed(Matrix(r, zero + first * hidden, width), hidden * width, hidden, gates * hidden)
            for first, gates in walk.parts
        ]
        meet()
        walk.each_group(self._write_group)

    def _write_group(self, first: Number, rows: int) -> None:
        """All steps of some sequences."""
        code, sizes = self.walk.code, self._sizes
        with code.loop(sizes.directions) as direction:
            is_reverse = self.walk.is_reverse(direction)
            begun, ended = (is_reverse.choose(code.index(a), b) for a, b in ((sizes.steps, 0), (0, sizes.steps)))
            self._begin(direction, first, rows, begun)
            with code.loop(sizes.steps) as step:
                time = is_reverse.choose(sizes.steps - 1 - step, step)
                self._advance(direction, first, rows, time, is_reverse)
            self._end(direction, first, rows, ended)

    def _begin(self, direction: Number, first: Number, rows: int, moment: Number) -> None:
        for index in range(STATES[self._sizes.kind]):
            region = self._regions.own if index else self._regions.states
            target = region(direction, moment).part(first, 0)
            if self._begun[index]:
                source = self.walk.outside(self._begun[index], direction, first)
                self.walk.move(source, target, rows)
            else:
                self.walk.fill(target, rows, self._sizes.hidden)

    def _end(self, direction: Number, first: Number, rows: int, moment: Number) -> None:
        for index, place in enumerate(self._last):
            if place:
                region = self._regions.own if index else self._regions.states
                source = region(direction, moment).part(first, 0)
                target = self.walk.outside(place, direction, first)
                self.walk.move(source, target, rows)

    def _advance(self, direction: Number, first: Number, rows: int, time: Number, is_reverse: Number) -> None:
        walk, sizes, regions = self.walk, self._sizes, self._regions
        later = time + 1
        before, after = is_reverse.choose(later, time), is_reverse.choose(time, later)
        gates = regions.gates(direction, time).part(first, 0)
        bias = direction * (sizes.biases * sizes.hidden)
        walk.fill(gates, rows, sizes.width, self._bias, bias)
        x = Matrix(self._x, (time * sizes.batch + first) * sizes.size, sizes.size)
        walk.add(x, rows, self._w(direction), gates)
        y = None
        if self._y:
            row = sizes.directions * sizes.hidden
            y = Matrix(self._y, (time * sizes.batch + first) * row + direction * sizes.hidden, row)
        own = [regions.own(direction, moment).part(first, 0) for moment in (before, after, time)]
        step = ForwardStep(
            walk,
            rows,
            weights=[panels(direction) for panels in self._r],
            gates=gates,
            before=regions.states(direction, before).part(first, 0),
            after=regions.states(direction, after).part(first, 0),
            cell_before=own[0],
            cell_after=own[1],
            own=own[2],
            y=y,
            bias=self._bias,
            last_bias=bias + sizes.gates * sizes.hidden,
        )
        CELLS[sizes.kind](step)
