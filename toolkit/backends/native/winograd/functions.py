"""What kernels of minimal filtering of all shapes have in common: functions that are compiled once a process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BFLOAT16, FLOAT32, Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.tile import WORD, width
from toolkit.backends.native.winograd.transforms import Line, Scheme, in_both_axes

HALF_WORD = np.dtype(np.uint16)
UPPER = 0xFFFF0000  # half of a word


@cache
def window_function(filtering: Scheme, dtype: np.dtype = FLOAT32, half: int | None = None) -> str:
    """Windows seen at all points, see ``_seeing``."""
    return _seeing(filtering.window, filtering.size, filtering.size, dtype, half)


@cache
def square_function(filtering: Scheme, dtype: np.dtype = FLOAT32, half: int | None = None) -> str:
    """Squares of ``taps`` positions, which filter windows when a gradient by a weight is computed; see ``_seeing``."""
    return _seeing(filtering.filter, filtering.taps, filtering.filters, dtype, half)


def _seeing(transform: Callable[[Line], Line], side: int, size: int, dtype: np.dtype, half: int | None) -> str:
    """Squares of numbers of a type seen at all points, in numbers of that type.

    A ``half`` of words of 32 bits holds the numbers of bfloat16 where one is named: the first, and the other is 0, or
    the second, and the first stays what it is.

    Places: squares, target; numbers: vectors of channels, and four distances. Those are between vectors, rows and
    columns of a square (``Distances``), and between the points in the target, where vectors lie densely.
    """
    code = Code(2, numbers=5)
    (squares, target), (vectors, vector_apart, row_apart, column_apart, apart) = code.places, code.numbers
    lanes, done = compiler().lanes(FLOAT32), code.index(0)
    if dtype == BFLOAT16 and half is None and _fits(side):
        done = vectors & -2
        _see_twos(code, transform, side, done)
    with code.loop(vectors, start=done) as vector:
        first = vector_apart * vector

        def load(row: int, column: Number | int) -> Number:
            at = first + row_apart * row + column_apart * column
            return code.load(squares, at, dtype, lanes).converted(FLOAT32)

        def store(row: Number | int, column: int, value: Number) -> None:
            at, made = apart * (row * size + column) + vector * lanes, value.converted(dtype)
            if half is not None:
                made = made.bits(HALF_WORD).converted(WORD)
            code.store((made << 16) | code.load(target, at, WORD, lanes) if half else made, target, at)

        through_both_axes(code, transform, (side, size), load, store)
    return compiler().name(code.text())


def _see_twos(code: Code, transform: Callable[[Line], Line], side: int, vectors: Number) -> None:
    """As ``_seeing``, two vectors of bfloat16 at a time, of words of two numbers that are never taken apart.

    Halfway between two numbers, the first of a word is rounded away from zero, and the second towards it. That takes
    half the instructions that rounding to even ones does, and is no more coarse.
    """
    (squares, target), (_, vector_apart, row_apart, column_apart, apart) = code.places, code.numbers
    lanes = compiler().lanes(FLOAT32)
    with code.loop(vectors, 2) as vector:

        def load(row: int, column: int) -> Number:
            at = vector_apart * vector + row_apart * row + column_apart * column
            one, other = (code.load(squares, start, BFLOAT16, lanes).bits(WORD) for start in (at, at + vector_apart))
            return one.picked(other, range(lanes))

        words = [[load(row, column) for column in range(side)] for row in range(side)]
        lower = in_both_axes(transform, [[(word << 16).bits(FLOAT32) for word in line] for line in words])
        upper = in_both_axes(transform, [[(word & UPPER).bits(FLOAT32) for word in line] for line in words])
        for at, (one, other) in enumerate(zip(_flat(lower), _flat(upper), strict=True)):
            rounded = ((one.bits(WORD) + 0x8000) >> 16) | ((other.bits(WORD) + 0x7FFF) & UPPER)
            code.store(rounded.bits(BFLOAT16), target, apart * at + vector * lanes)


@cache
def result_function(filtering: Scheme) -> str:
    """One vector of products as results. Places: products, target; numbers: the distance between the points.

    The target holds vector after vector, row by row.
    """
    code = Code(2, numbers=1)
    (products, target), (apart,) = code.places, code.numbers
    lanes, size = compiler().lanes(FLOAT32), filtering.sums

    def load(row: int, column: Number | int) -> Number:
        return code.load(products, apart * (column + row * size), FLOAT32, lanes)

    def store(row: Number | int, column: int, value: Number) -> None:
        code.store(value, target, (row * filtering.outputs + column) * lanes)

    through_both_axes(code, filtering.result, (size, filtering.outputs), load, store)
    return compiler().name(code.text())


@cache
def weight_function(filtering: Scheme) -> str:
    """Products of one vector of outputs as filters. Places: products, weight; numbers: channels, outputs, distances.

    Those are between the points of the products and between outputs in the weight, (outputs, channels, taps, taps).
    Channels lie as far apart in the products as a panel is wide. Outputs fill the vector, or a part of it.
    """
    code = Code(2, numbers=4)
    (products, weight), (channels, outputs, apart, output_apart) = code.places, code.numbers
    lanes, size = compiler().lanes(FLOAT32), filtering.sums
    with code.loop(channels) as channel:
        start = channel * width()
        seen = [
            [code.load(products, start + apart * (row * size + column), FLOAT32, lanes) for column in range(size)]
            for row in range(size)
        ]
        taps = _flat(in_both_axes(filtering.result, seen))
        for lane in range(lanes):
            at = output_apart * lane + channel * len(taps)
            with code.where(outputs > lane):
                for tap, values in enumerate(taps):
                    code.store(values.lane(lane), weight, at + tap)
    return compiler().name(code.text())


def through_both_axes(
    code: Code,
    transform: Callable[[Line], Line],
    sides: tuple[int, int],
    load: Callable[[int, Number | int], Number],
    store: Callable[[Number | int, int, Number], None],
) -> None:
    """Transform a square, of the first of ``sides`` to the second, column by column and then row by row.

    What has been done to columns lies on the stack, unless the whole square fits into registers.
    """
    (given, made), lanes = sides, compiler().lanes(FLOAT32)
    if _fits(given):
        square = [[load(row, column) for column in range(given)] for row in range(given)]
        for at, value in enumerate(_flat(in_both_axes(transform, square))):
            store(at // made, at % made, value)
        return
    space = code.scratch(FLOAT32, given * made * lanes)
    with code.loop(given) as column:
        for place, value in enumerate(transform([load(item, column) for item in range(given)])):
            code.store(value, space, (column + place * given) * lanes)
    with code.loop(made) as row:
        line = [code.load(space, (row * given + item) * lanes, FLOAT32, lanes) for item in range(given)]
        for place, value in enumerate(transform(line)):
            store(row, place, value)


def _fits(side: int) -> bool:
    """Whether a square fits into registers, and a line of what it becomes."""
    return side * (side + 1) < compiler().registers


def _flat(square: Sequence[Line]) -> list[Any]:
    return [value for line in square for value in line]
