"""Cases of ``toolkit.operators.ml.linear``.

The results are float32 whatever the input is. Where a gradient is compared with differences, the scores are close to
zero: there float32 is fine enough to resolve them. Transforms have a test of their own.
"""

from functools import partial
from typing import Any

import numpy as np

from tests.support.case import Case, integers, uniform

Row = partial(Case, domain="ai.onnx.ml", version=1)

WEIGHTS = [0.5, -1.0, 2.0, 0.25, -0.5, 1.5, 1.0, 0.75, -2.0, 0.1, -0.3, 0.7]
INTERCEPTS = [0.2, -0.1, 0.4]
THREE: dict[str, Any] = {"coefficients": WEIGHTS, "intercepts": INTERCEPTS, "classlabels_ints": [7, 5, 9]}
ONE = {"coefficients": WEIGHTS[:4], "intercepts": INTERCEPTS[:1]}
NEAR_ZERO = uniform("N", 4, low=-1e-5, high=1e-5)
TRANSFORMS = ("SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")

CASES = [
    Row("LinearRegressor", [NEAR_ZERO], {"coefficients": WEIGHTS, "targets": 3}, note="slope"),
    Row("LinearRegressor", [uniform("N", 4)], ONE, differentiable=()),
    Row("LinearRegressor", [uniform(4)], {"coefficients": WEIGHTS, "targets": 3}, note="row", differentiable=()),
    Row(
        "LinearRegressor",
        [integers("N", 4, low=-3, high=4)],
        {"coefficients": WEIGHTS, "targets": 3, "intercepts": INTERCEPTS},
        judge=lambda x, **_: (x @ np.reshape(WEIGHTS, (3, 4)).T + INTERCEPTS).astype(np.float32),
        note="integers",
    ),
    *(
        Row(
            "LinearRegressor",
            [uniform("N", 4, low=-0.1, high=0.1)],
            {"coefficients": WEIGHTS, "targets": 3, "intercepts": [0.5, 0.4, 0.6], "post_transform": name},
            note=name,
            differentiable=(),
        )
        for name in TRANSFORMS
    ),
    *(
        Row(
            "LinearRegressor",
            [uniform("N", 4, low=-0.1, high=0.1)],
            {**ONE, "intercepts": [0.5], "post_transform": name},
            note=f"one target {name}",
            differentiable=(),
        )
        for name in TRANSFORMS
    ),
    Row("LinearClassifier", [NEAR_ZERO], {**THREE, "intercepts": [0.0] * 3}, outputs=2, note="slope"),
    Row("LinearClassifier", [uniform("N", 4)], THREE, outputs=2, differentiable=()),
    Row("LinearClassifier", [uniform(4, dtype="float64")], THREE, outputs=2, note="row", differentiable=()),
    Row("LinearClassifier", [integers("N", 4, low=-3, high=4, dtype="int32")], THREE, outputs=2, note="integers"),
    *(
        Row(
            "LinearClassifier",
            [uniform("N", 4, low=-0.1, high=0.1)],
            {**THREE, "intercepts": [0.5, 0.4, 0.6], "post_transform": name},
            outputs=2,
            note=name,
            differentiable=(),
        )
        for name in TRANSFORMS
    ),
    *(
        Row(
            "LinearClassifier",
            [uniform("N", 4)],
            {**ONE, "classlabels_strings": ["no", "yes"], "post_transform": name},
            outputs=2,
            note=f"two classes {name}",
            differentiable=(),
        )
        for name in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
    ),
    Row(
        "LinearClassifier",
        [NEAR_ZERO],
        {**ONE, "intercepts": [0.0], "classlabels_ints": [4, 2]},
        outputs=2,
        judge="onnxruntime",
        note="two classes",
        differentiable=(),
    ),
]
