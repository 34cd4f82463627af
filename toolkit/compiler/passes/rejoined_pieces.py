"""Pieces: what Slice and Split cut and Concat joins again is read from where it came from.

Exporters reorder the gates of recurrent weights and pack queries, keys and values in this way, and layers undo it.
Cases: a value that turns out to be a whole tensor, perhaps in another shape, is that tensor; one that is a single piece
of a tensor further back is cut from that one; one that has been put together before is taken from there. Everything
else stays, so nothing is ever cut more often.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from toolkit.compiler.known import known_slices
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.operators.expression import emit, indices, reshape

MOST_PIECES = 64  # of one value; what has more of them counts as a tensor of its own


class Piece(NamedTuple):
    """The columns from ``start`` up to ``end`` of a tensor seen as a matrix."""

    source: Variable
    start: int
    end: int


class Makeup(NamedTuple):
    """A value seen as a matrix of ``rows``, whose columns are those of its pieces, one after the other."""

    rows: int
    pieces: tuple[Piece, ...]

    def columns(self, start: int, end: int) -> Makeup:
        """The columns from ``start`` up to ``end``."""
        found, position = [], 0
        for piece in self.pieces:
            first, last = max(start - position, 0), min(end - position, piece.end - piece.start)
            if first < last:
                found.append(Piece(piece.source, piece.start + first, piece.start + last))
            position += piece.end - piece.start
        return Makeup(self.rows, tuple(found))


def _joined(parts: list[Makeup]) -> Makeup:
    """The parts side by side; pieces that follow each other in their source are one."""
    found: list[Piece] = []
    for piece in (piece for part in parts for piece in part.pieces):
        last = found[-1] if found else None
        if last is not None and last.source is piece.source and last.end == piece.start:
            found[-1] = Piece(last.source, last.start, piece.end)
        else:
            found.append(piece)
    return Makeup(parts[0].rows, tuple(found))


def rejoin_pieces(program: Program) -> None:
    """Apply the cases above."""
    values = _Values(program)
    rewrite(program, values.rule)


@dataclass
class _Values:
    """What is known of the values of a program; ``seen_as`` is the tensor that a view shows in another shape."""

    program: Program
    seen_as: dict[Variable, Variable] = field(default_factory=dict)
    makeups: dict[Variable, Makeup] = field(default_factory=dict)
    holders: dict[Makeup, Variable] = field(default_factory=dict)

    def rule(self, node: Node) -> Replacement | None:
        if any(item is None or not item.size or item.dtype == object for item in node.outputs):
            return None
        record = node.record
        if record is not None and record.is_view:
            self.seen_as[node.y] = self.seen_as.get(node.x, node.x)
            return None
        found = self._cut(node) if not node.domain else None
        if found is None:
            return None
        kept = [self._instead(node, y, makeup) for y, makeup in zip(node.outputs, found, strict=True)]
        if not any(kept):
            return None
        if not all(kept):
            self.program.nodes.append(node)
        return kept

    def _cut(self, node: Node) -> list[Makeup] | None:
        """What the outputs are made of; ``None`` for other operators, and for pieces that are not evenly cut."""
        if node.op_type == "Concat":
            inputs = [item for item in node.inputs if item is not None and item.size]
            found = [_joined([self._of(item, _rows(node.y, node.attributes.get("axis", 1))) for item in inputs])]
            return found if len(found[0].pieces) <= MOST_PIECES else None
        if node.op_type == "Split":
            rows, position, found = _rows(node.x, node.attributes.get("axis", 0)), 0, []
            for item in node.outputs:
                assert item is not None
                width = item.size // rows
                found.append(self._of(node.x, rows).columns(position, position + width))
                position += width
            return found
        axis_and_part = _one_slice(node) if node.op_type == "Slice" else None
        if axis_and_part is None:
            return None
        axis, part = axis_and_part
        after = math.prod(node.x.shape[axis + 1 :])
        return [self._of(node.x, _rows(node.x, axis)).columns(part.start * after, part.stop * after)]

    def _of(self, value: Variable, rows: int) -> Makeup:
        value = self.seen_as.get(value, value)
        known = self.makeups.get(value)
        if known is not None and known.rows == rows:
            return known
        return Makeup(rows, (Piece(value, 0, value.size // rows),))

    def _instead(self, node: Node, y: Variable | None, makeup: Makeup) -> Variable | None:
        """What stands for output ``y``; ``None`` where it stays."""
        assert y is not None
        piece = makeup.pieces[0]
        is_one, width = len(makeup.pieces) == 1, piece.source.size // makeup.rows
        if is_one and piece.end - piece.start == width:
            return self._shown(piece.source, y)
        holder = self.holders.get(makeup)
        if holder is not None:
            return self._shown(holder, y)
        if is_one and piece.source is not self.seen_as.get(node.x, node.x):
            matrix = reshape(self.program.expression(piece.source), (makeup.rows, width))
            bounds = (indices(matrix, [value]) for value in (piece.start, piece.end, 1))
            cut = reshape(emit("Slice", matrix, *bounds), y.shape).variable
            self._note(cut, makeup)
            return cut
        self._note(y, makeup)
        return None

    def _note(self, value: Variable, makeup: Makeup) -> None:
        self.makeups.setdefault(value, makeup)
        self.holders[makeup] = value

    def _shown(self, source: Variable, y: Variable) -> Variable:
        shown = reshape(self.program.expression(source), y.shape).variable
        if shown is not source:
            self.seen_as[shown] = source
        return shown


def _rows(value: Variable, axis: int) -> int:
    return math.prod(value.shape[: axis % len(value.shape)])


def _one_slice(node: Node) -> tuple[int, slice] | None:
    """The axis that a Slice cuts and where, with steps of one; ``None`` where it cuts several, or data says where."""
    parts = known_slices(node)
    if parts is None:
        return None
    pairs = zip(parts, node.x.shape, strict=True)
    cuts = [
        (axis, part) for axis, (part, size) in enumerate(pairs) if part != slice(0, size, 1) and part != slice(None)
    ]
    cuts = cuts or [(0, slice(0, node.x.shape[0], 1))]
    return cuts[0] if len(cuts) == 1 and cuts[0][1].step == 1 else None
