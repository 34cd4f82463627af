"""The backends by name, loaded when first asked for.

``cpu`` is oneDNN with numpy behind it where oneDNN has nothing; where its library is missing it is numpy, and says so
once. Every preference list on host memory therefore ends in numpy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache

from toolkit.backends import onednn
from toolkit.backends.numpy.backend import NumpyBackend
from toolkit.backends.onednn.backend import OneDNNBackend
from toolkit.backends.onednn.registry import KERNELS
from toolkit.backends.protocol import Backend
from toolkit.errors import BackendError

NAMES = ("cpu", "numpy")


@cache
def numpy_backend() -> NumpyBackend:
    """The one numpy backend."""
    return NumpyBackend()


@cache
def _onednn_backend() -> Backend | None:
    reason = onednn.unavailable_reason()
    if reason is None:
        return OneDNNBackend()
    warnings.warn(f"The backend 'cpu' runs on numpy alone: {reason}", RuntimeWarning, stacklevel=4)
    return None


def _cpu() -> list[Backend]:
    fast = _onednn_backend()
    return [numpy_backend()] if fast is None else [fast, numpy_backend()]


_FACTORIES: dict[str, Callable[[], list[Backend]]] = {"cpu": _cpu, "numpy": lambda: [numpy_backend()]}


def resolve(preference: str | Sequence[str]) -> list[Backend]:
    """The backends of a preference (a name or a list of names), most wanted first.

    Raises ``BackendError`` for unknown names.
    """
    names = [preference] if isinstance(preference, str) else list(preference)
    found: list[Backend] = []
    for name in names:
        if name not in _FACTORIES:
            hint = " CUDA comes in a later version." if name == "cuda" else ""
            raise BackendError(f"There is no backend {name!r}; available are {', '.join(NAMES)}.{hint}")
        found.extend(backend for backend in _FACTORIES[name]() if backend not in found)
    return found


def kernel_names(domain: str, operator: str) -> list[str]:
    """The libraries, besides numpy, with a kernel for some nodes of an operator; available here or not."""
    return ["oneDNN"] if (domain, operator) in KERNELS else []
