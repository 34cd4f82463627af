"""Cases of ``toolkit.operators.standard.region_maximum``."""

from __future__ import annotations

import numpy as np

from tests.support.case import Case, constant, spread, uniform
from tests.support.interpret import apply
from tests.support.numeric import numeric_gradients

X = spread("N", 2, 6, 7)
ROIS = constant(
    lambda batch: [
        [0, 0, 0, 6, 5],
        [batch - 1, 1.5, 2.5, 4.4, 3],
        [0, 5, 4, 2, 1],
        [0, 5, 4, 12, 9.5],
        [0, 9, 8, 9, 9],
    ],
    "float32",
)
ATTRIBUTES = {"pooled_shape": [2, 3]}


def judge_gradient(g: np.ndarray, x: np.ndarray, rois: np.ndarray, **attributes: object) -> np.ndarray:
    """Central differences of MaxRoiPool, which onnxruntime judges."""
    return numeric_gradients(lambda x: apply("", "MaxRoiPool", 1, [x, rois], attributes)[0], [x], g)[0]


CASES = [
    Case("MaxRoiPool", [X, ROIS], ATTRIBUTES, version=1),
    Case("MaxRoiPool", [X, ROIS], {**ATTRIBUTES, "spatial_scale": 0.6}, version=16, note="scale"),
    Case(
        "MaxRoiPoolGradient",
        [uniform(5, 2, 2, 3), X, ROIS],
        ATTRIBUTES,
        version=1,
        domain="toolkit",
        judge=judge_gradient,
    ),
    Case(
        "MaxRoiPoolGradient",
        [uniform(5, 2, 2, 3), X, ROIS],
        {**ATTRIBUTES, "spatial_scale": 0.6},
        version=1,
        domain="toolkit",
        judge=judge_gradient,
        note="scale",
    ),
]
