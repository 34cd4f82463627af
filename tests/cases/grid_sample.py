"""Cases of ``toolkit.operators.standard.grid_sample``, whose gradient operators are judged as transpose and slopes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from tests.support.case import Case, Given, constant, uniform
from tests.support.interpret import apply

X = uniform("N", 2, 4, 5)
GRID = uniform("N", 3, 4, 2, low=-1.7, high=1.7)
VOLUME = uniform("N", 2, 3, 4, 2)
PLACES = uniform("N", 2, 3, 2, 3, low=-1.4, high=1.4)


def sampled(x: np.ndarray, grid: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """GridSample, whose rows are judged by onnxruntime."""
    return apply("", "GridSample", 20, [x, grid], attributes)[0]


def judge_input_gradient(g: np.ndarray, grid: np.ndarray, *, input_shape: list[int], **attributes: Any) -> np.ndarray:
    """One unit vector at a time."""
    dx = np.zeros(input_shape)
    for at in np.ndindex(*input_shape):
        unit = np.zeros(input_shape)
        unit[at] = 1
        dx[at] = (sampled(unit, grid.astype(np.float64), attributes) * g).sum()
    return dx.astype(g.dtype)


def judge_grid_gradient(g: np.ndarray, x: np.ndarray, grid: np.ndarray, **attributes: Any) -> np.ndarray:
    """Central differences."""
    slopes, places, x64 = np.zeros(grid.shape), grid.astype(np.float64), x.astype(np.float64)
    for at in np.ndindex(*grid.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = places.copy()
            moved[at] += step
            ends.append((sampled(x64, moved, attributes) * g).sum())
        slopes[at] = (ends[0] - ends[1]) / 2e-6
    return slopes.astype(grid.dtype)


def sampling(mode: str, padding: str, corners: int, x: Given = X, grid: Given = GRID, version: int = 20) -> Case:
    """A GridSample."""
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    return Case(
        "GridSample", [x, grid], attributes, version=version, note=f"{mode} {padding} {corners}", tolerance=2e-5
    )


CASES = [
    Case("GridSample", [X, GRID], version=16, note="default"),
    *(
        sampling(mode, padding, corners, version=16)
        for mode, padding, corners in product(
            ("nearest", "bilinear", "bicubic"), ("zeros", "border", "reflection"), (0, 1)
        )
    ),
    sampling("linear", "border", 1, version=22),
    *(
        sampling(mode, padding, 0, VOLUME, PLACES)
        for mode, padding in product(("nearest", "linear"), ("zeros", "border", "reflection"))
    ),
    sampling("cubic", "reflection", 1, VOLUME, PLACES),
    Case(
        "GridSample",
        [uniform("N", 1, 3, 3, dtype="float16"), uniform("N", 2, 2, 2, low=-1, high=1, dtype="float16")],
        note="float16",
        tolerance=2e-3,
        differentiable=[],
        judge="onnx.reference",
    ),
    *(
        Case(
            "GridSampleInputGradient",
            [uniform("N", 2, 3, 4), GRID],
            lambda batch, mode=mode: {
                "input_shape": [batch, 2, 4, 5],
                "mode": mode,
                "padding_mode": "border",
                "align_corners": 0,
            },
            version=1,
            domain="toolkit",
            judge=judge_input_gradient,
            note=mode,
        )
        for mode in ("linear", "cubic")
    ),
    Case(
        "GridSampleGridGradient",
        [uniform("N", 2, 3, 4), X, GRID],
        {"mode": "cubic", "padding_mode": "reflection", "align_corners": 1},
        version=1,
        domain="toolkit",
        judge=judge_grid_gradient,
        tolerance=1e-4,
    ),
    Case("AffineGrid", [uniform("N", 2, 3), constant(lambda n: [n, 2, 4, 5])], version=20),
    Case(
        "AffineGrid",
        [uniform("N", 2, 3), constant(lambda n: [n, 2, 4, 1])],
        {"align_corners": 0},
        note="one column",
    ),
    Case("AffineGrid", [uniform("N", 3, 4), constant(lambda n: [n, 2, 4, 5, 2])], {"align_corners": 1}, note="corners"),
]
