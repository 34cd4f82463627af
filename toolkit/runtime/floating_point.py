"""Infinities and not-a-numbers as values: numpy says nothing of them while kernels compute.

What ``np.errstate(all="ignore")`` does, for the door of every run: numpy keeps its state in a context variable, which
is set and reset here in a twentieth of the time. Each thread has its own, and whoever calls gets back what was there.
Before version 2 numpy kept it elsewhere; then this is ``np.errstate``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import Any

import numpy as np


def _found() -> tuple[ContextVar[Any], Any] | None:
    """The variable that numpy sets and its content once errors are ignored, seen in a context that has nothing else."""
    context = Context()
    context.run(np.seterr, all="ignore")
    items = list(context.items())
    return items[0] if len(items) == 1 else None


def _entered() -> np.errstate:
    state = np.errstate(all="ignore")
    state.__enter__()
    return state


def _left(state: np.errstate) -> None:
    state.__exit__(None, None, None)


def doors(found: tuple[ContextVar[Any], Any] | None) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """The calls before and behind whatever is to compute in silence: what the first gives, the second is given."""
    if found is None:
        return _entered, _left
    variable, silent = found
    return lambda: variable.set(silent), variable.reset


silence, restore = doors(_found())
