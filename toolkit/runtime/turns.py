"""A plan for some items that does a whole batch in turns, so that what passes between its steps stays in the caches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.protocol import Backend, Resources
from toolkit.compiler.program import Program
from toolkit.runtime.plan import Plan


class PlanInTurns(Plan):
    """To be used as a plan of ``turns`` times the items that ``program`` is bound for, all on the host.

    Every input and every output has its items along the first axis, and none depends on another one.
    """

    def __init__(
        self, program: Program, backends: Sequence[Backend], resources: Resources, *, turns: int, **options: Any
    ) -> None:
        self.turns = turns
        self._given: Sequence[np.ndarray] = ()
        super().__init__(program, backends, resources, **options)

    def _bind(self) -> None:
        super()._bind()
        self._made = self.output_arrays
        self.wanted = [(name, dtype, self._whole(shape)) for name, dtype, shape in self.wanted]
        self.output_arrays = {
            name: np.empty(self._whole(array.shape), array.dtype) for name, array in self._made.items()
        }
        self.givers = {name: partial(self._give, name) for name in self.output_arrays}
        self.is_streamed = False

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0] * self.turns, *shape[1:])

    def take(self, values: Sequence[Any]) -> None:
        """The inputs of the next run, in order; they are read while it goes on."""
        self._given = values

    def load(self, arrays: Mapping[str, Any]) -> None:
        """As ``take``, by name."""
        self._given = [arrays[name] for name in self.input_arrays]

    def _give(self, name: str) -> np.ndarray:
        """An output for good; the next run writes another array."""
        given = self.output_arrays[name]
        self.output_arrays[name] = np.empty_like(given)
        return given

    def run(self, *roles: str, meanwhile: Callable[[], None] | None = None) -> None:
        given, self._given = self._given, ()
        for turn in range(self.turns):
            super().take([_part(array, turn, self.turns) for array in given])
            super().run(*roles, meanwhile=meanwhile if turn == 0 else None)
            for name, array in self._made.items():
                np.copyto(_part(self.output_arrays[name], turn, self.turns), array)


def _part(array: np.ndarray, turn: int, turns: int) -> np.ndarray:
    items = len(array) // turns
    return array[turn * items : (turn + 1) * items]
