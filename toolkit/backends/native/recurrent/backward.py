"""The gradient of recurrent layers of many sequences: each thread takes some back through all steps.

From what the layer kept, a step makes the gradients of the gates' inputs and takes them through the turned R to the
states before, and through the turned W to X. Once all threads are there, the gradients of the weights are products over
all steps at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.kernel import NAME, CompiledKernel, plain_layouts
from toolkit.backends.native.products.blocks import Matrix
from toolkit.backends.native.recurrent.backward_cells import CELLS, BackwardStep
from toolkit.backends.native.recurrent.grad_panels import GradPanels
from toolkit.backends.native.recurrent.regions import Regions
from toolkit.backends.native.recurrent.sequences import Walk
from toolkit.backends.native.recurrent.sizes import Sizes
from toolkit.backends.native.recurrent.weight_gradients import Targets, add_weight_gradients
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.recurrent_layer import INPUTS, STATES

X, W, R, BIAS, FIRST_STATE, FIRST_CELL = range(INPUTS)


def kept_of(node: Node) -> Variable | None:
    """What the layer kept, among the inputs of its gradient."""
    return node.inputs[INPUTS + 1 + STATES[node.attributes["kind"]]]


def is_zero(grad: Variable | None) -> bool:
    """Whether a gradient is known to be nothing, as that of steps that nobody looks at."""
    return grad is not None and grad.constant is not None and not grad.constant.any()


def is_gradient(node: Node) -> bool:
    """Whether the layer itself is computed here, and has kept what its gradient needs."""
    kept = kept_of(node)
    return is_of_numbers(node) and kept is not None and kept.producer is not None and kept.producer.backend == NAME


@kernel(TOOLKIT_DOMAIN, "RecurrentGradient", accepts=is_gradient)
def lower_backward(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The gradients that are wanted; everything in rows."""
    backward = _Backward(node, resources.threads)
    return CompiledKernel(backward.walk.code, backward.inputs, backward.outputs, workspace=backward.walk.workspace)


class _Backward:
    """Writes the code."""

    def __init__(self, node: Node, threads: int) -> None:
        self._sizes = sizes = Sizes.of(node)
        wrt = node.attributes["wrt"]
        kept = INPUTS + 1 + STATES[sizes.kind]
        seeds = {at for at, item in enumerate(node.inputs) if at > kept and not is_zero(item)}
        needed = {R, kept} | seeds | ({X} if W in wrt else set()) | ({W} if X in wrt else set())
        self.inputs = [
            plain(item.dtype, item.shape) if item is not None and index in needed else None
            for index, item in enumerate(node.inputs)
        ]
        variable = kept_of(node)
        assert variable is not None
        self.inputs[kept] = Regions(sizes).layout(variable.shape)
        self.outputs = plain_layouts(node.outputs)
        self.walk = walk = Walk(sizes, threads, self.inputs, self.outputs)
        self._regions = Regions(sizes, walk.given[kept])
        self._dy, *self._dlast = walk.given[kept + 1 :]
        self._made = dict(zip(wrt, walk.made, strict=True))
        self._panels = walk.reserve(sizes.directions * self._grad_panels(walk.code.index(0), 0).count)
        self._grads = walk.reserve_rows(sizes.gates)
        self._carried = [walk.reserve_rows() for _ in range(STATES[sizes.kind])]
        self._spare, self._flow = (
            walk.reserve_rows() if sizes.kind == kind else self._grads for kind in ("GRU", "LinearGRU")
        )
        targets = Targets(*(self._made.get(index, "") for index in (W, R, BIAS)))
        self._write(walk.given[X], walk.given[W], walk.given[R], targets)

    def _write(self, x: str, w: str, r: str, targets: Targets) -> None:
        walk, sizes = self.walk, self._sizes
        meet = walk.team.barrier()
        zero, width, hidden = walk.code.index(0), sizes.width, sizes.hidden
        self._r = [
            walk.packed(Matrix(r, zero + first * hidden, width).turned(), hidden * width, gates * hidden, hidden)
            for first, gates in walk.sizes.parts
        ]
        if X in self._made:
            self._w = walk.packed(Matrix(w, zero, width).turned(), sizes.size * width, width, sizes.size)
        counts = (sizes.size * width, hidden * width, sizes.biases * hidden)
        for place, count in zip(targets, counts, strict=True):
            if place:
                walk.clear(place, sizes.directions * count)
        meet()
        walk.each_group(self._write_group)
        if any(targets):
            meet()
            with walk.code.loop(sizes.directions) as direction:
                panels = self._grad_panels(direction, self._panels)
                add_weight_gradients(walk, targets, direction, Matrix(x, zero, sizes.size), self._regions, panels)

    def _grad_panels(self, direction: Number, start: int) -> GradPanels:
        """Those of a direction."""
        sizes = self._sizes
        rows, width = sizes.steps * sizes.batch, self.walk.blocks.width
        found = GradPanels(self.walk.scratch, direction, sizes.biases, sizes.hidden, width, rows)
        return replace(found, start=direction * found.count + start)

    def _write_group(self, first: Number, rows: int) -> None:
        """All steps of some sequences, the last one first."""
        code, sizes = self.walk.code, self._sizes
        with code.loop(sizes.directions) as direction:
            is_reverse = self.walk.is_reverse(direction)
            carried = [item.part(first, 0) for item in self._carried]
            for place, target in zip(self._dlast, carried, strict=True):
                if place:
                    source = self.walk.outside(place, direction, first)
                    self.walk.move(source, target, rows)
                else:
                    self.walk.fill(target, rows, sizes.hidden)
            with code.loop(sizes.steps) as step:
                self._retreat(direction, first, rows, is_reverse.choose(step, sizes.steps - 1 - step), is_reverse)
            for index, source in zip((FIRST_STATE, FIRST_CELL), carried, strict=False):
                if index in self._made:
                    target = self.walk.outside(self._made[index], direction, first)
                    self.walk.move(source, target, rows)

    def _retreat(self, direction: Number, first: Number, rows: int, time: Number, is_reverse: Number) -> None:
        walk, sizes, regions = self.walk, self._sizes, self._regions
        later = time + 1
        before, after = is_reverse.choose(later, time), is_reverse.choose(time, later)
        row = time * sizes.batch + first
        dy = None
        if self._dy:
            wide = sizes.directions * sizes.hidden
            dy = Matrix(self._dy, row * wide + direction * sizes.hidden, wide)
        grads = self._grads.part(first, 0)
        own = [regions.own(direction, moment).part(first, 0) for moment in (before, after, time)]
        step = BackwardStep(
            walk,
            rows,
            weights=[panels(direction) for panels in self._r],
            gates=regions.gates(direction, time).part(first, 0),
            before=regions.states(direction, before).part(first, 0),
            cell_before=own[0],
            cell_after=own[1],
            own=own[2],
            dy=dy,
            dstate=self._carried[0].part(first, 0),
            dcell=self._carried[-1].part(first, 0),
            spare=self._spare.part(first, 0),
            grads=grads,
            flow=self._flow.part(first, 0),
            panels=self._grad_panels(direction, self._panels),
            row=row,
        )
        CELLS[sizes.kind](step)
        if X in self._made:
            target = Matrix(self._made[X], row * sizes.size, sizes.size)
            with walk.code.where(direction.equals(0)):
                walk.fill(target, rows, sizes.size)
            walk.blocks.add(grads, rows, self._w(direction), target)
