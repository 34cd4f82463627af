"""Reductions of the rows of a matrix to one: what a bias learns, above all. One pass over memory, by all threads.

Each thread has columns of its own, and goes through memory as it lies: several rows at a time, whose total is put
together with what was found before. So what is found does not depend on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.folding import Fold
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.compiler.known import known_input
from toolkit.compiler.program import Node
from toolkit.operators.axes import normalised

LINE = 64  # bytes that no two threads write to
ROWS = 8  # that are read at a time
WORTH_A_THREAD = 1 << 14  # elements from which others help


def reduces_leading_axes(node: Node) -> bool:
    """Whether a reduction leaves axes alone behind all that it reduces."""
    is_known, axes = known_input(node, "axes", 1)
    if not is_known or axes is None:
        return False
    found, shape = sorted(normalised(axes, len(node.x.shape))), node.x.shape
    return 0 < len(found) < len(shape) and found == list(range(len(found))) and max(shape[len(found) :]) > 1


class ColumnReduction:
    """Writes the reduction of a matrix of ``shape`` at the first place of a kernel to a row at the second one."""

    def __init__(self, code: Code, shape: Sequence[int], dtype: np.dtype, fold: Fold, threads: int) -> None:
        (self._rows, self._columns), self._dtype, self._fold = shape, dtype, fold
        self._code, self._lanes = code, LINE // dtype.itemsize
        self._team = Team(code, threads if self._rows * self._columns >= WORTH_A_THREAD else 1)

    def write(self, of_element: Callable[[Number], Number], of_total: Callable[[Number], Number]) -> None:
        """``of_element`` is what is folded of each element, ``of_total`` what becomes of the total."""
        code, (source, target) = self._code, self._code.places

        def together(row: Number, rows: int, column: Number, count: int) -> Number:
            """The totals of some rows, halves first."""
            found = [
                of_element(code.load(source, (row + index) * self._columns + column, self._dtype, count))
                for index in range(rows)
            ]
            while len(found) > 1:
                middle = len(found) // 2
                pairs = zip(found[:middle], found[middle:], strict=False)
                found = [self._fold.combine(*pair) for pair in pairs] + found[2 * middle :]
            return found[0]

        def further(row: Number, rows: int) -> Callable[[Number, int], None]:
            def piece(column: Number, count: int) -> None:
                known = code.load(target, column, self._dtype, count)
                code.store(self._fold.combine(known, together(row, rows, column, count)), target, column)

            return piece

        def finish(column: Number, count: int) -> None:
            code.store(of_total(code.load(target, column, self._dtype, count)), target, column)

        first = min(ROWS, self._rows)
        whole = self._rows // ROWS * ROWS
        self._each(lambda column, count: code.store(together(code.index(0), first, column, count), target, column))
        if whole > ROWS:
            with code.loop(whole, ROWS, ROWS) as row:
                self._each(further(row, ROWS))
        if first < self._rows and whole < self._rows:
            self._each(further(code.index(whole), self._rows - whole))
        self._each(finish)

    def _each(self, piece: Callable[[Number, int], None]) -> None:
        """``piece(column, count)`` for the columns of this thread."""
        self._team.pieces(self._columns, self._lanes, piece)
