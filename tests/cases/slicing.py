"""Cases of ``toolkit.operators.standard.slicing``."""

import numpy as np

from tests.support.case import Case, constant, integers, uniform, variable

EVERYTHING = 2**63 - 1

CASES = [
    Case("Slice", [uniform("N", 5, 4)], {"starts": [1, 0], "ends": [-1, 1000], "axes": [1, 2]}, version=1),
    Case("Slice", [uniform("N", 5), constant([0, 1]), constant([EVERYTHING, 4])], version=10, note="no axes"),
    Case(
        "Slice",
        [uniform("N", 7), constant([5]), constant([0]), constant([1]), constant([-2])],
        version=11,
        note="backwards",
    ),
    Case(
        "Slice",
        [uniform("N", 7), constant([-1]), constant([-EVERYTHING]), constant([-1]), constant([-1])],
        version=13,
        note="reversed",
    ),
    Case("Slice", [uniform("N", 7), constant([0]), constant([7]), constant([1]), constant([3])], note="steps"),
    Case("Slice", [uniform("N", 7), constant([3]), constant([3]), constant([1])], note="empty", differentiable=()),
    Case("Slice", [uniform("N", 7), constant([-100]), constant([100]), constant([1])], note="beyond"),
    Case(
        "Slice",
        [uniform("N", 7), variable([1]), variable([3]), variable([1])],
        note="data dependent",
        is_data_dependent=True,
        differentiable=(),
    ),
    Case("Pad", [uniform("N", 3)], {"paddings": [0, 1, 1, 2], "value": 0.5}, version=1,
         judge=lambda x, paddings, value: np.pad(x, ((0, 1), (1, 2)), constant_values=value)),
    Case("Pad", [uniform("N", 3)], {"paddings": [0, 1, 0, 2], "mode": "edge"}, version=1, note="edge",
         judge=lambda x, paddings, mode: np.stack([x[:, i] for i in (0, 0, 1, 2, 2, 2)], axis=1)),
    Case("Pad", [uniform("N", 3)], {"pads": [0, 1, 1, 2], "value": 0.5}, version=2),
    Case("Pad", [uniform("N", 3), constant([0, 1, 1, 2]), uniform()], version=11),
    Case("Pad", [uniform("N", 4), constant([0, -1, 0, 2]), uniform()], version=13, note="crop"),
    Case("Pad", [uniform("N", 4), constant([2, 1]), None, constant([-1])], version=18, note="axes"),
    Case("Pad", [uniform("N", 4), constant([0, 3, 0, 2])], {"mode": "reflect"}, version=18, note="reflect"),
    Case("Pad", [uniform("N", 4), constant([1, 3, 0, 2])], {"mode": "edge"}, version=13, note="edge"),
    Case("Pad", [uniform("N", 4), constant([0, 3, 0, 6])], {"mode": "wrap"}, version=19, note="wrap"),
    Case("Pad", [integers("N", 4, low=0, high=9), constant([0, 1, 0, 1]), constant(7)], version=13, note="integers"),
]  # fmt: skip
