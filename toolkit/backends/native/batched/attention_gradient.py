"""The gradient of attention, whose scores stay in the cache: they are computed again, a block of queries at a time.

A thread has heads of its own. With P the weights and dP the slopes of what they multiply, ``dS = scale P (dP - d)``,
where d of a query is the product of its result with the gradient of that. All are made as the sums of products come
out of registers; dQ is one more product of them, dK and dV are those of their transposes, read where they lie. Rows of
a head lie far apart: meanwhile those of the next one, and of the results, are brought near. Beside very low masks a
logarithm is not precise, so rows whose weights do not add up to 1 are divided by what they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.folding import SUM, folded, joined_lanes, lanes_for
from toolkit.backends.native.assembly.functions import exponential_of_negative
from toolkit.backends.native.assembly.number import BOOLEAN, Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.batched.heads import Heads, serves_attention
from toolkit.backends.native.batched.panels import Matrix, pack, panels_of
from toolkit.backends.native.batched.rows import Division, Finish, Piece, RowsByPanels
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.tile import FLOAT32, most_rows, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.fused_attention import ATTENTION_GRADIENT

MOST_SCORES = 1 << 15  # numbers of a block: weights and slopes stay in the second cache together
IMPRECISE = 1e-3  # by how much weights may miss 1


@kernel(TOOLKIT_DOMAIN, ATTENTION_GRADIENT, accepts=serves_attention)
def lower_attention_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Those of dq, dk and dv that are wanted."""
    written = _Writer(Heads.of(node), resources.threads)
    return CompiledKernel(
        written.code,
        plain_layouts(node.inputs),
        plain_layouts(node.outputs),
        workspace=written.size * resources.threads * FLOAT32.itemsize,
    )


class _Writer:
    """Writes the code; ``size`` are the numbers that a thread needs of the workspace."""

    def __init__(self, heads: Heads, threads: int) -> None:
        self._heads = heads
        self.code = code = Code(len(heads.names) + 1)
        places = dict(zip(heads.names, code.places, strict=False))
        work, team = code.places[-1], Team(code, threads)
        self._together = min(heads.queries, max(most_rows(), MOST_SCORES // heads.keys))
        self._stride = (panels_of(heads.keys) + 1) * width()  # no power of two: the lines of a column find room
        parts = [
            panels_of(heads.keys) * heads.size * width(),
            panels_of(heads.keys) * heads.values * width(),
            panels_of(heads.size) * heads.keys * width(),
            panels_of(heads.size) * self._together * width(),
            panels_of(heads.values) * self._together * width(),
            self._together * self._stride,
            self._together * self._stride,
            -(-self._together // width()) * width(),
        ]
        self.size = sum(parts)
        own = team.number * self.size
        starts = [own + before for before in accumulate(parts[:-1], initial=0)]
        self._turned_keys, self._turned_values, self._keys, self._queries, self._grads = (
            (work, start) for start in starts[:5]
        )
        self._weights, self._slopes = (Matrix(work, start, self._stride, 1) for start in starts[5:7])
        self._sums = (work, starts[7])
        begin, end = team.share(heads.stacks.count)
        with code.loop(end, start=begin) as head:
            self._own, self._ahead = heads.matrices(head, places), heads.matrices(head + 1, places)
            self._head(self._own)

    def _head(self, found: dict[str, Matrix]) -> None:
        code, heads = self.code, self._heads
        k, v = found["k"], found["v"]
        pack(code, turned(k), heads.size, heads.keys, *self._turned_keys)
        if self._has_slopes:
            pack(code, turned(v), heads.values, heads.keys, *self._turned_values)
        if "dq" in found:
            pack(code, k, heads.keys, heads.size, *self._keys)
        code.pieces(heads.queries, self._together, partial(self._block, found))

    @property
    def _has_slopes(self) -> bool:
        return "dq" in self._heads.names or "dk" in self._heads.names

    def _block(self, found: dict[str, Matrix], first: Number, rows: int) -> None:
        """``rows`` queries from one on."""
        heads = self._heads
        g, q = (found[name]._replace(start=found[name].at(first, 0)) for name in "gq")
        self._multiply(q, rows, heads.size, heads.keys, self._turned_keys, partial(self._weigh, found, first))
        self._correct(found, first, rows)
        if self._has_slopes:
            slope = partial(self._slope, found.get("kept"), first)
            self._multiply(g, rows, heads.values, heads.keys, self._turned_values, slope)
        if "dq" in found:
            store = partial(self._store, found["dq"]._replace(start=found["dq"].at(first, 0)), None)
            self._multiply(self._slopes, rows, heads.keys, heads.size, self._keys, store)
        for name, left, right, columns, panels in (
            ("dk", self._slopes, q, heads.size, self._queries),
            ("dv", self._weights, g, heads.values, self._grads),
        ):
            if name in found:
                pack(self.code, right, rows, columns, *panels)
                is_first = None if rows == heads.queries else first.equals(0)
                store = partial(self._store, found[name], is_first)
                self._multiply(turned(left), heads.keys, rows, columns, panels, store)

    def _multiply(
        self, left: Matrix, rows: int, depth: int, columns: int, panels: tuple[str, Number], finish: Finish
    ) -> None:
        division = Division(rows)
        product = RowsByPanels(self.code, division, depth, columns, panels, None)
        with self.code.loop(division.blocks) as block:
            product.write(left, division.block(block), finish)

    def _weigh(self, found: dict[str, Matrix], first: Number, piece: Piece) -> None:
        code, kept = self.code, found["logarithm"]
        row = first + piece.row
        self._fetch(row, piece.column, self._ahead, "q", "k")
        scores = self._heads.scored(code, piece._replace(row=row), found.get("mask"))
        logarithm = code.load(kept.place, kept.at(row, 0), FLOAT32).spread(scores.lanes)
        powers = exponential_of_negative(scores - logarithm)
        code.store(powers, self._weights.place, self._weights.at(piece.row, piece.column))

    def _correct(self, found: dict[str, Matrix], first: Number, rows: int) -> None:
        """Weights that add up to 1, and what the slopes of a row are less by."""
        code, heads = self.code, self._heads
        g, y = found["g"], found["y"]
        place, start = self._sums
        values = lanes_for(heads.values, FLOAT32)
        with code.loop(rows) as row:
            if "mask" in found:
                self._divide(self._weights.at(row, 0))

            def term(position: Number, count: int) -> Number:
                one, other = (
                    code.load_some(item.place, item.at(first + row, 0) + position, FLOAT32, count, values)
                    for item in (g, y)
                )
                return one * other

            code.store(joined_lanes(SUM, folded(code, SUM, heads.values, term, values, FLOAT32)), place, start + row)

    def _divide(self, at: Number) -> None:
        """The weights of a row by their sum."""
        code, size, place = self.code, self._heads.keys, self._weights.place
        lanes = lanes_for(size, FLOAT32)

        def read(position: Number, count: int) -> Number:
            return code.load_some(place, at + position, FLOAT32, count, lanes)

        total = joined_lanes(SUM, folded(code, SUM, size, read, lanes, FLOAT32))
        with code.where((total - 1.0).absolute() > IMPRECISE):
            factor = (1.0 / total).spread(lanes)

            def write(position: Number, count: int) -> None:
                code.store_some(read(position, count) * factor, place, at + position, count)

            code.pieces(size, lanes, write)

    def _slope(self, kept: Matrix | None, first: Number, piece: Piece) -> None:
        """The slopes of scores; and of weights what was kept, which is all that the values met."""
        code, at = self.code, self._weights.at(piece.row, piece.column)
        lanes = compiler().lanes(FLOAT32)
        row = first + piece.row
        self._fetch(row, piece.column, self._ahead, "v", "g")
        self._fetch(row, piece.column, self._own, "dq", "dk", "dv")
        place, start = self._sums
        less = code.load(place, start + piece.row, FLOAT32).spread(lanes)
        weights = code.load(self._weights.place, at, FLOAT32, lanes)
        sums = piece.sums
        if kept is not None:
            place, up = kept.place, 1.0 / (1.0 - self._heads.dropped)
            is_kept = code.load_some(place, kept.at(row, piece.column), BOOLEAN, piece.lanes, lanes)
            sums = is_kept.choose(sums * up, 0.0)
            code.store(is_kept.choose(weights * up, 0.0), self._weights.place, at)
        slopes = (sums - less) * weights * self._heads.scale
        code.store(slopes, self._slopes.place, self._slopes.at(piece.row, piece.column))

    def _fetch(self, row: Number, column: Number, found: dict[str, Matrix], *names: str) -> None:
        """Bring rows near that are read or written soon, a line for each vector of scores; a last one repeats."""
        for name in names:
            if name in found:
                last = (self._heads.values if name in ("v", "g", "dv") else self._heads.size) - 1
                matrix = found[name]
                self.code.prefetch(matrix.place, matrix.at(row, column.smaller(last)), FLOAT32, cache=2)

    def _store(self, target: Matrix, is_first: Number | None, piece: Piece) -> None:
        """Sums become the result, or are added to it unless ``is_first``."""
        code, at, total = self.code, target.at(piece.row, piece.column), piece.sums
        if is_first is not None:
            before = code.load_some(target.place, at, FLOAT32, piece.lanes, total.lanes)
            total = total + is_first.choose(before.like(0.0), before)
        code.store_some(total, target.place, at, piece.lanes)


def turned(matrix: Matrix) -> Matrix:
    """The transpose."""
    return matrix._replace(row=matrix.column, column=matrix.row)
