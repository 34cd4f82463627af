"""Cases of ``operators.standard.elementwise_region``; the pass that makes regions has tests of its own."""

from __future__ import annotations

import numpy as np

from tests.support.case import Case, constant, uniform
from toolkit.operators.standard.elementwise_region import Line

FLOAT32 = np.dtype(np.float32)


def chain(batch: int) -> dict[str, object]:
    """max(x + bias, 0) and twice that, then the larger of x and the first."""
    types = ((FLOAT32, (batch, 3, 4)),)
    lines = (
        Line("Add", "", 14, {}, (0, 1), types),
        Line("Relu", "", 14, {}, (3,), types),
        Line("Mul", "", 14, {}, (4, 2), types),
        Line("Max", "", 13, {}, (0, 4), types),
    )
    return {"lines": lines, "results": (4, 5, 6), "shapes": ((batch, 3, 4), (4,), ())}


def judged(x: np.ndarray, bias: np.ndarray, two: np.ndarray, **_: object) -> tuple[np.ndarray, ...]:
    """The same, in numpy."""
    positive = np.maximum(x + bias, 0)
    return positive, positive * two, np.maximum(x, positive)


CASES = [
    Case(
        "ElementwiseRegion",
        [uniform("N", 3, 4), uniform(4), constant(2.0)],
        chain,
        version=1,
        domain="toolkit",
        outputs=3,
        judge=judged,
    )
]
