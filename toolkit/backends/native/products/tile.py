"""The innermost part of large products: a tile of the result grows in registers while the depth is gone through.

``Tile`` writes it into a kernel. ``tile_function`` is the same compiled once for all kernels, on tensors packed as it
wants them: a left factor in rows that lie ``DEPTH`` numbers apart, a right factor in panels of ``width()`` columns,
step after step of the depth, and sums row by row, as wide as a panel. No sum here is of more than ``DEPTH`` products,
which are added in order: longer ones are made of several, which fits the caches and rounds less.

In pairs, two steps of bfloat16 that follow each other lie in one word of 32 bits, which is what is counted then: those
of a row in the left factor, and those of a column in a panel of the right one. Sums are of float32 all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler

FLOAT32, WORD = np.dtype(np.float32), np.dtype(np.uint32)
DEPTH = 256  # most steps at once: a panel of so many, 16 KiB, stays in the first cache beside the rows that pass by
VECTORS = 2  # in a row of a tile
FEW_ROWS = 6  # of a tile: twelve of sixteen registers hold sums, enough for the latency, and to load little for each
ROWS = {64: 12}  # where vectors of so many bytes come with 32 registers: a panel is read half as often
UNROLLED = 4  # steps of the depth written out, so that the loop costs little


def width() -> int:
    """Columns of a panel."""
    return VECTORS * compiler().lanes(FLOAT32)


def most_rows() -> int:
    """Rows of the highest tile."""
    return ROWS.get(compiler().vector_nbytes, FEW_ROWS)


class Rows(NamedTuple):
    """Rows of a left factor in memory: the first begins at element ``start``, the next ``stride`` elements behind.

    The steps of a row lie ``apart`` elements from each other.
    """

    place: str
    start: Number
    stride: int
    apart: int = 1


class Panel(NamedTuple):
    """A panel of a right factor in memory: step after step of the depth, from element ``start`` on.

    Steps lie ``width()`` elements apart, also where fewer columns are there.
    """

    place: str
    start: Number


class Tile:
    """Sums of ``rows`` by ``vectors`` vectors in registers, zero at first.

    ``in_pairs`` of bfloat16 only where the processor ``multiplies_bfloat16``.
    """

    def __init__(self, code: Code, rows: int, vectors: int = VECTORS, *, in_pairs: bool = False) -> None:
        self._code, self._rows, self._vectors, self._in_pairs = code, rows, vectors, in_pairs
        self._dtype = WORD if in_pairs else FLOAT32
        self._lanes = compiler().lanes(FLOAT32)
        zero = code.constant(0.0, FLOAT32, self._lanes)
        self._cells = {place: code.cell(zero) for place in product(range(rows), range(vectors))}

    def add_products(self, left: Rows, right: Panel, depth: Number | int, multiple: int = 1) -> None:
        """Add the products of ``depth`` steps, a multiple of ``multiple``."""
        if isinstance(depth, int):
            depth = self._code.index(depth)
        whole = depth - (depth & (UNROLLED - 1))
        with self._code.loop(whole, UNROLLED) as position:
            for ahead in range(UNROLLED):
                self._step(left, right, position, ahead)
        if multiple % UNROLLED:
            with self._code.loop(depth, start=whole) as position:
                self._step(left, right, position, 0)

    def _step(self, left: Rows, right: Panel, position: Number, ahead: int) -> None:
        code, lanes = self._code, self._lanes
        panel = right.start + position * width()
        places = [ahead * width() + vector * lanes for vector in range(self._vectors)]
        loaded = [code.load(right.place, panel + at, self._dtype, lanes) for at in places]
        first = left.start + (position if left.apart == 1 else position * left.apart)
        for row in range(self._rows):
            factor = code.load(left.place, first + (row * left.stride + ahead * left.apart), self._dtype).spread(lanes)
            for vector, numbers in enumerate(loaded):
                cell = self._cells[row, vector]
                total = cell.get()
                cell.set(total.plus_pairs(factor, numbers) if self._in_pairs else factor.times_plus(numbers, total))

    def sums(self) -> Iterator[tuple[int, int, Number]]:
        """Row, vector, and what has been added."""
        for (row, vector), cell in self._cells.items():
            yield row, vector, cell.get()


@cache
def tile_function(
    rows: int, stride: int = DEPTH, apart: int = 1, *, replaces: bool = False, in_pairs: bool = False
) -> str:
    """The name of a function that adds to sums, for ``Code.invoke``: places left, right, sums, and the depth.

    It ``replaces`` what lay at the sums, or adds to that.

    ``rows`` rows of the left factor lie ``stride`` numbers apart, and their steps ``apart``; one panel of the right
    factor and the rows of the sums lie densely. See ``Tile`` for ``in_pairs``.
    """
    code = Code(3, numbers=1)
    (left, right, sums), (depth,) = code.places, code.numbers
    tile, start, lanes = Tile(code, rows, in_pairs=in_pairs), code.index(0), compiler().lanes(FLOAT32)
    tile.add_products(Rows(left, start, stride, apart), Panel(right, start), depth)
    for row, vector, found in tile.sums():
        at = (row * VECTORS + vector) * lanes
        code.store(found if replaces else code.load(sums, at, FLOAT32, lanes) + found, sums, at)
    return compiler().name(code.text())
