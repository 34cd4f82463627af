"""Squares of numbers in registers, a vector for each row."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.native.assembly.number import Number


def turned(rows: Sequence[Number]) -> list[Number]:
    """The columns of a square of vectors, whose number is a power of two."""
    found, size = list(rows), len(rows) // 2
    while size:
        for index in range(len(found)):
            if index & size:
                continue
            one, other = found[index], found[index + size]
            found[index] = one.picked(
                other, [lane + (len(found) - size if lane & size else 0) for lane in range(len(found))]
            )
            found[index + size] = one.picked(
                other, [lane + (len(found) if lane & size else size) for lane in range(len(found))]
            )
        size //= 2
    return found
