"""Cases of ``toolkit.operators.standard.movement``."""

import numpy as np

from tests.support.case import Case, constant, integers, uniform

CASES = [
    Case(
        "Reshape",
        [uniform("N", 3, 4)],
        lambda batch: {"shape": [0, -1]},
        version=1,
        judge=lambda x, shape: x.reshape(len(x), -1),
    ),
    Case("Reshape", [uniform("N", 3, 4), constant([0, 2, -1])], version=5),
    Case(
        "Reshape",
        [uniform("N", 0, 4), constant(lambda batch: [batch, 4, 0])],
        {"allowzero": 1},
        version=14,
        note="allowzero",
        differentiable=(),
    ),
    Case("Reshape", [uniform("N", 1), constant(lambda batch: [batch])], version=21, note="to vector"),
    Case("Flatten", [uniform("N", 3, 4)], version=9),
    Case("Flatten", [uniform("N", 3, 4)], {"axis": 0}, version=13, note="axis 0"),
    Case("Flatten", [uniform("N", 3, 4)], {"axis": -1}, version=13, note="negative axis"),
    Case("Squeeze", [uniform("N", 1, 4, 1)], {"axes": [1]}, version=11),
    Case("Squeeze", [uniform("N", 1, 4, 1), constant([1, -1])], version=13),
    Case("Squeeze", [uniform(1, 4, 1)], version=13, note="all"),
    Case("Unsqueeze", [uniform("N", 4)], {"axes": [3, 0]}, version=7),
    Case("Unsqueeze", [uniform("N", 4)], {"axes": [0, -1]}, version=11),
    Case("Unsqueeze", [uniform("N", 4), constant([-1, 1])], version=13),
    Case("Transpose", [uniform("N", 3, 4)], version=13),
    Case("Transpose", [uniform("N", 3, 4)], {"perm": [2, 0, 1]}, version=1, note="permutation"),
    Case("Transpose", [uniform("N", 3, dtype="bfloat16")], note="bfloat16", judge="onnx.reference"),
    Case("Expand", [uniform("N", 1, 4), constant([2, 1, 3, 1])], version=8),
    Case("Expand", [uniform(3, 1), constant(lambda batch: [batch, 1, 4])], note="both stretch"),
    Case(
        "Tile",
        [uniform("N", 3), constant(2.0), constant([1.0])],
        version=1,
        judge=lambda x, tiles, axis: np.concatenate([x, x], axis=1),
    ),
    Case("Tile", [uniform("N", 3), constant([2, 3])], version=6),
    Case("Tile", [integers("N", 3, low=0, high=9), constant([1, 2])], version=13, note="integers"),
]
