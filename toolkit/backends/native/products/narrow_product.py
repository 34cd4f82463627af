"""Products of few rows with a matrix that learns, and has a row for each column of the result: small batches.

Packing such a matrix anew in each step costs nearly as much as multiplying by it. So the rows are packed instead, which
are much less, and the matrix is read where it lies: the result grows turned, a vector of its columns at a time, and is
turned back in registers once its sums are complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.squares import turned
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.blocks import Blocks, Matrix, Panels
from toolkit.backends.native.products.ending import Ending, Sums, overwritten
from toolkit.backends.native.products.large_product import LEAST_PRODUCTS, LEAST_ROWS, LEAST_SIDE
from toolkit.backends.native.products.small_product import has_one_matrix
from toolkit.backends.native.products.tile import FLOAT32, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.compiler.work import products
from toolkit.operators.expression import TOOLKIT_DOMAIN

MOST_ROWS = 192  # from which on packing the matrix is repaid
VECTOR = 64  # bytes; with narrower ones the blocks of a large product suit the caches


class _Sizes(NamedTuple):
    """Rows and columns of the result, and of how many products a sum is."""

    rows: int
    depth: int
    columns: int

    @staticmethod
    def of(node: Node) -> _Sizes:
        return _Sizes(node.y.size // node.y.shape[-1], node.x.shape[-1], node.y.shape[-1])

    @property
    def padded(self) -> int:
        """Rows up to whole panels."""
        return -(-self.rows // width()) * width()


def is_narrow_product(node: Node) -> bool:
    """Whether the node is such a product, large enough, with vectors for which this is the sooner way."""
    if not has_one_matrix(node) or not node.attributes.get("transB") or compiler().vector_nbytes != VECTOR:
        return False
    sizes = _Sizes.of(node)
    if products(node) < LEAST_PRODUCTS or not LEAST_ROWS <= sizes.rows <= MOST_ROWS:
        return False
    return sizes.columns % compiler().lanes(FLOAT32) == 0 and min(sizes.columns, sizes.depth) >= LEAST_SIDE


@kernel("", "MatMul", accepts=is_narrow_product)
@kernel(TOOLKIT_DOMAIN, "FusedMatMul", accepts=is_narrow_product)
def lower_narrow_product(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(alpha * a @ b + bias + residual)``; the residual is overwritten where nobody reads it later."""
    sizes, threads = _Sizes.of(node), resources.threads
    packing, multiplying, workspace = _codes(sizes, Ending.of(node), threads)
    return CompiledKernel(
        packing,
        plain_layouts(node.inputs),
        [plain(FLOAT32, node.y.shape)],
        in_place=overwritten(node),
        workspace=workspace,
        after=[multiplying],
    )


@cache
def _codes(sizes: _Sizes, ending: Ending, threads: int) -> tuple[Code, Code, int]:
    """What packs the rows, what multiplies behind that, and the bytes of workspace of both."""
    count = 2 + len(ending.have_rows) + 2
    writer = _Writer(Code(count), sizes, ending, threads)
    packed = writer.packed_size
    return _packing(count, sizes, threads), writer.write(), (packed + threads * writer.own_size) * FLOAT32.itemsize


def _packing(places: int, sizes: _Sizes, threads: int) -> Code:
    code = Code(places)
    team, left, workspace = Team(code, threads), code.places[0], code.places[-1]
    rows = Matrix(left, code.index(0), sizes.depth)
    Blocks(code).pack(rows.turned(), Panels(workspace, code.index(0), sizes.depth, sizes.rows), team.share)
    return code


class _Writer:
    """Writes the products; each thread has some columns of the result."""

    def __init__(self, code: Code, sizes: _Sizes, ending: Ending, threads: int) -> None:
        self._code, self._sizes, self._ending = code, sizes, ending
        self._lanes = compiler().lanes(FLOAT32)
        self._team, self._blocks = Team(code, threads), Blocks(code)
        _, self._right, *self._addends, self._target, self._workspace = code.places
        self.packed_size = self._blocks.size(sizes.depth, sizes.rows)
        self.own_size = self._lanes * (sizes.padded + self._lanes)

    def write(self) -> Code:
        code, sizes, lanes = self._code, self._sizes, self._lanes
        own = self._team.number * self.own_size + self.packed_size
        begin, end = self._team.share(sizes.columns // lanes)
        with code.loop(end, start=begin) as group:
            self._group(group * lanes, own)
        return code

    def _group(self, column: Number, own: Number) -> None:
        """As many columns of the result as a vector has lanes: their sums as rows, then the result."""
        code, sizes, lanes = self._code, self._sizes, self._lanes
        sums = Matrix(self._workspace, own, sizes.padded)
        zero = code.constant(0.0, FLOAT32, lanes)
        with code.loop(lanes * sizes.padded, lanes) as at:
            code.store(zero, self._workspace, own + at)
        factor = Matrix(self._right, column * sizes.depth, sizes.depth)
        panels = Panels(self._workspace, code.index(0), sizes.depth, sizes.rows)
        self._blocks.add(factor, lanes, panels, sums)
        with code.loop(sizes.rows, lanes) as row:
            self._finish(sums.part(0, row), row, column, own + lanes * sizes.padded)

    def _finish(self, sums: Matrix, row: Number, column: Number, spare: Number) -> None:
        """As many rows of the result as well, fewer at the end."""
        code, lanes = self._code, self._lanes
        found = [code.load(sums.place, sums.at(lane, 0), FLOAT32, lanes) for lane in range(lanes)]
        for lane, value in enumerate(turned(found)):
            code.store(value, self._workspace, spare + lane * lanes)
        with code.loop((code.index(self._sizes.rows) - row).smaller(lanes)) as item:
            done = Sums(self._workspace, spare + item * lanes, row + item, column)
            self._ending.write(code, done, lanes, self._addends, self._target)
