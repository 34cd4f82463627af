"""Large products of rows with one matrix, with everything that is fused behind them.

A matrix that is known beforehand is packed once. What is computed, or changes with each step of training, is packed
block by block while it is multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from toolkit.backends.native.assembly.code import TABLE, Code
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.products.blocked_product import FINISHING, blocked_function
from toolkit.backends.native.products.blocking import cut, workspace_nbytes
from toolkit.backends.native.products.ending import Ending, Sums, overwritten
from toolkit.backends.native.products.factors import ColumnsOfRight, Panels, Right, RowsOfRight
from toolkit.backends.native.products.panel_packing import LargePanels
from toolkit.backends.native.products.small_product import has_known_matrix, has_one_matrix
from toolkit.backends.native.products.tile import FLOAT32, most_rows, tile_function, width
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.compiler.work import products
from toolkit.operators.expression import TOOLKIT_DOMAIN

LEAST_PRODUCTS = 1 << 22  # multiplications, a tenth of a millisecond, below which blocks cost what they save
LEAST_ROWS = 16  # below, reading the matrix takes the time
LEAST_SIDE = 64  # rows, columns, and products for a sum, which repay that the matrix is packed for them
VECTOR = 32  # bytes; for wider vectors the library has kernels that keep the processor busy


def is_large_product(node: Node) -> bool:
    """Whether the node is a large product of rows with one matrix."""
    if not has_one_matrix(node) or products(node) < LEAST_PRODUCTS:
        return False
    columns = node.y.shape[-1]
    if has_known_matrix(node):
        return node.y.size >= LEAST_ROWS * columns
    return min(node.y.size // columns, node.x.shape[-1], columns) >= LEAST_SIDE


def wins() -> bool:
    """Whether the kernel was faster than the library's on processors like this one: those of ``VECTOR`` bytes."""
    return compiler().vector_nbytes == VECTOR


@kernel("", "MatMul", accepts=is_large_product)
@kernel(TOOLKIT_DOMAIN, "FusedMatMul", accepts=is_large_product)
def lower_large_product(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(alpha * a @ b + bias + residual)``; the residual is overwritten where nobody reads it later."""
    depth, columns, matrix = node.x.shape[-1], node.y.shape[-1], node.inputs[1]
    assert matrix is not None
    is_turned = bool(node.attributes.get("transB"))
    right: type[Right] = ColumnsOfRight if is_turned else RowsOfRight
    layouts = plain_layouts(node.inputs)
    if matrix.constant is not None or (has_known_matrix(node) and not resources.training):
        right, layouts[1] = Panels, LargePanels(width(), is_turned).layout(matrix)
    apart = columns if right is RowsOfRight else depth
    found = cut(node.y.size // columns, depth, columns, resources.threads, depth, apart)
    return CompiledKernel(
        _code(right, Ending.of(node), found.height, resources.threads),
        layouts,
        [plain(FLOAT32, node.y.shape)],
        in_place=overwritten(node),
        workspace=workspace_nbytes(found, resources.threads),
        tables=[np.array(found, np.int64)],
    )


@cache
def _code(kind: type[Right], ending: Ending, height: int, threads: int) -> Code:
    """The kernel of all products with the same ending: the factors, what is added, the result, workspace, and table."""
    code = Code(2 + len(ending.have_rows) + 3)
    team = Team(code, threads)
    left, right, *_, workspace, table = code.places
    tiles = [code.pointer(tile_function(rows), 3, 1) for rows in (height, min(height + 1, most_rows()))]
    finish = code.pointer(_finishing(ending), 1, FINISHING)
    places = [left, right, workspace, table, *tiles, TABLE, finish]
    code.invoke(blocked_function(kind), places, [team.number, team.count])
    return code


def _finishing(ending: Ending) -> str:
    """The name of the function that makes the result of sums, see ``blocked_function``."""
    code = Code(1, numbers=FINISHING)
    _, _, *addends, target, workspace, _ = (
        code.entry(code.places[0], at) for at in range(2 + len(ending.have_rows) + 3)
    )
    row, rows, column, start = code.numbers
    with code.loop(rows) as item:
        sums = Sums(workspace, start + item * width(), row + item, column)
        ending.write(code, sums, width(), addends, target)
    return compiler().name(code.text())
