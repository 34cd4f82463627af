"""Cases of ``toolkit.operators.standard.indexing``."""

import numpy as np

from tests.support.case import Case, constant, integers, spread, uniform, variable

EXTREMES = [[0, 2, 0], [1, 1, 3]]

CASES = [
    Case("Gather", [uniform(5, 4), integers("N", 3, low=-5, high=5)], version=1, note="embedding"),
    Case("Gather", [uniform("N", 5, 4), integers(2, 3, low=0, high=5)], {"axis": 1}, version=11, note="middle axis"),
    Case("Gather", [uniform("N", 5, 4), integers(3, low=-4, high=4, dtype="int32")], {"axis": -1}, note="last axis"),
    Case("Gather", [uniform("N", 5, 4), constant(0)], {"axis": 1}, version=13, note="first token"),
    Case("Gather", [uniform("N", 5, 4), constant([[-2]])], {"axis": 1}, version=13, note="one"),
    Case("GatherElements", [uniform("N", 5), integers("N", 3, low=-5, high=5)], {"axis": 1}, version=11),
    Case("GatherElements", [uniform(4, 5), integers("N", 5, low=0, high=4)], version=13, note="axis 0"),
    Case("GatherND", [uniform(4, 5, 2), integers("N", 3, 2, low=-4, high=4)], version=11),
    Case(
        "GatherND",
        [uniform("N", 5, 2), integers("N", 3, 1, low=0, high=5)],
        {"batch_dims": 1},
        version=12,
        note="batch",
    ),
    Case(
        "GatherND",
        [uniform("N", 2, 3, 4), integers("N", 2, 1, low=0, high=3)],
        {"batch_dims": 2},
        version=13,
        note="two batch axes",
    ),
    Case("Scatter", [uniform("N", 5), constant(lambda n: [[1, 4]] * n), uniform("N", 2)], {"axis": 1}, version=9),
    Case(
        "ScatterElements",
        [uniform("N", 5), constant(lambda n: [[1, -1]] * n), uniform("N", 2)],
        {"axis": 1},
        version=11,
    ),
    Case(
        "ScatterElements",
        [uniform("N", 5), constant(lambda n: [[1, 1, 4]] * n), uniform("N", 3)],
        {"axis": 1, "reduction": "add"},
        version=16,
        note="add",
    ),
    Case(
        "ScatterElements",
        [uniform("N", 5), constant(lambda n: [[1, 1, 4]] * n), uniform("N", 3, low=0.5)],
        {"axis": 1, "reduction": "mul"},
        version=16,
        note="mul",
    ),
    Case(
        "ScatterElements",
        [spread("N", 5), constant(lambda n: [[1, 1, 4]] * n), spread("N", 3, high=1.7)],
        {"axis": 1, "reduction": "max"},
        version=18,
        note="max",
    ),
    Case(
        "ScatterElements",
        [spread("N", 5), constant(lambda n: [[1, 1, 4]] * n), spread("N", 3, high=1.7)],
        {"axis": 1, "reduction": "min"},
        version=18,
        note="min",
    ),
    Case("ScatterND", [uniform(4, "N"), constant([[1], [-1]]), uniform(2, "N")], version=11),
    Case(
        "ScatterND",
        [uniform(4, "N"), constant([[1], [1]]), uniform(2, "N")],
        {"reduction": "add"},
        version=16,
        note="add",
    ),
    Case(
        "ScatterND",
        [spread(4, "N"), constant([[1], [1]]), spread(2, "N", high=1.7)],
        {"reduction": "max"},
        version=18,
        note="max",
    ),
    Case(
        "ScatterND",
        [uniform(4, "N"), constant([[1], [1]]), uniform(2, "N", low=0.5)],
        {"reduction": "mul"},
        version=18,
        note="mul",
    ),
    Case("OneHot", [integers("N", 3, low=-4, high=5), constant(4), uniform(2)], version=9),
    Case(
        "OneHot", [integers("N", 3, low=0, high=4), constant([4.0]), uniform(2)], {"axis": 1}, version=11, note="axis"
    ),
    Case("Trilu", [uniform("N", 4, 4)], version=14),
    Case("Trilu", [uniform("N", 3, 5), constant(1)], {"upper": 0}, note="lower"),
    Case("NonZero", [integers("N", 6, low=0, high=2)], version=13, is_data_dependent=True),
    Case("ArrayFeatureExtractor", [uniform("N", 5), constant([[0, 3, 3]])], version=1, domain="ai.onnx.ml"),
    Case(
        "ArrayFeatureExtractor",
        [variable([1.0, 2.0, 3.0]), constant([2])],
        version=1,
        domain="ai.onnx.ml",
        note="vector",
    ),
    Case(
        "GatherGradient",
        [uniform("N", 3, 2), integers("N", 3, low=-5, high=5)],
        {"size": 5},
        version=1,
        domain="toolkit",
        judge=lambda g, index, size: np.stack([g[index % size == row].sum(axis=0) for row in range(size)]),
    ),
]
