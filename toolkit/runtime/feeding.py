"""Feeding a plan: arrays into the memory its inputs are read from, and those of the next run ahead of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.backends.protocol import Crossing, Step


class Feed:
    """An input that crosses to its device beside the work; ``array`` is what is sent.

    It may be sent while a run is under way that has its own already: the run behind it takes what was sent.
    """

    def __init__(self, array: np.ndarray, send: Step, crossing: Crossing) -> None:
        self.array = array
        self._send, self._crossing = send, crossing
        self._sent: Any = None

    def send_ahead(self, given: np.ndarray) -> Any:
        """Send what the next run takes; returns the status of the copy."""
        self._crossing.wait()
        np.copyto(self.array, given)
        self._sent = given
        return self._send()

    def has(self, given: Any) -> bool:
        """Whether this very array was sent ahead; whatever else was is forgotten, and may be overwritten."""
        if self._sent is not None and self._sent is not given:
            self._crossing.wait()
            self._sent = None
        return self._sent is not None

    def forget(self) -> None:
        """What was sent ahead is not taken any more."""
        self._sent = None

    def follow(self) -> Any:
        """The step of the plan: send, unless it was done ahead."""
        if self._sent is None:
            return self._send()
        self._sent = None
        return None


def load(targets: Mapping[str, np.ndarray], feeds: Mapping[str, Feed], arrays: Mapping[str, Any]) -> None:
    """Put arrays where the next run reads them, but for those that were sent ahead; others are passed over."""
    for name, given in arrays.items():
        target = targets.get(name)
        if target is not None and not (name in feeds and feeds[name].has(given)):
            np.copyto(target, given, casting="same_kind")
