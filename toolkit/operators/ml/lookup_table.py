"""Dictionaries on arrays: keys of any element type looked up by binary search; a repeated key means its last entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class LookupTable:
    """Sorted ``keys`` with their ``positions`` in the list they came from, or a dict of strings."""

    keys: np.ndarray
    positions: np.ndarray
    strings: dict[Any, int] | None

    @classmethod
    def of(cls, keys: np.ndarray) -> LookupTable:
        """The table of a vector of keys; NaN is equal to NaN."""
        places = np.arange(len(keys))
        if keys.dtype == object:
            return cls(keys[:0], places[:0], {key: int(place) for key, place in zip(keys, places, strict=True)})
        found, from_end = np.unique(keys[::-1], return_index=True)
        return cls(found, places[::-1][from_end], None)

    def find(self, x: np.ndarray) -> np.ndarray:
        """The position of every element of ``x`` in the list of keys, -1 where it is not among them."""
        if self.strings is not None:
            get = self.strings.get
            return np.array([get(item, -1) for item in x.reshape(-1)], dtype=np.int64).reshape(x.shape)
        if not self.keys.size:
            return np.full(x.shape, -1, np.int64)
        near = np.minimum(np.searchsorted(self.keys, x), len(self.keys) - 1)
        same = self.keys[near] == x
        if self.keys.dtype.kind == "f":
            same |= np.isnan(self.keys[near]) & np.isnan(x)
        return np.where(same, self.positions[near], -1)
