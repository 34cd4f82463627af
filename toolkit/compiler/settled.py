"""What was taken for constant of the parameters: integers, and the numbers of formulas that nobody trains.

A program that knows them is smaller: shapes follow from them, and formulas are recognised by them. It holds only as
long as they are what they were; whoever keeps such a program asks before every run.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from toolkit.graph.parameter import CLOCK, Parameter


class Settled:
    """The contents that parameters had when they were taken for constant.

    Written again with the very same content (a checkpoint is loaded), a parameter still is what it was.
    """

    __slots__ = ("_clock", "_contents", "_versions")

    def __init__(self) -> None:
        self._contents: dict[Parameter, np.ndarray] = {}
        self._versions: dict[Parameter, int] = {}
        self._clock = -1

    def take(self, parameter: Parameter) -> np.ndarray:
        """The content of a parameter, from now on a constant."""
        if parameter not in self._contents:
            self._versions[parameter] = parameter.version
            self._contents[parameter] = parameter.array
        return self._contents[parameter]

    def add(self, other: Settled) -> None:
        """Depend on what another one depends on as well."""
        self._contents.update(other._contents)
        self._versions.update(other._versions)
        self._clock = -1

    def is_current(self) -> bool:
        """Whether every content still is what it was; one comparison while nobody writes to any parameter."""
        if self._clock == CLOCK.now:
            return True
        now = CLOCK.now
        for parameter, version in self._versions.items():
            if parameter.version != version:
                latest = parameter.version
                if not _is_same(parameter.array, self._contents[parameter]):
                    return False
                self._versions[parameter] = latest
        self._clock = now
        return True

    def owner(self, constant: np.ndarray | None) -> Parameter | None:
        """The parameter that a constant was taken from."""
        return next((parameter for parameter, content in self._contents.items() if content is constant), None)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._contents)

    def __contains__(self, parameter: Parameter) -> bool:
        return parameter in self._contents


def _is_same(now: np.ndarray, then: np.ndarray) -> bool:
    """Whether two arrays of one type and shape hold the same, bit for bit."""
    return np.array_equal(now, then) if now.dtype == object else now.tobytes() == then.tobytes()
