"""Attention whose scores stay in the cache: a block of queries meets all keys, then all values.

A thread packs the keys and the values of a head when it comes to it. The scores of a block of rows lie in its own
memory: they are finished as they come (scale, mask), become powers row by row, and are multiplied by the values; what a
row is divided by is applied to the result. Rows that see no key at all get what a softmax makes of that. Where weights
are dropped, each row of powers is a sequence of blocks that are drawn for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.functions import logarithm
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.batched.heads import Heads, serves_attention
from toolkit.backends.native.batched.panels import Matrix, fetch, pack, panels_of
from toolkit.backends.native.batched.powers import largest_of_row, powers_of_row
from toolkit.backends.native.batched.rows import TILES, Division, Piece, RowsByPanels
from toolkit.backends.native.drawing import BLOCK, TOGETHER, Draw, DrawingKernel
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.tile import FLOAT32, most_rows, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.fused_attention import ATTENTION, DROPPING

WORTH_A_THREAD = 1 << 18  # multiplications from which others help
MOST_SCORES = 1 << 15  # numbers of a block: they stay in the second cache beside keys and values


@kernel(TOOLKIT_DOMAIN, ATTENTION, accepts=serves_attention)
def lower_attention(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``softmax(scale * q k' + mask) v``, and the logarithm of what the softmax divides by where it is wanted."""
    written = _Writer(*_sized(node, resources))
    layouts = plain_layouts(node.inputs), plain_layouts(node.outputs)
    return CompiledKernel(written.code, *layouts, workspace=written.workspace)


@kernel(TOOLKIT_DOMAIN, DROPPING, accepts=serves_attention)
def lower_dropping(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The same with weights that are dropped, and which were kept where that is wanted."""
    written = _written(*_sized(node, resources))
    layouts = plain_layouts(node.inputs), plain_layouts(node.outputs)
    return DrawingKernel(written.code, *layouts, resources, workspace=written.workspace)


def _sized(node: Node, resources: Resources) -> tuple[Heads, int]:
    """The heads of a node, and how many threads they are worth."""
    heads = Heads.of(node)
    return heads, resources.threads if heads.products >= WORTH_A_THREAD else 1


@lru_cache(maxsize=16)
def _written(heads: Heads, threads: int) -> _Writer:
    """What kernels of the same heads share, though each has a key of its own."""
    return _Writer(heads, threads)


class _Writer:
    """Writes the code; ``workspace`` are the bytes that it needs."""

    def __init__(self, heads: Heads, threads: int) -> None:
        self._heads = heads
        self.code = code = Code(len(heads.names) + 1 + bool(heads.dropped))
        self._places = dict(zip(heads.names, code.places, strict=False))
        work, team = code.places[len(heads.names)], Team(code, threads)
        self._draw = Draw(code, code.places[-1], heads.dropped) if heads.dropped else None
        self._stride = panels_of(heads.keys) * width()
        together = max(1, min(TILES, MOST_SCORES // (most_rows() * self._stride)))
        self._division = division = Division(heads.queries, together)
        parts = [
            panels_of(heads.keys) * heads.size * width(),
            panels_of(heads.values) * heads.keys * width(),
            division.most_rows * self._stride,
            -(-division.most_rows // width()) * width(),
        ]
        size = sum(parts)
        self.workspace = size * threads * FLOAT32.itemsize
        own = team.number * size
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
            self._block(unit - head * division.blocks, head, found, heads.matrices(head + 1, self._places))

    def _block(self, number: Number, head: Number, found: dict[str, Matrix], ahead: dict[str, Matrix]) -> None:
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
            code.store(1.0 / (1.0 - heads.dropped) / total, factors, base + (row - first))
            self._drop(head * heads.queries + row, scores.at(row, 0), found.get("kept"), row)
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

    def _drop(self, number: Number, start: Number, target: Matrix | None, row: Number) -> None:
        """Put zeros for the powers that are dropped of a row, by its number among all."""
        code, keys, (place, _) = self.code, self._heads.keys, self._scores
        if self._draw is None:
            return
        draw, first = self._draw, number * -(-keys // BLOCK)

        def piece(column: Number, count: int) -> None:
            for half, kept in enumerate(draw.kept(first + column / BLOCK)):
                here, at = min(count - half * TOGETHER, TOGETHER), column + half * TOGETHER
                if here <= 0:
                    return
                powers = code.load_some(place, start + at, FLOAT32, here, TOGETHER)
                code.store_some(kept.choose(powers, 0.0), place, start + at, here)
                if target is not None:
                    code.store_some(kept, target.place, target.at(row, at), here)

        code.pieces(keys, BLOCK, piece)

    def _score(self, piece: Piece, scores: Matrix, mask: Matrix | None) -> None:
        value = self._heads.scored(self.code, piece, mask)
        self.code.store(value, scores.place, scores.at(piece.row, piece.column))
