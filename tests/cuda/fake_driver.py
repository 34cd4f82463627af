"""Drivers that are none: one that answers a few questions, and where the one on host memory is built."""

from __future__ import annotations

from typing import Any

NO_DEVICE = 100
NAMES = {NO_DEVICE: b"CUDA_ERROR_NO_DEVICE"}


class Answering:
    """A driver that says how many devices there are, or why it cannot."""

    def __init__(self, devices: int = 1, status: int = 0) -> None:
        self._devices, self._status = devices, status

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self._status

    def cuDeviceGetCount(self, target: Any) -> int:  # noqa: N802
        target._obj.value = self._devices
        return 0

    def cuGetErrorName(self, status: int, target: Any) -> int:  # noqa: N802
        target._obj.value = NAMES[status]
        return 0
