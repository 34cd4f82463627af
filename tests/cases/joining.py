"""Cases of ``toolkit.operators.standard.joining``."""

import numpy as np

from tests.support.case import Case, constant, integers, uniform

CASES = [
    Case("Concat", [uniform("N", 2), uniform("N", 3), uniform("N", 1)], {"axis": 1}, version=4),
    Case("Concat", [uniform("N", 2), uniform(2, 2)], {"axis": -2}, version=13, note="batch axis"),
    Case("Concat", [uniform("N", 2)], {"axis": 0}, version=13, note="one"),
    Case("Concat", [integers(2, low=0, high=9), constant([1, 2])], {"axis": 0}, version=11, note="integers"),
    Case("Concat", [uniform("N", 2), uniform("N", 3)], version=1, judge=lambda a, b: np.concatenate([a, b], 1)),
    Case("Split", [uniform("N", 6), constant([1.0, 5.0])], {"axis": 1}, version=1, outputs=2,
         judge=lambda x, sizes, axis: (x[:, :1], x[:, 1:])),
    Case("Split", [uniform("N", 6)], {"axis": -1, "split": [4, 2]}, version=1, outputs=2, note="attribute",
         judge=lambda x, axis, split: (x[:, :4], x[:, 4:])),
    Case("Split", [uniform("N", 6)], {"axis": 1, "num_outputs": 2}, version=1, outputs=2, note="equal",
         judge=lambda x, axis, num_outputs: (x[:, :3], x[:, 3:])),
    Case("Split", [uniform("N", 6)], {"axis": 1, "num_outputs": 3}, version=2, outputs=3, note="equal"),
    Case("Split", [uniform("N", 6)], {"axis": 1, "split": [1, 5]}, version=11, outputs=2),
    Case("Split", [uniform("N", 6), constant([1, 2, 3])], {"axis": -1}, version=13, outputs=3),
    Case("Split", [uniform("N", 6), constant([1, 2, 3])], {"axis": -1}, outputs=3, note="one gradient", seeded=[1]),
    Case("Split", [uniform("N", 7)], {"axis": 1, "num_outputs": 3}, version=18, outputs=3, note="smaller last"),
    Case("Split", [uniform("N", 3)], {"axis": 1, "num_outputs": 1}, version=18, note="one"),
    Case("DepthToSpace", [uniform("N", 8, 2, 3)], {"blocksize": 2}, version=1),
    Case("DepthToSpace", [uniform("N", 8, 2, 3)], {"blocksize": 2, "mode": "CRD"}, version=11, note="CRD"),
    Case("SpaceToDepth", [uniform("N", 2, 4, 6)], {"blocksize": 2, "mode": "CRD"}, version=28, note="CRD"),
    Case("SpaceToDepth", [uniform("N", 2, 4, 6)], {"blocksize": 2}),
]  # fmt: skip
