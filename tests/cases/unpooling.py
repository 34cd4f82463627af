"""Cases of ``toolkit.operators.standard.unpooling``."""

from __future__ import annotations

import numpy as np

from tests.support.case import Case, Given, constant, uniform


def places(pooled: tuple[int, ...], image: tuple[int, ...]) -> Given:
    """Different positions in each plane of a flattened (batch, channels, image...)."""

    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        count, plane, channels = int(np.prod(pooled[1:])), int(np.prod(image)), pooled[0]
        chosen = [random.permutation(plane)[:count] + number * plane for number in range(batch * channels)]
        return np.stack(chosen).reshape(batch, *pooled).astype(np.int64)

    return Given(make)


CASES = [
    Case(
        "MaxUnpool",
        [uniform("N", 2, 3, 2), places((2, 3, 2), (6, 4))],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        version=9,
    ),
    Case(
        "MaxUnpool",
        [uniform("N", 2, 3, 2), places((2, 3, 2), (5, 3))],
        {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]},
        version=11,
        note="pads",
    ),
    Case(
        "MaxUnpool",
        [uniform("N", 2, 3), places((2, 3), (6,)), constant(lambda n: [n, 2, 8])],
        {"kernel_shape": [2], "strides": [2]},
        version=22,
        note="output shape",
        judge="onnx.reference",
    ),
]
