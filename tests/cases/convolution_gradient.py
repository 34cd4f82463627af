"""Cases of ``toolkit.operators.standard.convolution_gradient``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cases.convolution import GEOMETRY, PLAIN, terms
from tests.support.case import Case, uniform


def judge_input(g: np.ndarray, w: np.ndarray, *, input_shape: list[int], **geometry: Any) -> np.ndarray:
    """The gradient of the input, term by term."""
    dx = np.zeros(input_shape)
    for at_x, at_w, at_y in terms(dx.shape, w.shape, g.shape, **geometry):
        dx[at_x] += float(g[at_y]) * float(w[at_w])
    return dx.astype(g.dtype)


def judge_weight(x: np.ndarray, g: np.ndarray, *, weight_shape: list[int], has_bias: int, **geometry: Any) -> Any:
    """The gradient of weight and bias, term by term."""
    dw = np.zeros(weight_shape)
    for at_x, at_w, at_y in terms(x.shape, dw.shape, g.shape, **geometry):
        dw[at_w] += float(x[at_x]) * float(g[at_y])
    dw = dw.astype(x.dtype)
    return (dw, g.sum(axis=tuple(i for i in range(g.ndim) if i != 1))) if has_bias else dw


CASES = [
    Case(
        "ConvInputGradient",
        [uniform("N", 6, 4, 5), uniform(6, 2, 3, 3)],
        lambda batch: {**GEOMETRY, "input_shape": [batch, 4, 7, 8]},
        version=1,
        domain="toolkit",
        judge=judge_input,
    ),
    Case(
        "ConvInputGradient",
        [uniform("N", 3, 4), uniform(3, 2, 2)],
        lambda batch: {**PLAIN, "strides": [3], "pads": [0, 0], "input_shape": [batch, 2, 13]},
        version=1,
        domain="toolkit",
        judge=judge_input,
        note="elements that no window reads",
    ),
    Case(
        "ConvWeightGradient",
        [uniform("N", 4, 7, 8), uniform("N", 6, 4, 5)],
        {**GEOMETRY, "weight_shape": [6, 2, 3, 3], "has_bias": 1},
        version=1,
        domain="toolkit",
        outputs=2,
        judge=judge_weight,
    ),
    Case(
        "ConvWeightGradient",
        [uniform("N", 2, 6), uniform("N", 3, 6)],
        {**PLAIN, "weight_shape": [3, 2, 3], "has_bias": 0},
        version=1,
        domain="toolkit",
        judge=judge_weight,
        note="no bias",
    ),
]
