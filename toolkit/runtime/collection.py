"""When garbage is looked for: not while a plan is made.

Making one allocates tens of thousands of objects that stay, so that the interpreter would go through everything there
is once or twice, which takes as long as compiling a small network.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no cycles while the block runs; afterwards it is as before, whatever other threads do."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
