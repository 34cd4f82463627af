"""A row of scores becomes powers of e, as a softmax has them before it divides."""

from __future__ import annotations

import math

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.folding import SUM, Fold, folded, joined_lanes
from toolkit.backends.native.assembly.functions import exponential_of_negative
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.tile import FLOAT32

LARGEST = Fold(lambda one, other: (one > other).choose(one, other), -math.inf)  # NaN shows in the sum


def largest_of_row(code: Code, place: str, start: Number, size: int) -> Number:
    """The largest of ``size`` numbers. Whole vectors are read."""
    lanes = compiler().lanes(FLOAT32)

    def read(position: Number, count: int) -> Number:
        return code.load(place, start + position, FLOAT32, lanes)

    return joined_lanes(LARGEST, folded(code, LARGEST, size, read, lanes, FLOAT32))


def powers_of_row(code: Code, place: str, start: Number, size: int, top: Number) -> Number:
    """Replace ``size`` numbers by the powers of what they are less than ``top``; returns the sum.

    Whole vectors are read and written.
    """
    lanes = compiler().lanes(FLOAT32)
    wide = top.spread(lanes)

    def power(position: Number, count: int) -> Number:
        found = exponential_of_negative(code.load(place, start + position, FLOAT32, lanes) - wide)
        code.store(found, place, start + position)
        return found

    return joined_lanes(SUM, folded(code, SUM, size, power, lanes, FLOAT32))
