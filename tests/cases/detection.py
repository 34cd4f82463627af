"""Cases of ``toolkit.operators.standard.detection``."""

from __future__ import annotations

import numpy as np

from tests.support.case import Case, Given, constant, integers, uniform


def boxes(count: int) -> Given:
    """Boxes of two corners in any order, many of which overlap."""

    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        first = random.uniform(0, 4, (batch, count, 2))
        return np.concatenate([first, first + random.uniform(-2, 2, (batch, count, 2))], axis=2).astype(np.float32)

    return Given(make)


SCORES = uniform("N", 3, 30, low=0, high=1)
CASES = [
    Case(
        "NonMaxSuppression",
        [boxes(30), SCORES, constant([20]), constant([0.3], "float32"), constant([0.2], "float32")],
        version=10,
        is_data_dependent=True,
    ),
    Case(
        "NonMaxSuppression",
        [uniform("N", 30, 4, low=0.5, high=4), SCORES, constant([4]), constant([0.5], "float32")],
        {"center_point_box": 1},
        version=11,
        is_data_dependent=True,
        note="centers",
    ),
    Case(
        "NonMaxSuppression",
        [boxes(8), integers("N", 1, 8, low=0, high=2, dtype="float32"), constant([8])],
        version=11,
        is_data_dependent=True,
        note="equal scores",
    ),
    Case("NonMaxSuppression", [boxes(5), uniform("N", 1, 5)], version=11, is_data_dependent=True, note="no limit"),
]
