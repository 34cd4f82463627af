"""The number of OpenMP threads, which oneDNN reads when a primitive is made and when it is executed.

OpenMP keeps the number per calling thread: whoever makes or runs primitives in a thread of their own sets it there.
"""

from __future__ import annotations

import os

from toolkit.backends.onednn.library import load


def use_threads(count: int) -> None:
    """Let primitives that the calling thread makes or executes from now on use ``count`` threads; 0 means all cores."""
    load().set_thread_count(count if count > 0 else available_cores())


def available_cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
