"""What metrics accumulate: rows of numbers, one for each item, over everything or over the last items only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from toolkit.errors import InputError


class Rows:
    """Arrays joined along their first axis; with a ``window`` only the last so many rows are kept."""

    def __init__(self, window: int | None) -> None:
        if window is not None and (not isinstance(window, int) or window < 1):
            raise InputError(f"window requires a whole number of at least 1, or None for everything, got {window!r}.")
        self.window = window
        self._chunks: deque[np.ndarray] = deque()
        self._count = 0

    def clear(self) -> None:
        self._chunks.clear()
        self._count = 0

    def append(self, rows: np.ndarray) -> None:
        """Take in rows, and let go of what is older than the window."""
        if self.window is not None:
            rows = rows[-self.window :]
        self._chunks.append(rows)
        self._count += len(rows)
        while self.window is not None and self._count > self.window:
            excess, oldest = self._count - self.window, self._chunks.popleft()
            if len(oldest) > excess:
                self._chunks.appendleft(oldest[excess:])
            self._count -= min(excess, len(oldest))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self._chunks)

    def joined(self) -> np.ndarray:
        """All rows as one array."""
        return np.concatenate(self._chunks) if self._chunks else np.zeros((0, 0))
