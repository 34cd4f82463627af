"""Cases of ``toolkit.operators.standard.tensor_scatter``."""

from __future__ import annotations

import numpy as np

from tests.support.case import Case, uniform, variable

STARTS = variable(lambda n: np.arange(n) % 3 + 1)

CASES = [
    Case("TensorScatter", [uniform("N", 2, 5, 3), uniform("N", 2, 2, 3)], version=24, note="from the start"),
    Case("TensorScatter", [uniform("N", 2, 5, 3), uniform("N", 2, 2, 3), STARTS], version=24, note="starts"),
    Case(
        "TensorScatter", [uniform("N", 4, 3), uniform("N", 3, 3), STARTS], {"axis": 1, "mode": "circular"}, version=24
    ),
]
