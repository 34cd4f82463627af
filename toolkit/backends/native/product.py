"""Products of rows with a matrix that is known beforehand, and what is fused behind them: bias, residual, activation.

The matrix is packed once, see ``packing``. A few rows of the result and one panel of its columns stay in registers
while the sums grow; each factor of a row is spread over a vector. Where that leaves registers idle, sums are split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np

from toolkit.backends.native.code import Code
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.library import compiler
from toolkit.backends.native.number import Number
from toolkit.backends.native.packing import Panels
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.native.spelling import ACTIVATIONS
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN

FLOAT32 = np.dtype(np.float32)
ACCUMULATORS = 8  # vectors: enough for the latency of an addition, and registers are left for the factors
MOST_ROWS = 4  # of the result at once
MOST_PRODUCTS = 1 << 18  # multiplications, about eight microseconds, from which two threads and the library win
MOST_WEIGHTS = 1 << 17  # elements: beyond that memory decides, and two threads read more of it


def is_product(node: Node) -> bool:
    """Whether the node is a small product of rows with one matrix that is known beforehand."""
    a, b = node.inputs[:2]
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    if a is None or b is None or not is_of_numbers(node) or any(item.dtype != FLOAT32 for item in present):
        return False
    if len(a.shape) < 2 or len(b.shape) != 2 or (b.constant is None and b.parameter is None):
        return False
    if any(node.attributes.get(name) for name in ("transA", "swapA", "swapB", "swapY")):
        return False
    addends = [item.shape for item in node.inputs[2:] if item is not None]
    usual = (node.y.shape[-1:], node.y.shape)
    is_small = a.size * node.y.shape[-1] <= MOST_PRODUCTS and b.size <= MOST_WEIGHTS
    return is_small and node.attributes.get("activation", "") in ACTIVATIONS and all(item in usual for item in addends)


@kernel("", "MatMul", accepts=is_product)
@kernel(TOOLKIT_DOMAIN, "FusedMatMul", accepts=is_product)
def lower_product(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(alpha * a @ b + bias + residual)``; the residual is overwritten where nobody reads it later."""
    sums = _Sums(node)
    layouts: list[Layout | None] = [None if item is None else plain(item.dtype, item.shape) for item in node.inputs]
    layouts[1] = Panels(sums.width, bool(node.attributes.get("transB"))).layout(node.inputs[1])
    whole = [at for at, item in enumerate(node.inputs) if at > 1 and item is not None and item.shape == node.y.shape]
    return CompiledKernel(sums.code, layouts, [plain(FLOAT32, node.y.shape)], in_place=[(0, at) for at in whole])


@dataclass(frozen=True, slots=True)
class _Addend:
    """A tensor that is added, and whether it has a row for each of the result."""

    place: str
    has_rows: bool


class _Sums:
    """Writes the code of a product; ``width`` are the columns of one panel."""

    def __init__(self, node: Node) -> None:
        addends = [item for item in node.inputs[2:] if item is not None]
        self.code = Code(3 + len(addends))
        self._lanes = compiler().lanes(FLOAT32)
        self._columns, self._depth = node.y.shape[-1], node.x.shape[-1]
        self._rows = node.y.size // self._columns
        self._together = min(self._rows, MOST_ROWS)
        vectors = -(-self._columns // self._lanes)
        self._vectors = min(vectors, ACCUMULATORS // self._together)
        self.width = self._vectors * self._lanes
        a, b, *others, self._target = self.code.places
        self._a, self._b = a, b
        self._addends = [
            _Addend(place, item.shape == node.y.shape and len(item.shape) > 1)
            for place, item in zip(others, addends, strict=True)
        ]
        attributes = node.attributes
        self._alpha = float(attributes.get("alpha", 1.0))
        self._activation = ACTIVATIONS[attributes.get("activation", "")]
        self._parameters = tuple(float(attributes.get(f"activation_{name}", 0.0)) for name in ("alpha", "beta"))
        self._write()

    def _write(self) -> None:
        whole = self._columns // self.width * self.width
        with self.code.loop(whole, self.width) as column:
            self._panel(column, self.width)
        if whole < self._columns:
            self._panel(self.code.index(whole), self._columns - whole)

    def _panel(self, column: Number, count: int) -> None:
        whole = self._rows // self._together * self._together
        with self.code.loop(whole, self._together) as row:
            self._tile(row, self._together, column, count)
        if whole < self._rows:
            self._tile(self.code.index(whole), self._rows - whole, column, count)

    def _tile(self, row: Number, rows: int, column: Number, count: int) -> None:
        """``rows`` times ``count`` numbers of the result."""
        code = self.code
        vectors = -(-count // self._lanes)
        parts = max(1, min(4, ACCUMULATORS // (rows * vectors), self._depth))
        zero = code.constant(0.0, FLOAT32, self._lanes)
        cells = {key: code.cell(zero) for key in product(range(parts), range(rows), range(vectors))}
        starts = [(row + index) * self._depth for index in range(rows)]
        panel = column * self._depth

        def step(position: Number, part: int) -> None:
            place = panel + position * self.width
            weights = [code.load(self._b, place + at * self._lanes, FLOAT32, self._lanes) for at in range(vectors)]
            for index, start in enumerate(starts):
                factor = code.load(self._a, start + position, FLOAT32).spread(self._lanes)
                for at, weight in enumerate(weights):
                    cell = cells[part, index, at]
                    cell.set(factor.times_plus(weight, cell.get()))

        whole = self._depth // parts * parts
        with code.loop(whole, parts) as position:
            for part in range(parts):
                step(position + part, part)
        for rest in range(whole, self._depth):
            step(code.index(rest), rest - whole)
        for index, at in product(range(rows), range(vectors)):
            total = reduce(lambda one, other: one + other, [cells[part, index, at].get() for part in range(parts)])
            self._finish(total, row + index, column + at * self._lanes, min(self._lanes, count - at * self._lanes))

    def _finish(self, total: Number, row: Number, column: Number, count: int) -> None:
        """What comes behind the sums, for ``count`` numbers in one vector."""
        at = row * self._columns + column
        if self._alpha != 1.0:
            total = total * self._alpha
        for item in self._addends:
            total = total + self.code.load_some(
                item.place, at if item.has_rows else column, FLOAT32, count, self._lanes
            )
        self.code.store_some(self._activation(total, *self._parameters), self._target, at, count)
