"""Cases of ``toolkit.operators.standard.batch_normalization_repeated``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cases.batch_normalization import IMAGES, VECTORS, judge_frozen
from tests.support.case import Case, uniform


def judge(x: Any, *statistics: Any, epsilon: float, activation: str) -> Any:
    y = judge_frozen(x, *statistics)
    return np.maximum(y, 0) if activation else y


CASES = [
    Case(
        "BatchNormalizationRepeated",
        [uniform(*IMAGES), *VECTORS],
        {"epsilon": 1e-5, "activation": activation},
        version=1,
        domain="toolkit",
        differentiable=[0, 1, 2],
        judge=judge,
        note=activation or "plain",
    )
    for activation in ("", "Relu")
]
