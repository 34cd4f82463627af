"""The innermost part of large products of bfloat16: as ``tile``, two steps of the depth at once.

A word of 32 bits holds the numbers of two steps that follow each other. The left factor has them in its rows, a panel
of the right factor for each of its columns. Sums are float32, and lie as those of ``tile`` do. Only where the processor
``multiplies_bfloat16``.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import FLOAT32, Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.tile import UNROLLED, VECTORS, width

WORD = np.dtype(np.uint32)


@cache
def pair_tile_function(rows: int, stride: int, apart: int = 1, *, replaces: bool = False) -> str:
    """The name of a function that adds to sums, for ``Code.invoke``: places left, right, sums, and the words of a row.

    ``rows`` rows of the left factor lie ``stride`` words apart, and their words ``apart``; see ``tile_function``.
    """
    code = Code(3, numbers=1)
    (left, right, sums), (depth,) = code.places, code.numbers
    lanes = compiler().lanes(FLOAT32)
    zero = code.constant(0.0, FLOAT32, lanes)
    cells = {place: code.cell(zero) for place in product(range(rows), range(VECTORS))}

    def step(word: Number, ahead: int) -> None:
        starts = [word * width() + (ahead * width() + vector * lanes) for vector in range(VECTORS)]
        loaded = [code.load(right, start, WORD, lanes) for start in starts]
        first = word if apart == 1 else word * apart
        for row in range(rows):
            factor = code.load(left, first + (row * stride + ahead * apart), WORD).spread(lanes)
            for vector, numbers in enumerate(loaded):
                cell = cells[row, vector]
                cell.set(cell.get().plus_pairs(factor, numbers))

    whole = depth - (depth & (UNROLLED - 1))
    with code.loop(whole, UNROLLED) as word:
        for ahead in range(UNROLLED):
            step(word, ahead)
    with code.loop(depth, start=whole) as word:
        step(word, 0)
    for (row, vector), cell in cells.items():
        at = (row * VECTORS + vector) * lanes
        code.store(cell.get() if replaces else code.load(sums, at, FLOAT32, lanes) + cell.get(), sums, at)
    return compiler().name(code.text())
