"""The door of what is done batch after batch: one that is like the last goes straight on, and nothing is looked up.

Alike are batches of the same arrays, by name, element type and shape, while nothing else has changed that counts. All
others are turned away: they are looked at in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from toolkit.graph.network import Network
from toolkit.runtime.feeds import Wanted, as_they_are, wanted_as_they_are

Kept = TypeVar("Kept")


class Door(Generic[Kept]):
    """Open for batches like the one that came last; ``state`` is whatever counts beside the arrays."""

    def __init__(self) -> None:
        self._wanted: list[Wanted] | None = None
        self._kept: Kept | None = None
        self._state: Any = None

    def open(self, network: Network, arrays: Mapping[str, Any], kept: Kept, state: Any) -> None:
        """Let batches like ``arrays`` through to what is ``kept`` for them, where all that is fed are arrays."""
        self._wanted, self._kept, self._state = None, kept, state
        if all(isinstance(array, np.ndarray) for array in arrays.values()):
            self._wanted = wanted_as_they_are(network, {name: array.shape for name, array in arrays.items()})

    def close(self) -> None:
        """Look at every batch."""
        self._wanted = None

    def passed(self, feeds: Mapping[str, Any] | Any, state: Any) -> tuple[Kept, dict[str, np.ndarray]] | None:
        """What is kept for a batch, and its arrays by name; ``None`` for one that is to be looked at."""
        if self._wanted is None or self._kept is None or self._state != state:
            return None
        found = as_they_are(feeds, self._wanted)
        if found is None:
            return None
        return self._kept, {name: array for (name, _, _), array in zip(self._wanted, found, strict=True)}
