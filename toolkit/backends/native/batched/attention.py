"""Attention whose scores stay in the cache: a block of queries meets all keys, then all values.

A thread packs the keys and the values of a head when it comes to it. The scores of a block of rows lie in its own
memory: they are finished as they come (scale, mask), become powers row by row, and are multiplied by the values; what a
row is divided by is applied to the result. Rows that see no key at all get what a softmax makes of that.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.functions import logarithm
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.batched.heads import Heads, serves_attention
from toolkit.backends.native.batched.panels import Matrix, fetch, pack, panels_of
from toolkit.backends.native.batched.powers import largest_of_row, powers_of_row
from toolkit.backends.native.batched.rows import TILES, Division, Piece, RowsByPanels
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.tile import FLOAT32, MOST_ROWS, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.fused_attention import ATTENTION

WORTH_A_THREAD = 1 << 18  # multiplications from which others help
MOST_SCORES = 1 << 15  # numbers of a block: they stay in the second cache beside keys and values


@kernel(TOOLKIT_DOMAIN, ATTENTION, accepts=serves_attention)
def lower_attention(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``softmax(scale * q k' + mask) v``, and the logarithm of what the softmax divides by where it is wanted."""
    heads = Heads.of(node)
    threads = resources.threads if heads.products >= WORTH_A_THREAD else 1
    written = _Writer(heads, threads)
    return CompiledKernel(
        written.code,
        plain_layouts(node.inputs),
        plain_layouts(node.outputs),
        workspace=written.size * threads * FLOAT32.itemsize,
    )


class _Writer:
    """Writes the code; ``size`` are the numbers that a thread needs of the workspace."""

    def __init__(self, heads: Heads, threads: int) -> None:
        self._heads = heads
        self.code = code = Code(len(heads.names) + 1)
        self._places = dict(zip(heads.names, code.places, strict=False))
        work, team = code.places[-1], Team(code, threads)
        self._stride = panels_of(heads.keys) * width()
        together = max(1, min(TILES, MOST_SCORES // (MOST_ROWS * self._stride)))
        self._division = division = Division(heads.queries, together)
        parts = [
            panels_of(heads.keys) * heads.size * width(),
            panels_of(heads.values) * heads.keys * width(),
            division.most_rows * self._stride,
            -(-division.most_rows // width()) * width(),
        ]
        self.size = sum(parts)
        own = team.number * self.size
        starts = [own + sum(parts[:index]) for index in range(len(parts))]
        self._keys, self._values, self._scores, self._factors = ((work, start) for start in starts)
        begin, end = team.share(heads.stacks.count * division.blocks)
        packed = code.cell(code.index(-1))
        with code.loop(end, start=begin) as unit:
            head = unit / division.blocks
            found = heads.matrices(head, self._places)
            with code.where(~packed.get().equals(head)):
                packed.set(head)
                k = found["k"]
                pack(code, k._replace(row=k.column, column=k.row), heads.size, heads.keys, *self._keys)
                pack(code, found["v"], heads.keys, heads.values, *self._values)
            self._block(unit - head * division.blocks, found, heads.matrices(head + 1, self._places))

    def _block(self, number: Number, found: dict[str, Matrix], ahead: dict[str, Matrix]) -> None:
        code, heads, division = self.code, self._heads, self._division
        begin, end = tiles = division.block(number)
        first = division.row(begin)
        place, start = self._scores
        scores = Matrix(place, start - first * self._stride, self._stride, 1)
        made = RowsByPanels(code, division, heads.size, heads.keys, self._keys, None)
        made.write(found["q"], tiles, lambda piece: self._score(piece, scores, found.get("mask")))
        factors, base = self._factors
        last = division.row(end)
        with code.loop(last, start=first) as row:
            code.store(largest_of_row(code, place, scores.at(row, 0), heads.keys), factors, base + (row - first))
            with code.where(row < heads.keys):
                fetch(code, ahead["k"], row, heads.size)
                fetch(code, ahead["v"], row, heads.values)
        with code.loop(last, start=first) as row:
            top = code.load(factors, base + (row - first), FLOAT32)
            total = powers_of_row(code, place, scores.at(row, 0), heads.keys, top)
            code.store(1.0 / total, factors, base + (row - first))
            fetch(code, found["q"], row + division.most_rows, heads.size)
            kept = found.get("logarithm")
            if kept is not None:
                code.store(top + logarithm(total), kept.place, kept.at(row, 0))

        def finish(piece: Piece) -> None:
            factor = code.load(factors, base + (piece.row - first), FLOAT32)
            y = found["y"]
            code.store_some(
                piece.sums * factor.spread(piece.sums.lanes), y.place, y.at(piece.row, piece.column), piece.lanes
            )

        weighted = RowsByPanels(code, division, heads.keys, heads.values, self._values, None)
        weighted.write(scores, tiles, finish)

    def _score(self, piece: Piece, scores: Matrix, mask: Matrix | None) -> None:
        value = self._heads.scored(self.code, piece, mask)
        self.code.store(value, scores.place, scores.at(piece.row, piece.column))
