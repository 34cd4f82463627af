"""Cases of ``toolkit.operators.standard.rounding_to_type``."""

import ml_dtypes
import numpy as np
from onnx import TensorProto

from tests.support.case import Case, constant, uniform

HARD = [
    [0.0, -0.0, 1.00390625, 1.01171875, -2.000976563, 65519.9, 65520.0, -7e4, 6e-8, 2.9e-8, -3.1e-8, 6.1e-5, 6.09e-5],
    [np.inf, -np.inf, np.nan, 3.4e38, -3.39e38, 1e-40, 2049.0, 2051.0, 1.5, 256.5, 257.0, 1e-8, 5.97e-8],
]

CASES = [
    Case(
        "RoundToType",
        [given],
        {"to": to},
        domain="toolkit",
        version=1,
        note=f"{note} {dtype.__name__}",
        differentiable=(),
        judge=lambda x, to, dtype=dtype: x.astype(dtype).astype(np.float32),
    )
    for to, dtype in ((TensorProto.BFLOAT16, ml_dtypes.bfloat16), (TensorProto.FLOAT16, np.float16))
    for note, given in (("many", uniform("N", 70, 1100, low=-3e5, high=3e5)), ("hard", constant(HARD, "float32")))
]
