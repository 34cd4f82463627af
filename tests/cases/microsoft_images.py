"""Cases of ``toolkit.operators.microsoft.images``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, constant, uniform, variable

IMAGES = uniform("N", 2, 6, 7)
WHICH = variable(lambda n: np.arange(4) % n, "int32")


def boxes(low: float, high: float) -> Given:
    """Four boxes whose corners lie between two numbers."""

    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        corners = np.sort(random.uniform(low, high, (4, 2, 2)), axis=1)
        return np.ascontiguousarray(corners.reshape(4, 4), dtype=np.float32)

    return Given(make)


def row(rois: Given, size: list[int], note: str, **given: Any) -> Case:
    settings = {key: given.pop(key) for key in ("differentiable",) if key in given}
    return Case(
        "CropAndResize", [IMAGES, rois, WHICH, constant(size, "int32")], given, version=1, domain="com.microsoft",
        note=note, tolerance=1e-4, gradient_tolerance=1e-3, **settings,
    )  # fmt: skip


CASES = [
    row(boxes(0.05, 0.95), [3, 4], "bilinear"),
    row(boxes(0.05, 0.95), [1, 2], "one row"),
    row(boxes(-0.3, 1.3), [3, 3], "beyond the image", extrapolation_value=0.5),
    row(boxes(0.05, 0.95), [3, 4], "nearest", mode="nearest", differentiable=[0]),
]
