"""Weights that stay in their file until somebody needs them.

A large file is mapped instead of read: a context packs its weights straight out of it, so that they are not held twice.
The file has to stay what it was. Whoever replaces it by renaming another one (as ``save`` does), or deletes it, does no
harm; one that was written into is refused when the next weight is read, before anything of it is believed.
"""

from __future__ import annotations

import mmap
import os
from io import FileIO

import numpy as np

from importers.onnx.origin import DataHandle
from toolkit.errors import ModelError


class StoredFile:
    """An open model file, mapped; ``label`` is how messages call it. Raises ``OSError`` where it cannot be mapped."""

    def __init__(self, file: FileIO, label: str) -> None:
        self.mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.label = label
        self._handle = DataHandle(os.dup(file.fileno()))
        self._bytes = np.frombuffer(self.mapped, np.uint8)
        self._state = self._seen()

    def span(self, start: int, end: int) -> np.ndarray:
        """Bytes of the file, which only ``fetch`` may look at."""
        return self._bytes[start:end]

    def fetch(self, stored: np.ndarray) -> np.ndarray:
        """A new array with the content of one that lies over a span, aligned for its elements.

        It is read rather than copied out of the mapping: that spares a page fault for every page, and leaves nothing of
        the mapping in this process's memory. Raises ``ModelError`` when the file was written into since it was loaded.
        """
        found = np.empty(stored.shape, stored.dtype)
        start, left = stored.ctypes.data - self._bytes.ctypes.data, found.reshape(-1).view(np.uint8).data
        count = int(self._seen() == self._state)
        while count and len(left):
            count = os.preadv(self._handle.fileno(), [left], start)
            start, left = start + count, left[count:]
        if not count:
            raise ModelError(
                f"{self.label} was changed after it was loaded, while its weights still lay there. Load it again; "
                "to change a model file in use, write another one and rename it, as save() does."
            )
        found.flags.writeable = False
        return found

    def _seen(self) -> tuple[int, int]:
        status = os.fstat(self._handle.fileno())
        return status.st_size, status.st_mtime_ns
