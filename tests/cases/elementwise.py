"""Cases of ``toolkit.operators.standard.elementwise``."""

import numpy as np

from tests.support.case import Case, constant, integers, spread, uniform, variable

CASES = [
    Case("Neg", [uniform("N", 3, 4)], version=6),
    Case("Neg", [integers("N", 3, low=-9, high=9, dtype="int32")], note="integers"),
    Case("Neg", [uniform("N", 3)], {"consumed_inputs": [0]}, version=1, judge=lambda x, consumed_inputs: -x),
    Case("Abs", [spread("N", 3, 4)]),
    Case("Sqrt", [uniform("N", 5, low=0.1)]),
    Case("Exp", [uniform("N", 5)]),
    Case("Exp", [uniform("N", 5, dtype="bfloat16")], note="bfloat16", tolerance=1e-2, judge="onnx.reference"),
    Case("Exp", [uniform("N", 5, dtype="float16")], note="float16", tolerance=2e-3),
    Case("Log", [uniform("N", 5, low=0.2)]),
    Case("Reciprocal", [uniform("N", 5, low=0.4)]),
    Case("Sin", [uniform("N", 5)]),
    Case("Cos", [uniform("N", 5)]),
    Case("Tan", [uniform("N", 5, low=-1, high=1)]),
    Case("Asin", [uniform("N", 5, low=-0.9, high=0.9)]),
    Case("Acos", [uniform("N", 5, low=-0.9, high=0.9)]),
    Case("Atan", [uniform("N", 5)]),
    Case("Sinh", [uniform("N", 5)]),
    Case("Cosh", [uniform("N", 5)]),
    Case("Asinh", [uniform("N", 5)]),
    Case("Acosh", [uniform("N", 5, low=1.2, high=4)]),
    Case("Atanh", [uniform("N", 5, low=-0.8, high=0.8)], tolerance=1e-4),
    Case("Erf", [uniform("N", 40, low=-4, high=4)]),
    Case("Sign", [variable([-2.0, -0.0, 0.0, 3.5])]),
    Case("Sign", [integers("N", 4, low=-2, high=3)], note="integers"),
    Case("Floor", [uniform("N", 9)]),
    Case("Ceil", [uniform("N", 9)]),
    Case("Round", [variable([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.4, 0.6])]),
    Case("Clip", [spread("N", 9)], {"min": -0.7, "max": 0.9}, version=6),
    Case("Clip", [spread("N", 9)], {"max": 0.9}, version=6, note="upper"),
    Case("Clip", [spread("N", 9)], version=6, note="unbounded"),
    Case("Clip", [spread("N", 9)], {"consumed_inputs": [0], "min": 0.1}, version=1, note="consumed inputs",
         judge=lambda x, **attributes: x.clip(np.float32(0.1))),
    Case("Clip", [spread("N", 9), constant(-0.7), constant(0.9)], version=11),
    Case("Clip", [spread("N", 9), variable(-0.7), variable(0.9)], version=13, note="learned bounds"),
    Case("Clip", [spread("N", 9), None, constant(0.9)], note="upper"),
    Case("Clip", [integers("N", 9, low=-9, high=9), constant(-2), constant(3)], version=12, note="integers"),
]  # fmt: skip
