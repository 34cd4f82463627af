"""A sparse tensor as a file holds it: the stored elements and where they sit. It computes only its dense form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(eq=False, slots=True)
class SparseTensor:
    """Elements of a tensor of ``shape`` that is zero elsewhere.

    - ``values``: (count,), the stored elements
    - ``indices``: (count,) row-major offsets, or (count, rank) coordinates; int64
    """

    values: np.ndarray
    indices: np.ndarray
    shape: tuple[int, ...]

    def positions(self) -> np.ndarray:
        """Row-major offsets of the stored elements, (count,)."""
        if self.indices.ndim == 1:
            return self.indices
        return np.ravel_multi_index(tuple(self.indices.T), self.shape)

    def dense(self) -> np.ndarray:
        """The whole tensor with its zeros, of shape ``shape``."""
        array = np.zeros(self.shape, self.values.dtype)
        array.reshape(-1)[self.positions()] = self.values
        return array
