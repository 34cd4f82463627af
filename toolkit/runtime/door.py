"""The door of a training session: a batch that is like the last one goes to the same plan, and nothing is looked up.

Alike are batches of the same arrays, by name, element type and shape, while what the step depends on beside them is the
same. All others are turned away: they are looked at in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.graph.network import Network
from toolkit.runtime.feeds import Wanted, as_they_are, wanted_as_they_are
from toolkit.runtime.step_plan import StepPlan

Passed = tuple[StepPlan, dict[str, np.ndarray]]


class Door:
    """``opened`` for the batch that came last; ``state`` is whatever a step depends on beside the batch."""

    def __init__(self) -> None:
        self._wanted: list[Wanted] | None = None
        self._plan: StepPlan | None = None
        self._state: Any = None

    def open(self, network: Network, arrays: Mapping[str, Any], plan: StepPlan, state: Any) -> None:
        """Let batches like ``arrays`` through to ``plan``, where everything that is fed is an array."""
        self._wanted, self._plan, self._state = wanted_from(network, arrays), plan, state

    def close(self) -> None:
        """Look at every batch."""
        self._wanted = None

    def passed(self, feeds: Mapping[str, Any] | Any, state: Any) -> Passed | None:
        """The plan and the arrays of a batch, ``None`` for one that is to be looked at."""
        if self._wanted is None or self._plan is None or self._state != state or not self._plan.settled.is_current():
            return None
        found = as_they_are(feeds, self._wanted)
        return None if found is None else (self._plan, named_again(found, self._wanted))


def wanted_from(network: Network, arrays: Mapping[str, Any]) -> list[Wanted] | None:
    """What batches must be to be like this one; ``None`` where that cannot be told by type and shape."""
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        return None
    return wanted_as_they_are(network, {name: array.shape for name, array in arrays.items()})


def named_again(arrays: list[np.ndarray], wanted: list[Wanted]) -> dict[str, np.ndarray]:
    """Arrays in the order of ``wanted`` by name."""
    return {name: array for (name, _, _), array in zip(wanted, arrays, strict=True)}
