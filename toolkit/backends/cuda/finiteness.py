"""Whether gradients are finite: a look at all of them on the device, and one number that comes back.

The store lays the gradients of a group beside each other, so there is one launch for each group and element type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from toolkit.backends.cuda.coordinates import LARGEST_PACK
from toolkit.backends.cuda.driver import call
from toolkit.backends.cuda.launch import Address, Argument, Launch, enqueuing
from toolkit.backends.cuda.memory import DeviceBlock, DeviceMemory
from toolkit.backends.cuda.optimization import pieces
from toolkit.backends.cuda.queue import queue_of
from toolkit.backends.cuda.source import Function, reads
from toolkit.backends.protocol import Resources
from toolkit.errors import BackendError

THREADS = 256
PACKS_A_THREAD = 8
MOST_BLOCKS = 2048
FLAG = np.dtype(np.uint32)


def looking(dtype: np.dtype, source: Argument, flag: Argument, count: int) -> Launch:
    """The launch that sets ``flag`` where one of ``count`` numbers is NaN or infinite."""
    pack = LARGEST_PACK // dtype.itemsize
    parameters = (reads("x", dtype), "uint32* flag", "uint64 count")
    function = Function("look", parameters, f"    sweep::look<{pack}>(x, flag, count);", ("reduction", "sweep"))
    blocks = min(-(-count // (THREADS * PACKS_A_THREAD * pack)), MOST_BLOCKS)
    return Launch(function, (blocks, 1, 1), (THREADS, 1, 1), (source, flag, np.uint64(count)))


class Look:
    """A look at buffers that do not move, made ready once."""

    def __init__(self, buffers: Sequence[Any], resources: Resources) -> None:
        self._flag = DeviceBlock(FLAG.itemsize)
        self._answer = DeviceMemory().staging(FLAG.itemsize).view(FLAG)
        stream = queue_of(resources).handle
        launches = [
            looking(dtype, Address(start), Address(self._flag.address), count)
            for dtype in dict.fromkeys(item.layout.dtype for item in buffers)
            for (start,), count in pieces(_rows(buffers, dtype), [dtype.itemsize])
        ]
        self._clear = partial(call("cuMemsetD32Async"), self._flag.address, 0, 1, stream)
        self._look = enqueuing(launches, [], [], None, resources)
        back = call("cuMemcpyDtoHAsync_v2")
        self._fetch = partial(back, self._answer.ctypes.data, self._flag.address, FLAG.itemsize, stream)

    def begin(self) -> Callable[[], bool]:
        """Enqueue it; what is returned tells what was seen, once the queue was waited for."""
        if status := self._clear() or self._look() or self._fetch():
            raise BackendError(f"The gradients could not be looked at: the driver answers {status}.")
        return lambda: not self._answer[0]


def _rows(buffers: Sequence[Any], dtype: np.dtype) -> list[tuple[tuple[int, ...], int]]:
    mine = (item for item in buffers if item.layout.dtype == dtype)
    return [((item.address,), item.layout.nbytes // dtype.itemsize) for item in mine if item.layout.nbytes]


def finiteness(buffers: Sequence[Any], resources: Resources) -> Callable[[], bool]:
    """Look for NaN and infinity in buffers; their looks are kept with the context, by where they lie."""
    if not buffers:
        return lambda: True
    looks: dict[tuple[tuple[int, int], ...], Look] = resources.own("cuda looks", dict)
    key = tuple((item.address, item.layout.nbytes) for item in buffers)
    if key not in looks:
        looks[key] = Look(buffers, resources)
    return looks[key].begin()
