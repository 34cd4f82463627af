"""The gradients of W, R and the biases: products over all steps and sequences, the columns divided among threads.

What is multiplied are rows by time and sequence. The inputs and states are packed as tiles, a block of rows at a time;
the gradients lie in panels already, which serve W and R one behind the other and are summed up for the biases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.products.blocks import Matrix, Span, Tiles
from toolkit.backends.native.products.tile import DEPTH
from toolkit.backends.native.recurrent.grad_panels import GradPanels
from toolkit.backends.native.recurrent.regions import Regions
from toolkit.backends.native.recurrent.sequences import Walk
from toolkit.backends.native.recurrent.sizes import FLOAT32


class Targets(NamedTuple):
    """The places of the gradients, ``""`` of those that nobody wants."""

    w: str
    r: str
    bias: str


@dataclass(frozen=True, slots=True)
class _Term:
    """The transpose of ``rows``, which have ``count`` columns, times the gradients is part of ``target``."""

    rows: Matrix
    count: int
    target: Matrix


@dataclass(frozen=True, slots=True)
class _Group:
    """Gates, ``gates`` from ``first`` on in the panels, whose gradients are multiplied with the same."""

    first: int
    gates: int
    terms: list[_Term]
    bias: Matrix | None


def add_weight_gradients(
    walk: Walk, targets: Targets, direction: Number, x: Matrix, regions: Regions, panels: GradPanels
) -> None:
    """Add those of one direction to the targets."""
    for group in _groups(walk, targets, direction, x, regions):
        if group.terms or group.bias is not None:
            _add(walk, group, panels)


def _groups(walk: Walk, targets: Targets, direction: Number, x: Matrix, regions: Regions) -> list[_Group]:
    sizes = walk.sizes
    hidden, width, is_linear = sizes.hidden, sizes.width, sizes.kind == "LinearGRU"
    w = Matrix(targets.w, direction * (sizes.size * width), width)
    r = Matrix(targets.r, direction * (hidden * width), width)
    bias = Matrix(targets.bias, direction * (sizes.biases * hidden), hidden)
    before = regions.states(direction, walk.is_reverse(direction).converted(direction.dtype))
    found = []
    for part, (first, gates) in enumerate(walk.sizes.parts):
        column = first * hidden
        terms = [_Term(x, sizes.size, w.part(0, column))] if targets.w else []
        of_states = _Term(regions.own(direction, 0) if part and not is_linear else before, hidden, r.part(0, column))
        if targets.r and not (part and is_linear):
            terms.append(of_states)
        found.append(_Group(first, gates, terms, bias.part(0, column) if targets.bias else None))
        if part and is_linear:
            sums = bias.part(0, width) if targets.bias else None
            found.append(_Group(sizes.gates, 1, [of_states] if targets.r else [], sums))
    return found


def _add(walk: Walk, group: _Group, panels: GradPanels) -> None:
    blocks = walk.blocks
    tiles = [Tiles(walk.scratch, walk.own_scratch(term.count * DEPTH)) for term in group.terms]
    for span in blocks.spans(panels.rows):
        for term, packed in zip(group.terms, tiles, strict=True):
            blocks.pack_tiles(term.rows, term.count, span, packed)

        def body(number: Number, column: Number, count: int, span: Span = span) -> None:
            panel = panels.panel(number, span.first)
            if group.bias is not None:
                _add_rows(walk, panel, span, count, group.bias.part(0, column))
            for term, packed in zip(group.terms, tiles, strict=True):
                blocks.add_panel(packed, term.count, span, panel, count, term.target.part(0, column))

        _each_panel(walk, group, panels, body)


def _each_panel(walk: Walk, group: _Group, panels: GradPanels, body: Callable[[Number, Number, int], None]) -> None:
    """``body(panel, its first column of the group, how many)`` for this thread's share."""
    code, (whole, rest) = walk.code, divmod(panels.hidden, panels.width)
    begin, end = walk.team.share(group.gates * panels.of_gate)
    with code.loop(end, start=begin) as number:
        gate = number / panels.of_gate
        inside = number - gate * panels.of_gate
        column = gate * panels.hidden + inside * panels.width
        for count, condition in ((panels.width, inside < whole), (rest, inside.equals(whole))):
            if whole if count == panels.width else rest:
                with code.where(condition):
                    body(number + group.first * panels.of_gate, column, count)


def _add_rows(walk: Walk, panel: Matrix, span: Span, count: int, target: Matrix) -> None:
    """Add all rows of a panel to a target."""
    code, lanes = walk.code, walk.lanes
    for column in range(0, count, lanes):
        here = min(lanes, count - column)
        total = code.cell(code.load_some(target.place, target.at(0, column), FLOAT32, here, lanes))
        with code.loop(span.count) as row:
            total.set(total.get() + code.load(panel.place, panel.at(row, column), FLOAT32, lanes))
        code.store_some(total.get(), target.place, target.at(0, column), here)
