"""The device: its primary context, shared with CuPy, cuDNN and every other library of the process, and what it can do.

pycuda retains the context when the backend is first used. A thread that runs kernels makes it its current one; pycuda's
own stack, which aborts a process whose threads end with a context on it, is used for the moment of making and freeing.
"""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from toolkit.backends.cuda import library
from toolkit.errors import BackendError

ORDINAL = 0  # CUDA_VISIBLE_DEVICES chooses which one that is


class Device:
    """One GPU. ``driver`` is ``pycuda.driver``, ``context`` its primary context, ``handle`` that of the driver."""

    def __init__(self) -> None:
        self.driver: Any = library.module("pycuda.driver")
        self.driver.init()
        found = self.driver.Device(ORDINAL)
        self.name: str = found.name()
        self.capability: tuple[int, int] = found.compute_capability()
        self.multiprocessors: int = found.get_attribute(self.driver.device_attribute.MULTIPROCESSOR_COUNT)
        self.nbytes: int = found.total_memory()
        self.context = found.retain_primary_context()
        self.handle: int = self.context.handle
        self._set_current = library.load("driver").cuCtxSetCurrent
        self._set_current.argtypes = [ctypes.c_void_p]

    def enter(self) -> None:
        """Make the context the current one of the calling thread; other threads keep theirs."""
        if status := self._set_current(self.handle):
            raise BackendError(f"The device {self.name} cannot be used: {library.driver_message(status)}.")

    @contextmanager
    def active(self) -> Iterator[Any]:
        """pycuda's driver with the context on its stack: what it makes belongs to it, what it frees is freed there."""
        self.context.push()
        try:
            yield self.driver
        finally:
            self.context.pop()

    @property
    def free_nbytes(self) -> int:
        """Bytes of device memory that nobody has."""
        with self.active() as driver:
            return driver.mem_get_info()[0]


@cache
def device() -> Device:
    """The device that the backend uses. Raises ``BackendError`` naming everything that is missing."""
    reason = library.unavailable_reason()
    if reason is not None:
        raise BackendError(f"The backend 'cuda' cannot be used: {reason}")
    found = Device()
    atexit.register(device.cache_clear)
    return found
