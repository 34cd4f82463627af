"""Values between segments that stay on the device where they were computed.

Whatever reads one there is handed a copy in the device's memory; to everybody else it is an array, fetched when it is
first looked at. Their memory is used again and again: a loop carries its state without asking for any.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from toolkit.backends.protocol import plain
from toolkit.runtime.devices import Devices
from toolkit.runtime.tensors import AnyBuffer


class Resident:
    """A copy of a tensor as it is when a device has come to it; row-major, on the tensor's device."""

    __slots__ = ("__weakref__", "_array", "_devices", "buffer")

    def __init__(self, source: AnyBuffer, devices: Devices) -> None:
        layout = source.layout
        own = plain(layout.dtype, layout.shape, layout.device)
        spare = devices.spare.setdefault((own.device, own.nbytes), [])
        block = spare.pop() if spare else devices.block(own.device, own.nbytes)
        weakref.finalize(self, spare.append, block)  # what reads it was enqueued before what writes it next
        self.buffer: AnyBuffer = devices.buffer(own, block)
        self._devices = devices
        self._array: np.ndarray | None = None
        devices.copy(source, self.buffer)

    @property
    def device(self) -> str:
        return self.buffer.layout.device

    @property
    def dtype(self) -> np.dtype:
        return self.buffer.layout.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.buffer.layout.shape

    def put_into(self, target: AnyBuffer) -> None:
        """Copy it to another place on its device; nobody waits."""
        self._devices.copy(self.buffer, target)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self._array is None:
            self._array = self._devices.to_host(self.buffer)
        return self._array if dtype is None else self._array.astype(dtype, copy=False)


def fetched(value: Any) -> Any:
    """A value with every part of it on the host."""
    if isinstance(value, Resident):
        return np.asarray(value)
    return [fetched(item) for item in value] if isinstance(value, list) else value
