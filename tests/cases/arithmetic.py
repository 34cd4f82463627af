"""Cases of ``toolkit.operators.standard.arithmetic``."""

import numpy as np

from tests.support.case import Case, constant, integers, spread, uniform, variable

CASES = [
    Case("Add", [uniform("N", 3, 4), uniform(3, 1)], version=7),
    Case("Add", [uniform("N", 3, dtype="bfloat16"), uniform(3, dtype="bfloat16")], judge="onnx.reference"),
    Case("Add", [integers("N", 3, low=-9, high=9), integers(1, low=-9, high=9)], version=14, note="integers"),
    Case("Sub", [uniform("N", 1, 4), uniform("N", 3, 1)], version=13),
    Case("Mul", [uniform(4), uniform("N", 3, 4)]),
    Case("Mul", [uniform("N", 4, dtype="float16"), uniform(dtype="float16")], note="half scalar", tolerance=1e-3),
    Case("Div", [uniform("N", 3, 4), uniform(3, 4, low=0.5)]),
    Case("Div", [variable([[7, -7, 7, -7, 6, 0]]), variable([2, 2, -2, -2, 3, 5])], version=14, note="truncates"),
    Case("Pow", [uniform("N", 3, low=0.3), uniform(3)], version=7, tolerance=1e-4),
    Case("Pow", [uniform("N", 3), constant(2.0)], note="square"),
    Case("Pow", [uniform("N", 3), constant(3)], note="integer exponent", tolerance=1e-4),
    Case("Pow", [uniform("N", 3), constant(0.0)], note="zero exponent"),
    Case("Pow", [integers("N", 3, low=1, high=5), integers(3, low=0, high=4)], note="integers"),
    Case("Mod", [integers("N", 5, low=-9, high=9), constant([3, -4, 5, -2, 7])]),
    Case("Mod", [integers("N", 5, low=-9, high=9), constant([3, -4, 5, -2, 7])], {"fmod": 1}, note="fmod"),
    Case("Mod", [variable([[5.3, -5.3, 0.7, -7.1]]), variable([2.0, 2.0, -3.0, 1.5])], {"fmod": 1}, note="floats"),
    *(
        Case(name, [spread("N", 3), spread("N", 3, low=-1.9), spread("N", 3, high=1.3)], version=6)
        for name in ("Sum", "Mean", "Max", "Min")
    ),
    Case(
        "Sum",
        [uniform("N", 3), uniform("N", 3)],
        {"consumed_inputs": [0, 0]},
        version=1,
        judge=lambda a, b, consumed_inputs: a + b,
    ),
    Case("Sum", [uniform("N", 3), uniform(3), uniform("N", 1)], version=8),
    Case("Mod", [integers("N", 5, low=-9, high=9, dtype="int8"), constant([3, -4, 5, -2, 7], "int8")], version=10),
    Case("Mod", [variable([[5.3, -5.3, 0.0, -7.1]]), variable([2.0, -2.0, -3.0, np.inf])], version=28, note="floor",
         differentiable=(), judge=lambda a, b: np.array([[1.3, -1.3, -0.0, np.inf]], np.float32)),
    Case("Mod", [variable([[5.3, -5.3, 0.7, -7.1]]), variable([2.0, -2.0, -3.0, 1.5])], version=28, note="smooth",
         judge=np.mod),
    Case("Sum", [uniform("N", 3)], note="one"),
    Case("Mean", [uniform("N", 3), uniform(3), uniform("N", 1)]),
    Case("Max", [spread("N", 4), spread(4, low=-1.9), spread("N", 1, high=1.3)], version=8),
    Case("Max", [uniform("N", 4)], note="one"),
    Case("Max", [integers("N", 4, low=-9, high=9, dtype="int32"), constant([1], "int32")], note="integers"),
    Case("Min", [spread("N", 4), spread(4, low=-1.9)], version=13),
]  # fmt: skip
