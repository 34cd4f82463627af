"""Calls of the driver that enqueue, and events: what pycuda would wrap in more time than the device needs.

A call returns the driver's status, which is what a step returns. pycuda makes contexts, streams and memory.
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cache
from typing import Any

from toolkit.backends.cuda import library
from toolkit.backends.cuda.device import Device, device
from toolkit.errors import BackendError

WITHOUT_TIME = 2  # CU_EVENT_DISABLE_TIMING: such events are the cheapest
SIGNATURES = {  # q: an address or a number of 64 bits, z: a size, u: a number of 32 bits, p: a pointer or a handle
    "cuMemcpyHtoDAsync_v2": "qpzp",
    "cuMemcpyDtoHAsync_v2": "pqzp",
    "cuMemcpyDtoDAsync_v2": "qqzp",
    "cuMemsetD32Async": "quzp",
    "cuEventCreate": "pu",
    "cuEventDestroy_v2": "p",
    "cuEventRecord": "pp",
    "cuEventSynchronize": "p",
    "cuStreamWaitEvent": "ppu",
}
TYPES = {"q": ctypes.c_uint64, "z": ctypes.c_size_t, "u": ctypes.c_uint, "p": ctypes.c_void_p}


@cache
def call(name: str) -> Any:
    """A function of the driver that knows the types of its arguments."""
    function = getattr(library.load("driver"), name)
    function.argtypes = [TYPES[letter] for letter in SIGNATURES[name]]
    return function


class Happening:
    """An event of the driver: a place in one stream that another stream, or the host, can wait for.

    Waiting for one that was never recorded is no waiting.
    """

    def __init__(self) -> None:
        made, owner = ctypes.c_void_p(), device()
        owner.enter()
        if status := call("cuEventCreate")(ctypes.byref(made), WITHOUT_TIME):
            raise BackendError(f"cuEventCreate failed: {library.driver_message(status)}.")
        self.handle: int = made.value or 0
        weakref.finalize(self, _destroy, owner, self.handle)

    def wait(self) -> None:
        """Until the device has come there. Raises ``BackendError`` with what the device said."""
        if status := call("cuEventSynchronize")(self.handle):
            raise BackendError(f"The device stopped at an error: {library.driver_message(status)}.")


def _destroy(owner: Device, handle: int) -> None:
    owner.enter()
    call("cuEventDestroy_v2")(handle)
