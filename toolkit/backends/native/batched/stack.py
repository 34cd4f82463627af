"""Where the matrices of a stack lie: strides for its leading axes, for rows and for columns.

Heads may lie behind positions, rows and columns may be exchanged, and what broadcasts has strides of 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.backends.iteration import Iteration, broadcast_strides, iterate
from toolkit.backends.native.assembly.number import Number

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """Strides in elements: those of the leading axes, and those of the rows and the columns of a matrix."""

    lead: Shape
    row: int
    column: int

    @staticmethod
    def of(shape: Sequence[int], rank: int, *, swap: object = 0, trans: object = 0) -> Stack:
        """That of a dense tensor, seen as one of ``rank`` axes, with the flags of FusedMatMul for it."""
        strides = list(broadcast_strides(shape, rank))
        if swap:
            strides[-3], strides[-2] = strides[-2], strides[-3]
        if trans:
            strides[-2], strides[-1] = strides[-1], strides[-2]
        return Stack(tuple(strides[:-2]), strides[-2], strides[-1])


class Stacks:
    """Several stacks that are gone through together, as many matrices as ``lead`` says."""

    def __init__(self, lead: Sequence[int], stacks: Sequence[Stack]) -> None:
        self._iteration: Iteration = iterate(lead, [item.lead for item in stacks])
        self.count = math.prod(lead)

    def starts(self, matrix: Number) -> list[Number]:
        """Where a matrix, by its number, begins in each of the stacks."""
        sizes, strides = self._iteration.sizes, self._iteration.strides
        found = [matrix.like(0) for _ in strides]
        rest = matrix
        for axis in reversed(range(len(sizes))):
            before = rest / sizes[axis]
            position = rest - before * sizes[axis]
            found = [
                start + position * own[axis] if own[axis] else start for start, own in zip(found, strides, strict=True)
            ]
            rest = before
        return found
