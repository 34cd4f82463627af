"""Cases of ``operators.standard.deformable_convolution``, judged tap by tap; gradients by differences of that judge."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from tests.support.case import Case, uniform

PLAIN: dict[str, Any] = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1, "offset_group": 1}
GEOMETRY: dict[str, Any] = {"strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [1, 2], "group": 2, "offset_group": 2}


def read(plane: np.ndarray, row: float, column: float) -> float:
    """The bilinear value of a plane at a point, zeros around it."""
    total = 0.0
    for i, j in product(range(plane.shape[0]), range(plane.shape[1])):
        total += max(1 - abs(row - i), 0) * max(1 - abs(column - j), 0) * plane[i, j]
    return total


def judge(
    x: np.ndarray,
    w: np.ndarray,
    offset: np.ndarray,
    b: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    **attributes: Any,
) -> np.ndarray:
    """One product of a weight and a read value after the other."""
    given = {**PLAIN, **attributes}
    rows, columns = w.shape[2:]
    channels, outputs = x.shape[1] // given["offset_group"], w.shape[0] // given["group"]
    y = np.zeros((x.shape[0], w.shape[0], *offset.shape[2:]))
    for n, depth, i, j in np.ndindex(x.shape[0], x.shape[1], rows, columns):
        tap = (depth // channels * rows + i) * columns + j
        for place in np.ndindex(*offset.shape[2:]):
            top = place[0] * given["strides"][0] - given["pads"][0] + i * given["dilations"][0]
            left = place[1] * given["strides"][1] - given["pads"][1] + j * given["dilations"][1]
            down, along = offset[n, 2 * tap, place[0], place[1]], offset[n, 2 * tap + 1, place[0], place[1]]
            value = read(x[n, depth], top + down, left + along)
            value *= 1.0 if mask is None else mask[n, tap, place[0], place[1]]
            first = depth // w.shape[1] * outputs
            y[n, first : first + outputs, place[0], place[1]] += (
                w[first : first + outputs, depth % w.shape[1], i, j] * value
            )
    return (y if b is None else y + b.reshape(-1, 1, 1)).astype(x.dtype)


def slope(g: np.ndarray, arrays: list[np.ndarray], number: int, attributes: dict[str, Any]) -> np.ndarray:
    """Central differences of the judge by one of its inputs (x, w, offset, mask)."""
    exact = [array.astype(np.float64) for array in arrays]
    found = np.zeros(exact[number].shape)
    for at in np.ndindex(*found.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = [array.copy() for array in exact]
            moved[number][at] += step
            x, w, offset, mask = moved
            ends.append((judge(x, w, offset, None, mask, **attributes) * g).sum())
        found[at] = (ends[0] - ends[1]) / 2e-6
    return found.astype(g.dtype)


def judge_weight_gradient(
    g: np.ndarray, x: np.ndarray, offset: np.ndarray, mask: np.ndarray, *, weight_shape: list[int], **attributes: Any
) -> np.ndarray:
    """The weight's slope, which does not depend on the weight."""
    return slope(g, [x, np.zeros(weight_shape), offset, mask], 1, attributes)


def judge_input_gradient(
    g: np.ndarray, x: np.ndarray, w: np.ndarray, offset: np.ndarray, mask: np.ndarray, **attributes: Any
) -> tuple[np.ndarray, ...]:
    """The slopes of everything but the weight."""
    return tuple(slope(g, [x, w, offset, mask], number, attributes) for number in (0, 2, 3))


SMALL = [uniform("N", 2, 3, 3), uniform("N", 8, 2, 2, low=-0.9, high=0.9), uniform("N", 4, 2, 2)]
CASES = [
    Case("DeformConv", [uniform("N", 2, 4, 4), uniform(3, 2, 2, 2), uniform("N", 8, 3, 3)], version=19, judge=judge),
    Case(
        "DeformConv",
        [
            uniform("N", 4, 5, 5),
            uniform(2, 2, 3, 2),
            uniform("N", 24, 3, 4),
            uniform(2),
            uniform("N", 12, 3, 4),
        ],
        GEOMETRY,
        version=22,
        judge=judge,
        tolerance=2e-5,
        note="all inputs",
    ),
    Case(
        "DeformConv",
        [uniform("N", 2, 4, 4), uniform(3, 2, 2, 2), uniform("N", 8, 3, 3), None, uniform("N", 4, 3, 3)],
        {"kernel_shape": [2, 2]},
        version=22,
        judge=judge,
        note="mask",
    ),
    Case(
        "DeformConvWeightGradient",
        [uniform("N", 2, 2, 2), *SMALL],
        {**PLAIN, "weight_shape": [2, 2, 2, 2]},
        version=1,
        domain="toolkit",
        judge=judge_weight_gradient,
        tolerance=1e-4,
    ),
    Case(
        "DeformConvInputGradient",
        [uniform("N", 2, 2, 2), SMALL[0], uniform(2, 2, 2, 2), *SMALL[1:]],
        PLAIN,
        version=1,
        domain="toolkit",
        outputs=3,
        judge=judge_input_gradient,
        tolerance=1e-4,
    ),
]
