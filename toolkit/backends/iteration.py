"""How a kernel goes over tensors that broadcast: the fewest axes that serve all of them, and each one's strides.

Axes of size 1 are dropped and neighbours that every tensor steps through alike are joined, so most elementwise work has
one axis, and what has more keeps them as constants of the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Iteration:
    """``sizes`` of the axes, outermost first, and the ``strides`` of every tensor in elements; 0 repeats."""

    sizes: Shape
    strides: tuple[Shape, ...]

    @property
    def count(self) -> int:
        count = 1
        for size in self.sizes:
            count *= size
        return count

    def is_whole(self, tensor: int) -> bool:
        """Whether a tensor has exactly one element for each step, in order."""
        return self.strides[tensor] == row_major(self.sizes)


def row_major(shape: Sequence[int]) -> Shape:
    """The strides of a dense tensor, in elements."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def broadcast_strides(shape: Sequence[int], rank: int) -> Shape:
    """The strides of a dense tensor that broadcasts from the right to ``rank`` axes."""
    own = (0,) * (rank - len(shape)) + row_major(shape)
    aligned = (1,) * (rank - len(shape)) + tuple(shape)
    return tuple(0 if size == 1 else step for size, step in zip(aligned, own, strict=True))


def iterate(sizes: Sequence[int], strides: Sequence[Sequence[int]]) -> Iteration:
    """The axes joined; a tensor's stride along an axis of size 1 does not matter."""
    kept = [axis for axis, size in enumerate(sizes) if size != 1]
    joined: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis in kept:
        mine = [own[axis] for own in strides]
        if joined and all(had[-1] == step * sizes[axis] for had, step in zip(steps, mine, strict=True)):
            joined[-1] *= sizes[axis]
            for had, step in zip(steps, mine, strict=True):
                had[-1] = step
        else:
            joined.append(sizes[axis])
            for had, step in zip(steps, mine, strict=True):
                had.append(step)
    if not joined:
        return Iteration((1,), tuple((0,) for _ in strides))
    return Iteration(tuple(joined), tuple(map(tuple, steps)))


def permuted(items: Sequence[int], order: Sequence[int]) -> Shape:
    """``items`` in another order."""
    return tuple(items[axis] for axis in order)
