"""Recurrent layers of few sequences in inference: all steps in one kernel, the hidden units divided among threads.

First the inputs of all steps meet their weights. Then each step multiplies the last states, unless they are known to be
zero: a few hidden units with all their gates, for up to four sequences, stay in registers until the units' new states
are known. Threads wait for each other once a step, and not at all where each has a direction to itself. States lie
twice, as read and as written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.packing import GatePanels
from toolkit.backends.native.recurrent.inference_cells import CELLS, Part, Stage, gru_gates
from toolkit.backends.native.recurrent.inference_layer import Layer
from toolkit.backends.native.recurrent.sizes import FLOAT32, is_kept, lanes_of
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.recurrent_layer import STATES

LEAST_LANES = 4  # hidden units of a vector
LINE = 16  # floats of a line of the caches


def is_recurrent(node: Node) -> bool:
    """Whether the layer has known weights, hidden units in whole vectors, and keeps nothing for a gradient."""
    weights = node.inputs[1:3]
    if not is_of_numbers(node) or len([item for item in weights if item is not None and is_static(item)]) != 2:
        return False
    return not is_kept(node) and lanes_of(node) >= LEAST_LANES


@kernel(TOOLKIT_DOMAIN, "Recurrent", accepts=is_recurrent, is_fallback=True)
def lower_recurrent(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The sequence and the last states; weights in panels, everything else in rows."""
    layer = Layer(node, resources.threads)
    _write(layer)
    layouts = plain_layouts(node.inputs)
    for index in (1, 2):
        layouts[index] = GatePanels(layer.lanes).layout(node.inputs[index])
    results = plain_layouts(node.outputs)
    return CompiledKernel(layer.code, layouts, results, workspace=layer.workspace, tables=layer.tables)


def _write(layer: Layer) -> None:
    code = layer.code
    begin, end = layer.team.share(layer.directions * layer.vectors)
    with code.loop(end, start=begin) as unit:
        _begin(layer, unit)
        layer.project(unit)
    layer.meet()
    if layer.begins_as_zero:
        _step(layer, (begin, end), code.index(0), begins=True)
    with code.loop(layer.steps, start=int(layer.begins_as_zero)) as step:
        _step(layer, (begin, end), step)
    with code.loop(end, start=begin) as unit:
        _end(layer, unit)


def _step(layer: Layer, units: tuple[Number, Number], step: Number, *, begins: bool = False) -> None:
    """One step of the units from one up to another."""
    parity = step & 1
    read, written = parity * layer.states + layer.h, (parity ^ 1) * layer.states + layer.h
    for stage in CELLS[layer.kind]:
        with layer.code.loop(units[1], start=units[0]) as unit:
            layer.rows(layer.batch, _advance(layer, stage, unit, step, (read, written), begins=begins))
        _meet_and_fetch(layer, stage, written)


def _meet_and_fetch(layer: Layer, stage: Stage, written: Number) -> None:
    """Wait for the others, and ask for all that they have written at once: one by one it would take much longer."""
    if not layer.needs_barrier:
        return
    layer.meet()
    region = written if stage is not gru_gates else layer.code.index(layer.gated + layer.states)
    with layer.code.loop(layer.states, LINE) as at:
        layer.code.prefetch(layer.scratch, region + at, FLOAT32)


def _advance(
    layer: Layer, stage: Stage, unit: Number, step: Number, states: tuple[Number, Number], *, begins: bool
) -> Callable[[Number, int], None]:
    return lambda row, rows: stage(Part(layer, unit, step, row, rows, *states, begins))


def _begin(layer: Layer, unit: Number) -> None:
    """Bring in the first states."""
    with layer.code.loop(layer.batch) as row:
        at = layer.state_at(unit, row)
        for place, region in zip(layer.begun, (layer.h, layer.c)[: STATES[layer.kind]], strict=False):
            zero = layer.code.constant(0.0, FLOAT32, layer.lanes)
            layer.code.store(layer.vector(place, at) if place else zero, layer.scratch, at + region)


def _end(layer: Layer, unit: Number) -> None:
    """Hand out the last states."""
    with layer.code.loop(layer.batch) as row:
        at = layer.state_at(unit, row)
        regions = (layer.h + (layer.steps % 2) * layer.states, layer.c)
        for place, region in zip(layer.last, regions, strict=False):
            if place:
                layer.code.store(layer.vector(layer.scratch, at + region), place, at)
