"""Cases of ``toolkit.operators.standard.region_pooling``, whose gradient operators are judged as transposes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, constant, spread, uniform, variable
from tests.support.interpret import apply
from tests.support.numeric import numeric_gradients

X = uniform("N", 2, 6, 7)
SIZE = {"output_height": 2, "output_width": 3}
REGIONS = [[0.3, 1.2, 5.1, 4.4], [2.6, 0.4, 3.1, 5.9], [-3.2, -2.7, 9.8, 8.3], [4.0, 4.0, 3.0, 2.0]]
ROIS = constant(REGIONS, "float32")
IMAGES = constant(lambda batch: [0, batch - 1, batch // 2, 0])


def judge_average_gradient(
    g: np.ndarray, rois: np.ndarray, images: np.ndarray, *, input_shape: list[int], **attributes: Any
) -> np.ndarray:
    """RoiAlign, which is judged by onnxruntime, of one unit vector at a time."""
    dx = np.zeros(input_shape, g.dtype)
    for at in np.ndindex(*input_shape):
        unit = np.zeros(input_shape, g.dtype)
        unit[at] = 1
        dx[at] = (apply("", "RoiAlign", 16, [unit, rois, images], attributes)[0] * g).sum()
    return dx


def judge_maximum_gradient(
    g: np.ndarray, x: np.ndarray, rois: np.ndarray, images: np.ndarray, **attributes: Any
) -> np.ndarray:
    """Central differences of RoiAlign."""
    attributes = {"mode": "max", **attributes}
    return numeric_gradients(lambda x: apply("", "RoiAlign", 16, [x, rois, images], attributes)[0], [x], g)[0]


def align(note: str, version: int = 22, x: Given = X, **attributes: Any) -> Case:
    """A RoiAlign of the common regions."""
    return Case("RoiAlign", [x, ROIS, IMAGES], {**SIZE, **attributes}, version=version, note=note)


CASES = [
    align("old coordinates", version=10),
    align("half pixel", version=16),
    align("output half pixel", version=16, coordinate_transformation_mode="output_half_pixel"),
    align("ratio", sampling_ratio=2, spatial_scale=0.5),
    align("maximum", x=spread("N", 2, 6, 7), mode="max", sampling_ratio=2),
    align("maximum old", version=10, x=spread("N", 2, 6, 7), mode="max", spatial_scale=0.7),
    Case("RoiAlign", [X, constant(np.zeros((0, 4), np.float32)), constant(np.zeros(0, np.int64))], note="no region"),
    Case(
        "RoiAlignAverageGradient",
        [uniform(4, 2, 2, 3), ROIS, IMAGES],
        lambda batch: {**SIZE, "input_shape": [batch, 2, 6, 7]},
        version=1,
        domain="toolkit",
        judge=judge_average_gradient,
    ),
    Case(
        "RoiAlignAverageGradient",
        [uniform(4, 2, 2, 3), variable(REGIONS, "float32"), IMAGES],
        lambda batch: {**SIZE, "input_shape": [batch, 2, 6, 7], "sampling_ratio": 2, "spatial_scale": 0.8},
        version=1,
        domain="toolkit",
        judge=judge_average_gradient,
        differentiable=[0],
        note="ratio",
    ),
    *(
        Case(
            "RoiAlignAverageGradient",
            [uniform(4, 2, 2, 3), variable(REGIONS, "float32"), IMAGES],
            lambda batch, scale=scale, mode=mode: {
                **SIZE,
                "input_shape": [batch, 2, 6, 7],
                "spatial_scale": scale,
                "coordinate_transformation_mode": mode,
            },
            version=1,
            domain="toolkit",
            judge=judge_average_gradient,
            differentiable=[0],
            note=f"adaptive {mode} {scale}",
        )
        for scale, mode in ((1.0, "half_pixel"), (1.3, "output_half_pixel"), (0.05, "half_pixel"), (7.0, "half_pixel"))
    ),
    Case(
        "RoiAlignMaximumGradient",
        [uniform(4, 2, 2, 3), spread("N", 2, 6, 7), ROIS, IMAGES],
        SIZE,
        version=1,
        domain="toolkit",
        judge=judge_maximum_gradient,
        note="adaptive",
    ),
    Case(
        "RoiAlignMaximumGradient",
        [uniform(4, 2, 2, 3), spread("N", 2, 6, 7), ROIS, IMAGES],
        {**SIZE, "sampling_ratio": 2},
        version=1,
        domain="toolkit",
        judge=judge_maximum_gradient,
    ),
]
