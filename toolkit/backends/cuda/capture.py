"""CUDA graphs: steps that were executed once are recorded, and launched together ever after.

The driver's own interface is called; the recorded addresses are those of the plan's arenas, which never move.
"""

from __future__ import annotations

import ctypes
import warnings
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

from toolkit.backends.cuda import library
from toolkit.backends.cuda.queue import Queue
from toolkit.backends.protocol import Step
from toolkit.errors import BackendError

THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile
FEWEST_STEPS = 2  # one launch of a graph costs as much as one kernel


class CapturedGraph:
    """An executable graph on a queue; calling it launches everything."""

    def __init__(self, steps: Sequence[Step], queue: Queue) -> None:
        driver, graph = library.load("driver"), ctypes.c_void_p()
        self._steps = tuple(steps)  # they own the memory that the graph reads
        self._executable = ctypes.c_void_p()
        stream = ctypes.c_void_p(queue.handle)
        _require(driver.cuStreamBeginCapture_v2(stream, THREAD_LOCAL), "cuStreamBeginCapture")
        try:
            failed = next((index for index, step in enumerate(steps) if _fails(step())), None)
        finally:
            status = driver.cuStreamEndCapture(stream, ctypes.byref(graph))
        _require(status, "cuStreamEndCapture")
        try:
            if failed is not None:
                raise BackendError(f"Step {failed} of a fused run failed while it was recorded.")
            flags = ctypes.c_uint64(0)
            made = driver.cuGraphInstantiateWithFlags(ctypes.byref(self._executable), graph, flags)
            _require(made, "cuGraphInstantiate")
        finally:
            driver.cuGraphDestroy(graph)
        weakref.finalize(self, driver.cuGraphExecDestroy, self._executable)
        self.launch: Step = partial(driver.cuGraphLaunch, self._executable, stream)

    def __call__(self) -> Any:
        return self.launch()


def captured(steps: Sequence[Step], queue: Queue) -> Step | None:
    """The steps as one graph; ``None`` where that wins nothing, or the driver cannot, which a warning tells."""
    if len(steps) < FEWEST_STEPS:
        return None
    try:
        return CapturedGraph(steps, queue)
    except BackendError as error:
        why = f"{len(steps)} steps are launched one by one, for they could not be recorded: {error}"
        warnings.warn(why, RuntimeWarning, stacklevel=2)
        return None


def _fails(status: Any) -> bool:
    return status.__class__ is int and status != 0


def _require(status: int, call: str) -> None:
    if status:
        raise BackendError(f"{call} failed: {library.driver_message(status)}.")
