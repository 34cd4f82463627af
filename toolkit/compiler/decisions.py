"""Decisions: what the data decided in one run of a graph, so that the graph can be bound as it was executed then.

A graph whose shapes, branches and trip counts depend on the data has no one program. For one batch it has: the branches
that were taken, the iterations that were made, the positions and sizes that came out. Training records these while it
executes the graph in segments, and binds the program of just that execution, which can be differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from toolkit.operators.record import TensorType

Place = tuple[tuple[int, ...], str]  # the iterations of the loops around a layer, from the outside in, and its path
DECIDING_KINDS = "iub"  # element types of contents that decide something: sizes, positions, counts, conditions
LARGEST_CONTENT = 1024  # elements; larger integer tensors are data


class Decision(NamedTuple):
    """What one execution of a layer saw and gave.

    ``contents`` are its small integer inputs (``None`` for the others), ``types`` those of its outputs (``None`` for
    values that are no tensors), ``times`` how often each of its bodies was executed.
    """

    contents: tuple[np.ndarray | None, ...]
    types: tuple[TensorType | None, ...]
    times: int = 0

    @property
    def key(self) -> tuple[Any, ...]:
        seen = tuple(None if item is None else (item.shape, item.tobytes()) for item in self.contents)
        return seen, self.types, self.times


@dataclass
class Decisions:
    """The decisions of one run; ``place`` is where execution stands while they are recorded."""

    made: dict[Place, Decision] = field(default_factory=dict)
    iterations: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for runs that decided the same."""
        return tuple(sorted(((place, made.key) for place, made in self.made.items()), key=lambda item: item[0]))

    def record(
        self, inside: tuple[int, ...], layer: str, inputs: Sequence[Any], outputs: Sequence[Any], times: int
    ) -> None:
        """Note what a layer has done; ``inside`` are iterations of loops that were unrolled around it."""
        contents = tuple(_deciding(item) for item in inputs)
        types = tuple((item.dtype, item.shape) if isinstance(item, np.ndarray) else None for item in outputs)
        self.made[(*self.iterations, *inside), layer] = Decision(contents, types, times)


def _deciding(value: Any) -> np.ndarray | None:
    is_small = isinstance(value, np.ndarray) and value.size <= LARGEST_CONTENT
    return value.copy() if is_small and value.dtype.kind in DECIDING_KINDS else None
