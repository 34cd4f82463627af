"""Gradients by brute force, element by element in float64, to judge fused gradients that share no formula with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

STEP = 1e-6


def numeric_gradients(
    function: Callable[..., np.ndarray], inputs: Sequence[np.ndarray], g: np.ndarray
) -> tuple[np.ndarray, ...]:
    """d sum(g * function(*inputs)) / d input for every input, in the input's own element type."""
    arrays = [item.astype(np.float64) for item in inputs]
    found = []
    for index, base in enumerate(arrays):
        grad = np.empty(base.shape)
        for place in np.ndindex(base.shape):
            ends = []
            for sign in (1, -1):
                moved = base.copy()
                moved[place] += sign * STEP
                ends.append(float((g * function(*arrays[:index], moved, *arrays[index + 1 :])).sum()))
            grad[place] = (ends[0] - ends[1]) / (2 * STEP)
        found.append(grad.astype(inputs[index].dtype))
    return tuple(found)
