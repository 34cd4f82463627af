"""Ctrl-C while training: the step under way is finished first, so no parameter is left half updated."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interruption:
    """While it is entered, the first Ctrl-C only sets ``requested``; a second one interrupts at once.

    Signals reach the main thread alone; in any other thread it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None
        self._installed = False

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.getsignal(signal.SIGINT)
            if self._previous is signal.default_int_handler:  # somebody else's handler is somebody else's decision
                signal.signal(signal.SIGINT, self._request)
                self._installed = True
        return self

    def __exit__(self, *exception: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._previous)
            self._installed = False

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` when Ctrl-C was pressed; called between steps."""
        if self.requested:
            raise KeyboardInterrupt
