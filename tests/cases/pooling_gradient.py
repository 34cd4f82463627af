"""Cases of ``toolkit.operators.standard.pooling_gradient``, judged window by window."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from tests.support.case import Case, Given, spread, uniform

X = spread("N", 2, 7, 6)
BOX: dict[str, Any] = {
    "kernel_shape": [3, 2],
    "strides": [2, 2],
    "pads": [1, 0, 1, 1],
    "dilations": [1, 1],
    "ceil_mode": 0,
}
OVERHANGING: dict[str, Any] = {**BOX, "kernel_shape": [2, 2], "strides": [3, 2], "pads": [0, 1, 0, 0], "ceil_mode": 1}


def elements(x_shape: Any, out: Any, box: Any) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Offset and place of the elements of one window that lie inside the tensor."""
    for offset, tap in enumerate(product(*map(range, box["kernel_shape"]))):
        steps = zip(out, box["strides"], tap, box["dilations"], box["pads"], strict=False)
        place = tuple(o * s + t * d - p for o, s, t, d, p in steps)
        if all(0 <= at < size for at, size in zip(place, x_shape[2:], strict=True)):
            yield offset, place


def output_shape(x_shape: Any, box: Any) -> tuple[int, ...]:
    """The sizes of the result, counted window by window."""
    rank, sizes = len(x_shape) - 2, []
    for axis in range(rank):
        begin, end = box["pads"][axis], box["pads"][rank + axis]
        covered = (box["kernel_shape"][axis] - 1) * box["dilations"][axis] + 1
        starts = range(-begin, x_shape[2 + axis] + end, box["strides"][axis])
        fits = [start for start in starts if start + covered <= x_shape[2 + axis] + end]
        overhangs = [start for start in starts if start not in fits and start < x_shape[2 + axis]]
        sizes.append(
            len(fits) + (1 if box["ceil_mode"] and overhangs and fits[-1] + covered < x_shape[2 + axis] + end else 0)
        )
    return (*x_shape[:2], *sizes)


def judge_training(x: np.ndarray, **box: Any) -> tuple[np.ndarray, np.ndarray]:
    """The first largest element of every window."""
    shape = output_shape(x.shape, box)
    y, selected = np.empty(shape, x.dtype), np.empty(shape, np.int32)
    for at in np.ndindex(*shape):
        candidates = [(-x[(*at[:2], *place)], offset) for offset, place in elements(x.shape, at[2:], box)]
        y[at], selected[at] = -min(candidates)[0], min(candidates)[1]
    return y, selected


def judge_maximum_gradient(g: np.ndarray, selected: np.ndarray, *, input_shape: list[int], **box: Any) -> np.ndarray:
    """Each gradient goes to the chosen element of its window."""
    dx = np.zeros(input_shape, g.dtype)
    for at in np.ndindex(*g.shape):
        for offset, place in elements(input_shape, at[2:], box):
            if offset == selected[at]:
                dx[(*at[:2], *place)] += g[at]
    return dx


def judge_mean_gradient(g: np.ndarray, *, input_shape: list[int], count_include_pad: int, **box: Any) -> np.ndarray:
    """Each gradient is shared out evenly within its window."""
    dx, rank = np.zeros(input_shape, g.dtype), len(input_shape) - 2
    around = {**box, "pads": [0] * (2 * rank)}
    sizes = [input_shape[2 + axis] + box["pads"][axis] + box["pads"][rank + axis] for axis in range(rank)]
    for at in np.ndindex(*g.shape):
        inside = [place for _, place in elements(input_shape, at[2:], box)]
        counted = list(elements([1, 1, *sizes], at[2:], around)) if count_include_pad else inside
        for place in inside:
            dx[(*at[:2], *place)] += g[at] / len(counted)
    return dx


def choices(box: dict[str, Any], x_shape: tuple[int, ...]) -> Given:
    """Selections that a MaxPoolTraining of random data makes."""
    return Given(lambda random, batch: judge_training(random.random((batch, *x_shape)), **box)[1])


def mean_gradient(box: dict[str, Any], g: Given, counted: int, note: str) -> Case:
    """A gradient of AveragePool."""
    return Case(
        "AveragePoolGradient",
        [g],
        lambda batch: {**box, "count_include_pad": counted, "input_shape": [batch, 2, 7, 6]},
        version=1,
        domain="toolkit",
        judge=judge_mean_gradient,
        note=note,
    )


CASES = [
    Case("MaxPoolTraining", [X], BOX, version=1, domain="toolkit", outputs=2, seeded=[0], judge=judge_training),
    Case(
        "MaxPoolTraining",
        [X],
        OVERHANGING,
        version=1,
        domain="toolkit",
        outputs=2,
        seeded=[0],
        judge=judge_training,
        note="overhanging",
    ),
    Case(
        "MaxPoolGradient",
        [uniform("N", 2, 4, 3), choices(BOX, (2, 7, 6))],
        lambda batch: {**BOX, "input_shape": [batch, 2, 7, 6]},
        version=1,
        domain="toolkit",
        judge=judge_maximum_gradient,
    ),
    mean_gradient(BOX, uniform("N", 2, 4, 3), 0, "inside"),
    mean_gradient(BOX, uniform("N", 2, 4, 3), 1, "with pads"),
    mean_gradient(
        {**BOX, "kernel_shape": [7, 6], "strides": [1, 1], "pads": [0] * 4}, uniform("N", 2, 1, 1), 0, "global"
    ),
]
