"""Cases of ``toolkit.operators.standard.reduction``."""

import numpy as np

from tests.support.case import Case, Given, constant, integers, spread, uniform, variable


def both_forms(operator: str, given: Given) -> list[Case]:
    """A reduction with its axes as attribute (opset 11) and as input (opset 18), over some axes and over all."""
    return [
        Case(operator, [given], {"axes": [1, -1], "keepdims": 0}, version=11),
        Case(operator, [given, constant([-2])], version=18),
        Case(operator, [given], version=18, note="all"),
    ]


NO_AXES = constant([], "int64")

CASES = [
    *both_forms("ReduceSum", uniform("N", 3, 4)),
    *both_forms("ReduceMean", uniform("N", 3, 4)),
    *both_forms("ReduceMax", spread("N", 3, 4)),
    *both_forms("ReduceMin", spread("N", 3, 4)),
    *both_forms("ReduceProd", uniform("N", 3, 4, low=0.5)),
    *both_forms("ReduceL1", spread("N", 3, 4)),
    *both_forms("ReduceL2", uniform("N", 3, 4)),
    *both_forms("ReduceSumSquare", uniform("N", 3, 4)),
    *both_forms("ReduceLogSum", uniform("N", 3, 4, low=0.5)),
    *both_forms("ReduceLogSumExp", uniform("N", 3, 4)),
    Case("ReduceSum", [uniform("N", 3), NO_AXES], {"noop_with_empty_axes": 1}, version=13, note="no axes"),
    Case("ReduceSumSquare", [uniform("N", 3), NO_AXES], {"noop_with_empty_axes": 1}, version=18, note="no axes",
         judge=lambda x, axes, noop_with_empty_axes: x * x),
    Case("ReduceSum", [integers("N", 3, low=-9, high=9, dtype="int32"), constant([1])], version=13, note="integers"),
    Case("ReduceSum", [uniform("N", 300, dtype="bfloat16"), constant([1])], version=13, note="bfloat16",
         judge=lambda x, axes: x.astype("float64").sum(1, keepdims=True).astype(x.dtype), tolerance=1e-2),
    Case("ReduceMean", [variable([[7, -7, 8], [1, 1, 0]])], {"axes": [1]}, version=13, note="integers"),
    Case("ReduceProd", [variable([[0.0, 2.0, 3.0], [0.0, 0.0, 5.0]]), constant([1])], version=18, note="zeros"),
    Case("ReduceMax", [integers("N", 4, low=-9, high=9), constant([1])], version=18, note="integers"),
    Case("ReduceMax", [uniform("N", 0), constant([1])], version=20, note="empty", differentiable=()),
    Case("ReduceLogSumExp", [integers("N", 4, low=-9, high=9, dtype="int32"), constant([1])], version=18,
         note="integers", judge=lambda x, axes: np.log(np.exp(x.astype(float)).sum(1, keepdims=True)).astype(x.dtype)),
    Case("ReduceLogSumExp", [variable([[1e4, 1e4 - 1.0]]), constant([1])], version=18, note="large",
         judge=lambda x, axes: np.logaddexp.reduce(x, axis=1, keepdims=True)),
]  # fmt: skip
