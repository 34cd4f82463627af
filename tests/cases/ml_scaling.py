"""Cases of ``toolkit.operators.ml.scaling``.

Scaler, Normalizer and FeatureVectorizer give float32 whatever the input is. Where their gradients are compared with
differences, results are close to zero or exact: there float32 is fine enough to resolve them.
"""

from functools import partial

import numpy as np

from tests.support.case import Case, integers, uniform, variable

Row = partial(Case, domain="ai.onnx.ml", version=1)

NEAR_ZERO = uniform("N", 3, low=-1e-5, high=1e-5)
GAPS = variable([[1.5, np.nan, 0.0], [np.nan, 2.0, 0.0]])
WHOLE_GAPS = integers("N", 3, low=0, high=3)

CASES = [
    Row("Scaler", [NEAR_ZERO], {"offset": [0.0], "scale": [3.0]}, note="slope"),
    Row("Scaler", [NEAR_ZERO], {"offset": [0.0] * 3, "scale": [3.0, -0.5, 2.0]}, note="slope of each"),
    Row("Scaler", [uniform("N", 3)], {"offset": [0.5, 1.0, -1.0], "scale": [3.0, 0.5, 2.0]}, differentiable=()),
    Row("Scaler", [uniform(3, dtype="float64")], {"offset": [0.5], "scale": [3.0]}, note="row", differentiable=()),
    Row("Scaler", [integers("N", 3, low=-4, high=5)], {"offset": [0.5], "scale": [0.1]}, note="integers"),
    Row("Normalizer", [variable([[1.0, 1e-5, -2e-5], [-3e-5, 1.0, 0.0]])], {"norm": "MAX"}, note="slope"),
    *(
        Row("Normalizer", [variable(rows, dtype)], {"norm": norm}, note=f"{norm} {dtype}", differentiable=())
        for norm in ("MAX", "L1", "L2")
        for rows, dtype in (
            ([[1.0, -3.0, 2.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -4.0]], "float32"),
            ([1.0, -3.0, 2.5], "float64"),
            ([[1, -3, 2]], "int64"),
            ([[1, -3, 2]], "int32"),
        )
    ),
    Row("Binarizer", [uniform("N", 5)], {"threshold": 0.25}),
    Row("Binarizer", [variable([[0.0, 1.0, -1.0]])], note="default"),
    Row("Binarizer", [integers("N", 5, low=-2, high=3)], {"threshold": 0.5}, judge=lambda x, threshold: 1 * (x > 0.5)),
    Row("Imputer", [GAPS], {"replaced_value_float": float("nan"), "imputed_value_floats": [7.0]}),
    Row(
        "Imputer",
        [GAPS],
        {"imputed_value_floats": [7.0, 8.0, 9.0], "replaced_value_float": 0.0},
        note="zeros",
        differentiable=(),
    ),
    Row(
        "Imputer",
        [GAPS],
        {"imputed_value_floats": [7.0, 8.0, 9.0], "replaced_value_float": float("nan")},
        note="each",
    ),
    Row("Imputer", [WHOLE_GAPS], {"imputed_value_int64s": [7, 8, 9], "replaced_value_int64": 0}, note="integers"),
    Row(
        "Imputer",
        [WHOLE_GAPS],
        {"imputed_value_int64s": [7, 8], "replaced_value_int64": 1},
        judge="onnxruntime",
        note="first",
    ),
    Row("FeatureVectorizer", [NEAR_ZERO, uniform("N", 2, low=-1e-5, high=1e-5)], {"inputdimensions": [2, 3]}),
    Row(
        "FeatureVectorizer",
        [uniform("N", 3), uniform("N", 2)],
        {"inputdimensions": [3, 2]},
        note="whole",
        differentiable=(),
    ),
    Row("FeatureVectorizer", [integers("N", 2, 2, low=-3, high=3)], {"inputdimensions": [4]}, note="integers"),
    Row("FeatureVectorizer", [variable([1.0, 2.0])], {"inputdimensions": [1]}, note="row", differentiable=()),
]
