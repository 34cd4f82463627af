"""Products of rows with a matrix that is known beforehand, and what is fused behind them: bias, residual, activation.

The matrix is packed once, see ``packing``. A few rows of the result and one panel of its columns stay in registers
while the sums grow; each factor of a row is spread over a vector. Where that leaves registers idle, sums are split.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.blocking import evenly
from toolkit.backends.native.products.ending import Ending, Sums, is_usual_ending, overwritten
from toolkit.backends.native.products.packing import Panels
from toolkit.backends.native.registry import is_of_float32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.known import is_static
from toolkit.compiler.program import Node
from toolkit.compiler.work import products
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT32 = np.dtype(np.float32)
ACCUMULATORS = 8  # vectors: enough for the latency of an addition, and registers are left for the factors
MOST_ROWS, MOST_ACCUMULATORS = 4, 12  # of the result at once: with those factors all of sixteen registers are taken
MOST_PARTS = 4  # of a sum
WORTH_A_THREAD = 1 << 18  # multiplications, about eight microseconds, from which others help
MOST_PRODUCTS = 1 << 21  # multiplications, from which the library wins, which blocks for the caches
FEW_ROWS, MOST_WEIGHTS = 16, 1 << 21  # up to so many rows memory decides, and the panels are read straight through


def has_known_matrix(node: Node) -> bool:
    """Whether the node is a product of rows as they lie with one matrix that is known beforehand."""
    b = node.inputs[1]
    return b is not None and is_static(b) and has_one_matrix(node)


def has_one_matrix(node: Node) -> bool:
    """Whether the node is a product of rows as they lie with one matrix."""
    a, b = node.inputs[:2]
    if a is None or b is None or not is_of_float32(node):
        return False
    if len(a.shape) < 2 or len(b.shape) != 2 or not is_usual_ending(node):
        return False
    return not any(node.attributes.get(name) for name in ("transA", "swapA", "swapB", "swapY"))


def is_product(node: Node) -> bool:
    """Whether the node is such a product, and small: in all, or in rows that make equal groups."""
    if not has_known_matrix(node):
        return False
    if products(node) <= MOST_PRODUCTS:
        return True
    columns, depth = node.y.shape[-1], node.x.shape[-1]
    rows = node.y.size // columns
    return rows <= FEW_ROWS and rows % evenly(rows, MOST_ROWS) == 0 and depth * columns <= MOST_WEIGHTS


@kernel("", "MatMul", accepts=is_product)
@kernel(TOOLKIT_DOMAIN, "FusedMatMul", accepts=is_product)
def lower_product(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(alpha * a @ b + bias + residual)``; the residual is overwritten where nobody reads it later."""
    sums = _Sums(node, resources.threads if products(node) >= WORTH_A_THREAD else 1)
    layouts = plain_layouts(node.inputs)
    layouts[1] = Panels(sums.width, bool(node.attributes.get("transB"))).layout(node.inputs[1])
    in_place = [] if sums.repeats_rows else overwritten(node)
    return CompiledKernel(sums.code, layouts, [plain(FLOAT32, node.y.shape)], in_place=in_place)


def vectors_of_a_panel(columns: int, most: int, blocks: int, threads: int) -> int:
    """How many vectors wide panels are, of ``columns`` in all: the thread that has most tiles has as little as can be.

    There are ``blocks`` of rows for each panel. Of several such widths the largest one.
    """

    def cost(vectors: int) -> tuple[int, int]:
        return -(-(-(-columns // vectors) * blocks) // threads) * (vectors + 1), -vectors  # and a factor for each tile

    return min(range(1, min(columns, most) + 1), key=cost)


class _Sums:
    """Writes the code of a product.

    ``width`` are the columns of one panel. Rows are done ``together``, the last ones behind them again where the rows
    are no multiple of that: then ``repeats_rows``.
    """

    def __init__(self, node: Node, threads: int) -> None:
        self.code = Code(sum(item is not None for item in node.inputs) + 1)
        self._lanes = compiler().lanes(FLOAT32)
        self._columns, self._depth = node.y.shape[-1], node.x.shape[-1]
        self._rows = node.y.size // self._columns
        self._together = evenly(self._rows, MOST_ROWS)
        most = MOST_ACCUMULATORS if self._together == MOST_ROWS else ACCUMULATORS
        blocks = -(-self._rows // self._together)
        self._vectors = vectors_of_a_panel(-(-self._columns // self._lanes), most // self._together, blocks, threads)
        self.width = self._vectors * self._lanes
        self.repeats_rows = self._rows % self._together != 0
        self._a, self._b, *self._addends, self._target = self.code.places
        self._ending = Ending.of(node)
        self._sums = self.code.scratch(FLOAT32, self._together * self.width)
        begin, end = Team(self.code, threads).share(-(-self._columns // self.width) * blocks)
        with self.code.loop(end, start=begin) as tile:
            panel = tile / blocks
            row = (tile - panel * blocks) * self._together
            self._tile(row.smaller(self._rows - self._together) if self.repeats_rows else row, panel * self.width)

    def _tile(self, row: Number, column: Number) -> None:
        """A few rows of one panel, from ``row`` and ``column`` on."""
        code, lanes = self.code, self._lanes
        parts = max(1, min(MOST_PARTS, ACCUMULATORS // (self._together * self._vectors), self._depth))
        zero = code.constant(0.0, FLOAT32, lanes)
        places = list(product(range(self._together), range(self._vectors)))
        cells = {(part, *place): code.cell(zero) for part in range(parts) for place in places}
        starts = [(row + index) * self._depth for index in range(self._together)]
        panel = column * self._depth

        def step(position: Number, part: int) -> None:
            at = panel + position * self.width
            weights = [code.load(self._b, at + index * lanes, FLOAT32, lanes) for index in range(self._vectors)]
            factors = [code.load(self._a, start + position, FLOAT32).spread(lanes) for start in starts]
            for index, vector in places:
                cell = cells[part, index, vector]
                cell.set(factors[index].times_plus(weights[vector], cell.get()))

        whole = self._depth // parts * parts
        with code.loop(whole, parts) as position:
            for part in range(parts):
                step(position + part, part)
        for rest in range(whole, self._depth):
            step(code.index(rest), rest - whole)
        for index, vector in places:
            total = reduce(lambda one, other: one + other, [cells[part, index, vector].get() for part in range(parts)])
            code.store(total, self._sums, index * self.width + vector * lanes)
        with code.loop(self._together) as done:
            sums = Sums(self._sums, done * self.width, row + done, column)
            self._ending.write(code, sums, self.width, self._addends, self._target)
