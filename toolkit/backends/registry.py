"""The backends by name, loaded when first asked for.

``cpu`` is oneDNN, with kernels compiled by LLVM for what is small and numpy for what neither has; where oneDNN's
library is missing it does without, and says so once. ``cuda`` has the backends of ``cpu`` behind it; its modules are
imported when somebody asks for it. Every preference list therefore ends in numpy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module

from toolkit.backends import native, onednn
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.native.registry import KERNELS as NATIVE_KERNELS
from toolkit.backends.numpy.backend import NumpyBackend
from toolkit.backends.onednn.backend import OneDNNBackend
from toolkit.backends.onednn.registry import KERNELS as ONEDNN_KERNELS
from toolkit.backends.protocol import Backend
from toolkit.errors import BackendError

CUDA = "toolkit.backends.cuda"


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
    found = [_onednn_backend(), _native_backend(), numpy_backend()]
    return [backend for backend in found if backend is not None]


@cache
def _native_backend() -> Backend | None:
    return NativeBackend() if native.unavailable_reason() is None else None


@cache
def _cuda_backend() -> Backend:
    reason = import_module(CUDA).unavailable_reason()
    if reason is not None:
        raise BackendError(f"The backend 'cuda' cannot be used: {reason}")
    made: Backend = import_module(f"{CUDA}.backend").CudaBackend()
    return made


FACTORIES: dict[str, Callable[[], list[Backend]]] = {
    "cpu": _cpu,
    "numpy": lambda: [numpy_backend()],
    "cuda": lambda: [_cuda_backend(), *_cpu()],
}


def resolve(preference: str | Sequence[str]) -> list[Backend]:
    """The backends of a preference (a name or a list of names), most wanted first.

    Raises ``BackendError`` for unknown names, and for backends that lack something, telling what and where it comes
    from.
    """
    names = [preference] if isinstance(preference, str) else list(preference)
    found: list[Backend] = []
    for name in names:
        if name not in FACTORIES:
            raise BackendError(f"There is no backend {name!r}; there are {', '.join(FACTORIES)}.")
        found.extend(backend for backend in FACTORIES[name]() if backend not in found)
    return found


def kernel_names(domain: str, operator: str) -> list[str]:
    """The libraries of ``cpu``, besides numpy, with a kernel for some nodes of an operator; available here or not."""
    tables = {"oneDNN": ONEDNN_KERNELS, "LLVM": NATIVE_KERNELS}
    return [name for name, table in tables.items() if table.entries(domain, operator)]


def device_kernel_names(domain: str, operator: str) -> list[str]:
    """The same for ``cuda``, whose own kernels are called CUDA C."""
    found: list[str] = import_module(f"{CUDA}.registry").libraries(domain, operator)
    return found
