"""Cases of ``toolkit.operators.standard.cumulative``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, constant, integers, uniform, variable


def judge(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    """Running products of a matrix, number by number."""
    lines = np.moveaxis(x, int(np.asarray(axis).reshape(-1)[0]), -1)
    y = np.empty_like(lines)
    for place in np.ndindex(lines.shape):
        *line, k = place
        kept = lines[(*line, slice(k + exclusive, None) if reverse else slice(0, k + 1 - exclusive))]
        y[place] = np.prod(kept)
    return np.moveaxis(y, -1, int(np.asarray(axis).reshape(-1)[0]))


CASES = [
    Case("CumSum", [uniform("N", 4), constant(1)], version=11),
    Case("CumSum", [uniform("N", 4), constant(-1)], {"exclusive": 1, "reverse": 1}, version=14, note="backwards"),
    Case("CumSum", [uniform("N", 4, 2), constant(1, "int32")], {"exclusive": 1}, version=14, note="exclusive"),
    Case("CumSum", [uniform("N", 0), constant(1)], version=14, note="empty", differentiable=()),
    Case("CumSum", [integers("N", 4, low=-9, high=9, dtype="int32"), constant(0)], version=14, note="integers"),
    *(
        Case(
            "CumProd",
            [uniform("N", 4, 2), constant(axis)],
            {"exclusive": exclusive, "reverse": reverse},
            version=26,
            judge=judge,
            note=f"axis {axis} exclusive {exclusive} reverse {reverse}",
        )
        for axis, exclusive, reverse in ((1, 0, 0), (-1, 1, 0), (0, 0, 1), (1, 1, 1))
    ),
    Case("CumProd", [variable([[2.0, 0.0, 3.0, 0.0, 4.0]]), constant(1)], version=26, judge=judge, note="zeros"),
    Case("CumProd", [integers("N", 4, low=-3, high=4, dtype="int32"), constant(1)], version=26, judge=judge,
         note="integers"),
]  # fmt: skip
