"""Products of stacks of matrices, with everything that is fused behind them: each thread has matrices of its own.

A thread packs a right factor when it comes to it, and multiplies block after block of rows by it; the result is made
of sums that are still in registers. Heads that lie inside of rows, and exchanged rows and columns, are read where they
lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.batched.panels import Matrix, pack
from toolkit.backends.native.batched.rows import Division, Piece, RowsByPanels, needs_copy, workspace_of
from toolkit.backends.native.batched.stack import Stack, Stacks
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.elementwise.spelling import ACTIVATIONS
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.blocking import LINE
from toolkit.backends.native.products.ending import Activation, overwritten
from toolkit.backends.native.products.tile import FLOAT32
from toolkit.backends.native.registry import is_of_float32, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

LEAST_ROWS = 8  # below, packing the right factor takes as long as the product
LEAST_DEPTH = 8
LEAST_PRODUCTS = 1 << 18  # multiplications of all matrices
MOST_ELEMENTS = 1 << 20  # of all tensors: what lies farther away than that, the library fetches as early
WORTH_A_THREAD = 1 << 18
LEAST_VECTOR = 32  # bytes, from which the kernels were measured and won


@dataclass(frozen=True, slots=True)
class Sizes:
    """Stacks of a product: ``lead`` are its leading axes, ``stacks`` those of the factors, the addends, the result."""

    lead: tuple[int, ...]
    rows: int
    depth: int
    columns: int
    stacks: tuple[Stack, ...]

    @staticmethod
    def of(node: Node) -> Sizes:
        """Those of a MatMul or a FusedMatMul whose factors have two axes at the least."""
        a, b = node.inputs[:2]
        assert a is not None and b is not None
        values, result = node.attributes, node.y.shape
        rank, swap = len(result), values.get("swapY")
        factors = [
            Stack.of(item.shape, rank, swap=values.get(f"swap{name}"), trans=values.get(f"trans{name}"))
            for item, name in ((a, "A"), (b, "B"))
        ]
        others = [item.shape for item in node.inputs[2:] if item is not None]
        seen = [*result[:-3], result[-2], result[-3], result[-1]] if swap else result
        depth = a.shape[-1]
        if values.get("transA"):
            depth = a.shape[-3] if values.get("swapA") else a.shape[-2]
        behind = [Stack.of(shape, rank, swap=swap) for shape in (*others, result)]
        return Sizes(tuple(seen[:-2]), seen[-2], depth, seen[-1], (*factors, *behind))

    @property
    def products(self) -> int:
        """Multiplications."""
        return int(np.prod(self.lead)) * self.rows * self.depth * self.columns


def is_batched_product(node: Node) -> bool:
    """Whether the node is a product of two stacks of several matrices that repay the packing of the right ones."""
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    if not is_of_float32(node):
        return False
    if node.attributes.get("activation", "") not in ACTIVATIONS or len(node.y.shape) < 3:
        return False
    if any(item is None or len(item.shape) < 3 for item in node.inputs[:2]):
        return False
    sizes = Sizes.of(node)
    if all(step == 0 for step in sizes.stacks[1].lead):
        return False  # all rows meet one matrix
    if sum(item.size for item in present) > MOST_ELEMENTS:
        return False
    return sizes.rows >= LEAST_ROWS and sizes.depth >= LEAST_DEPTH and sizes.products >= LEAST_PRODUCTS


def stacks_win() -> bool:
    """Whether kernels of stacks, attention among them, are faster than the library's on processors like this one.

    The library begins each small matrix anew, so theirs is the sooner way with wide vectors as well.
    """
    return compiler().vector_nbytes >= LEAST_VECTOR


@kernel("", "MatMul", accepts=is_batched_product)
@kernel(TOOLKIT_DOMAIN, "FusedMatMul", accepts=is_batched_product)
def lower_batched_product(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(alpha * a @ b + bias + residual)``; the residual is overwritten where nobody reads it later."""
    sizes = Sizes.of(node)
    threads = resources.threads if sizes.products >= WORTH_A_THREAD else 1
    written = _Writer(sizes, float(node.attributes.get("alpha", 1.0)), Activation.of(node), threads)
    layouts = plain_layouts(node.inputs)
    return CompiledKernel(
        written.code,
        layouts,
        [plain(FLOAT32, node.y.shape)],
        in_place=overwritten(node),
        workspace=written.size * threads * FLOAT32.itemsize,
    )


class _Writer:
    """Writes the code of a product; ``size`` are the numbers that a thread needs of the workspace."""

    def __init__(self, sizes: Sizes, alpha: float, activation: Activation, threads: int) -> None:
        self.code = code = Code(len(sizes.stacks) + 1)
        self._sizes, self._alpha, self._activation = sizes, alpha, activation
        self._left, self._right, *self._addends, self._target, work = code.places
        self._division = Division(sizes.rows)
        self._stacks = Stacks(sizes.lead, sizes.stacks)
        team = Team(code, threads)
        zero = code.index(0)
        is_copied = needs_copy(self._matrix(0, self._left, zero), sizes.depth)
        panels, copied = workspace_of(self._division, sizes.depth, sizes.columns, is_copied)
        self.size = -(-(panels + copied) // LINE) * LINE
        own = team.number * self.size
        self._panels, self._copied = (work, own), (work, own + panels)
        begin, end = team.share(self._stacks.count * self._division.blocks)
        packed = code.cell(code.index(-1))
        with code.loop(end, start=begin) as unit:
            matrix = unit / self._division.blocks
            starts = self._stacks.starts(matrix)
            with code.where(~packed.get().equals(matrix)):
                packed.set(matrix)
                pack(code, self._matrix(1, self._right, starts[1]), sizes.depth, sizes.columns, *self._panels)
            self._block(unit - matrix * self._division.blocks, starts)

    def _matrix(self, stack: int, place: str, start: Number) -> Matrix:
        found = self._sizes.stacks[stack]
        return Matrix(place, start, found.row, found.column)

    def _block(self, number: Number, starts: Sequence[Number]) -> None:
        sizes = self._sizes
        product = RowsByPanels(self.code, self._division, sizes.depth, sizes.columns, self._panels, self._copied)
        left = self._matrix(0, self._left, starts[0])
        product.write(left, self._division.block(number), lambda piece: self._finish(piece, starts[2:]))

    def _finish(self, piece: Piece, starts: Sequence[Number]) -> None:
        """Sums become the result."""
        code, lanes = self.code, compiler().lanes(FLOAT32)
        total = piece.sums if self._alpha == 1.0 else piece.sums * self._alpha
        *addends, target = (
            Matrix(place, start, stack.row, stack.column)
            for place, start, stack in zip((*self._addends, self._target), starts, self._sizes.stacks[2:], strict=True)
        )
        for item in addends:
            at = item.at(piece.row, piece.column)
            total = total + code.load_some(item.place, at, FLOAT32, piece.lanes, lanes, item.column)
        code.store_some(self._activation(total), target.place, target.at(piece.row, piece.column), piece.lanes)
