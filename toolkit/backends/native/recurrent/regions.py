"""What a layer keeps of its steps: for the gradient in training, otherwise for the next step alone.

For each direction and time there are the gates, rows by sequence; for each direction and moment between two times the
states, and beside them what a cell has of its own: the cell states of LSTM, the reset states of GRU, or what LinearGRU
resets. Where nothing is kept, there are the gates of a few steps alone, and a moment is the same as the next.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.products.blocks import Matrix
from toolkit.backends.native.recurrent.sizes import FLOAT32, Sizes
from toolkit.backends.protocol import Layout

WITH_OWN = ("LSTM", "GRU", "LinearGRU")


@dataclass(frozen=True, slots=True)
class KeptSteps:
    """The layout of what is kept, as ``Layout.opaque``; only the kernel of the gradient reads it."""

    kind: str


@dataclass(frozen=True, slots=True)
class Regions:
    """Where everything lies in memory that belongs to ``place``, from the element ``start`` on.

    ``few`` steps share it, unless everything is kept: then that is 0.
    """

    sizes: Sizes
    place: str = ""
    start: int = 0
    few: int = 0

    @property
    def is_kept(self) -> bool:
        return self.few == 0

    @property
    def count(self) -> int:
        """The numbers of all regions."""
        return self._own + self._moments * self._states if self.sizes.kind in WITH_OWN else self._own

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """That of the tensor ``kept``."""
        return Layout(FLOAT32, shape, self.count * FLOAT32.itemsize, KeptSteps(self.sizes.kind))

    @property
    def _times(self) -> int:
        return self.few or self.sizes.steps

    @property
    def _moments(self) -> int:
        return self.sizes.directions * (self.sizes.steps + 1 if self.is_kept else 1)

    @property
    def _states(self) -> int:
        return self.sizes.batch * self.sizes.hidden

    @property
    def _first_states(self) -> int:
        return self.sizes.directions * self._times * self.sizes.batch * self.sizes.width

    @property
    def _own(self) -> int:
        return self._first_states + self._moments * self._states

    def gates(self, direction: Number, time: Number | int) -> Matrix:
        """A row of all gates for each sequence; ``time`` counts the few steps where there are no others."""
        number = direction * self._times + time
        return Matrix(self.place, number * (self.sizes.batch * self.sizes.width) + self.start, self.sizes.width)

    def states(self, direction: Number, moment: Number | int) -> Matrix:
        """A row of hidden units for each sequence."""
        return self._at_moment(self._first_states, direction, moment)

    def own(self, direction: Number, moment: Number | int) -> Matrix:
        """The same of what a cell has beside its states."""
        return self._at_moment(self._own, direction, moment)

    def _at_moment(self, first: int, direction: Number, moment: Number | int) -> Matrix:
        number = direction * (self._moments // self.sizes.directions) + (moment if self.is_kept else 0)
        return Matrix(self.place, number * self._states + (self.start + first), self.sizes.hidden)
