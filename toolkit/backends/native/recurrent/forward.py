"""Recurrent layers of many sequences, forward: each thread takes some through all steps; for training all is kept.

Weights that are not known beforehand are packed first, by all threads. The gates of a thread's sequences begin as the
biases and the products of the inputs, for a few steps at once so that each weight is read for enough rows; then come,
step by step, the products of the states, and what the cell makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.blocks import Matrix, Panels
from toolkit.backends.native.products.packing import LayerPanels
from toolkit.backends.native.products.tile import width
from toolkit.backends.native.recurrent.forward_cells import CELLS, ForwardStep
from toolkit.backends.native.recurrent.regions import Regions
from toolkit.backends.native.recurrent.sequences import Walk
from toolkit.backends.native.recurrent.sizes import MANY, Sizes, is_kept
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.recurrent_layer import INPUTS, STATES

W, R = 1, 2  # among the inputs
MANY_UNKEPT = {32: 16}  # in inference, by registers: with these, units shared out serve more sequences at once
ENOUGH_ROWS = 32  # of a thread for each reading of a weight


def is_of_many(node: Node) -> bool:
    """Whether the layer keeps what its gradient needs or has many sequences, all of which have all steps."""
    if not is_of_numbers(node) or "lengths" in node.attributes:
        return False
    return is_kept(node) or node.x.shape[1] >= MANY_UNKEPT.get(compiler().registers, MANY)


@kernel(TOOLKIT_DOMAIN, "Recurrent", accepts=is_of_many)
def lower_forward(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The sequence, the last states, and what is kept; everything in rows."""
    forward = _Forward(node, resources.threads)
    return CompiledKernel(forward.walk.code, forward.inputs, forward.outputs, workspace=forward.walk.workspace)


class _Moment(NamedTuple):
    """A step of a direction: its time, and where in the regions its gates lie."""

    direction: Number
    time: Number
    slot: Number
    is_reverse: Number


class _Forward:
    """Writes the code."""

    def __init__(self, node: Node, threads: int) -> None:
        self._sizes = sizes = Sizes.of(node)
        count = 1 + STATES[sizes.kind]
        self.inputs = plain_layouts(node.inputs)
        self._parts = {W: ((0, sizes.gates),), R: sizes.parts}
        for index, parts in self._parts.items():
            weight = node.inputs[index]
            if weight is not None and is_static(weight) and not is_kept(node):
                self.inputs[index] = LayerPanels(width(), parts).layout(weight)
        self.outputs = plain_layouts(node.outputs)
        kept = node.outputs[count] if len(node.outputs) > count else None
        if kept is not None:
            self.outputs[count] = Regions(sizes).layout(kept.shape)
        self.walk = walk = Walk(sizes, threads, self.inputs, self.outputs)
        self._x, w, r, self._bias, *self._begun = [*walk.given, *[""] * (INPUTS - len(walk.given))]
        self._y, self._last = walk.made[0], walk.made[1:count]
        self._together = max(1, min(sizes.steps, ENOUGH_ROWS // walk.most_rows))
        if kept is not None:
            self._regions = Regions(sizes, walk.made[count])
        else:
            start = walk.reserve(Regions(sizes, few=self._together).count)
            self._regions = Regions(sizes, walk.scratch, start, self._together)
        meet = walk.team.barrier()
        (self._w,), self._r = self._panels(W, w, sizes.size), self._panels(R, r, sizes.hidden)
        meet()
        walk.each_group(self._write_group)

    def _panels(self, index: int, place: str, depth: int) -> list[Callable[[Number], Panels]]:
        """Where the parts of a weight lie."""
        walk, sizes, layout, parts = self.walk, self._sizes, self.inputs[index], self._parts[index]
        assert layout is not None, "no layer is without its weights"
        if not layout.is_plain:
            return walk.known(place, depth, parts)
        rows, step = Matrix(place, walk.code.index(0), sizes.width), depth * sizes.width
        return [
            walk.packed(rows.part(0, first * sizes.hidden), step, depth, gates * sizes.hidden) for first, gates in parts
        ]

    def _write_group(self, first: Number, rows: int) -> None:
        """All steps of some sequences, a few together."""
        code, sizes = self.walk.code, self._sizes
        with code.loop(sizes.directions) as direction:
            is_reverse = self.walk.is_reverse(direction)
            begun, ended = (is_reverse.choose(code.index(a), b) for a, b in ((sizes.steps, 0), (0, sizes.steps)))
            self._begin(direction, first, rows, begun)
            with code.loop(sizes.steps, self._together) as begin:
                together = (sizes.steps - begin).smaller(self._together)

                def moment(index: Number, begin: Number = begin) -> _Moment:
                    step = begin + index
                    time = is_reverse.choose(sizes.steps - 1 - step, step)
                    return _Moment(direction, time, time if self._regions.is_kept else index, is_reverse)

                self._enter(first, rows, together, moment)
                with code.loop(together) as index:
                    self._advance(first, rows, moment(index))
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

    def _enter(self, first: Number, rows: int, count: Number, moment: Callable[[Number], _Moment]) -> None:
        """The biases and the products of the inputs, for a few steps."""
        walk, sizes = self.walk, self._sizes
        direction = moment(walk.code.index(0)).direction

        def pair(index: Number) -> tuple[Matrix, Matrix]:
            found = moment(index)
            x = Matrix(self._x, (found.time * sizes.batch + first) * sizes.size, sizes.size)
            return x, self._regions.gates(direction, found.slot).part(first, 0)

        with walk.code.loop(count) as index:
            walk.fill(pair(index)[1], rows, sizes.width, self._bias, direction * (sizes.biases * sizes.hidden))
        walk.blocks.add_each(count, pair, rows, self._w(direction))

    def _advance(self, first: Number, rows: int, moment: _Moment) -> None:
        walk, sizes, regions = self.walk, self._sizes, self._regions
        direction, time, slot, is_reverse = moment
        later = time + 1
        before, after = is_reverse.choose(later, time), is_reverse.choose(time, later)
        bias = direction * (sizes.biases * sizes.hidden)
        y = None
        if self._y:
            row = sizes.directions * sizes.hidden
            y = Matrix(self._y, (time * sizes.batch + first) * row + direction * sizes.hidden, row)
        own = [regions.own(direction, moment).part(first, 0) for moment in (before, after, time)]
        step = ForwardStep(
            walk,
            rows,
            weights=[panels(direction) for panels in self._r],
            gates=regions.gates(direction, slot).part(first, 0),
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
