"""Cases of ``toolkit.operators.standard.columns_to_image``."""

from __future__ import annotations

from itertools import product

import numpy as np

from tests.support.case import Case, constant, uniform

GEOMETRY = {"strides": [2, 1], "pads": [1, 0, 0, 2], "dilations": [1, 2]}


def judge_columns(
    image: np.ndarray, *, block_shape: list[int], strides: list[int], pads: list[int], dilations: list[int]
) -> np.ndarray:
    """Block by block, element by element."""
    (rows, columns), (height, width) = block_shape, image.shape[2:]
    found = []
    for top in range(-pads[0], height + pads[2] - (rows - 1) * dilations[0], strides[0]):
        for left in range(-pads[1], width + pads[3] - (columns - 1) * dilations[1], strides[1]):
            block = np.zeros((*image.shape[:2], rows, columns), image.dtype)
            for i, j in product(range(rows), range(columns)):
                row, column = top + i * dilations[0], left + j * dilations[1]
                if 0 <= row < height and 0 <= column < width:
                    block[:, :, i, j] = image[:, :, row, column]
            found.append(block.reshape(image.shape[0], -1))
    return np.stack(found, axis=-1)


CASES = [
    Case("Col2Im", [uniform("N", 8, 9), constant([4, 4]), constant([2, 2])], version=18),
    Case("Col2Im", [uniform("N", 12, 8), constant([5, 4]), constant([3, 2])], GEOMETRY, version=18, note="geometry"),
    Case("Col2Im", [uniform("N", 8, 12), constant([3, 3, 4]), constant([2, 2, 2])], note="three axes"),
    Case(
        "Im2Col",
        [uniform("N", 2, 5, 4)],
        {"block_shape": [3, 2], **GEOMETRY},
        version=1,
        domain="toolkit",
        judge=judge_columns,
    ),
]
