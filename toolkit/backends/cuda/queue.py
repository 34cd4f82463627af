"""What a context owns on the device: streams and library handles, each made when needed.

Several contexts have several queues, which the device works off side by side.
"""

from __future__ import annotations

import ctypes
import weakref
from functools import cached_property
from typing import Any

from toolkit.backends.cuda import library
from toolkit.backends.cuda.device import device
from toolkit.backends.protocol import Resources
from toolkit.errors import BackendError

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: the stream does not wait for the legacy default stream


class Queue:
    """A stream of work, and one for each direction of copies beside it.

    ``strict``: products of float32 are computed in float32, without TF32.
    """

    def __init__(self, resources: Resources) -> None:
        self.strict = resources.strict
        self.training = resources.training
        self.seed = resources.seed

    @cached_property
    def stream(self) -> Any:
        """The stream of the work, pycuda's."""
        return _stream()

    @cached_property
    def uploads(self) -> Any:
        """The stream of copies to the device beside the work."""
        return _stream()

    @cached_property
    def downloads(self) -> Any:
        """The stream of copies from the device beside the work."""
        return _stream()

    @cached_property
    def handle(self) -> int:
        """The driver's handle of the stream."""
        return int(self.stream.handle)

    @cached_property
    def array_stream(self) -> Any:
        """The same stream for CuPy."""
        cupy: Any = library.module("cupy")
        return cupy.cuda.Stream.from_external(_Foreign(self.handle))

    @cached_property
    def cudnn(self) -> int:
        """A cuDNN handle that enqueues on the stream."""
        device().enter()
        cudnn, made = library.load("cudnn"), ctypes.c_void_p()
        _require(cudnn.cudnnCreate(ctypes.byref(made)), "cudnnCreate")
        weakref.finalize(self, cudnn.cudnnDestroy, made)
        _require(cudnn.cudnnSetStream(made, ctypes.c_void_p(self.handle)), "cudnnSetStream")
        return made.value or 0

    @cached_property
    def cublaslt(self) -> int:
        """A cublasLt handle; its calls are told the stream."""
        device().enter()
        cublas, made = library.load("cublasLt"), ctypes.c_void_p()
        _require(cublas.cublasLtCreate(ctypes.byref(made)), "cublasLtCreate")
        weakref.finalize(self, cublas.cublasLtDestroy, made)
        return made.value or 0

    def enter(self) -> None:
        """Make the context current on the calling thread, and the stream that of CuPy where a kernel computes by it."""
        device().enter()
        if "array_stream" in self.__dict__:
            self.array_stream.use()

    def synchronise(self) -> None:
        """Wait until everything enqueued is done. Raises ``BackendError`` with what the device said."""
        for name in ("uploads", "stream", "downloads"):
            if name in self.__dict__:
                _wait(getattr(self, name))


def _stream() -> Any:
    with device().active() as driver:
        return driver.Stream(NON_BLOCKING)


def _wait(stream: Any) -> None:
    try:
        stream.synchronize()
    except device().driver.Error as error:
        raise BackendError(f"The device stopped at an error: {error}. Start a new process.") from error


class _Foreign:
    """A stream of somebody else, as CuPy takes it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle


def queue_of(resources: Resources) -> Queue:
    """The queue of a context."""
    return resources.own("cuda", lambda: Queue(resources))


def _require(status: int, call: str) -> None:
    if status:
        raise BackendError(f"{call} failed with status {status}: is the driver as new as the libraries?")
