"""The number of OpenMP threads, which oneDNN reads when a primitive is made and when it is executed.

OpenMP keeps the number per calling thread: whoever makes or runs primitives in a thread of their own sets it there.
"""

from __future__ import annotations

from toolkit.backends.onednn.library import load


def use_threads(count: int) -> None:
    """Let primitives that the calling thread makes or executes from now on use ``count`` threads."""
    load().set_thread_count(count)
