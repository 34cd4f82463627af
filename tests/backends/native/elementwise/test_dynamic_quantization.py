"""Data put on a grid of its own, by one thread and by several, and what is no number among it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.checked import execute, planned
from tests.support.interpret import apply

RANDOM = np.random.default_rng(7)
ROWS = RANDOM.standard_normal((9, 4001)).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "x",
    [ROWS, ROWS[:1, :7], ROWS[0, :1], ROWS[:2, :33] + 5, ROWS[:3, :20] - 5, np.zeros(3, np.float32)],
    ids=["large", "short", "single", "above", "below", "zeros"],
)
def test_the_grid_is_that_of_the_reference(x: np.ndarray, threads: int) -> None:
    _check(x, threads)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number(value: float) -> None:
    x = ROWS[0, :50].copy()
    x[[3, 49]] = value
    _check(x, 1)


def _check(x: np.ndarray, threads: int) -> None:
    plan = planned("DynamicQuantizeLinear", [x], {}, domain="", version=11, outputs=3, threads=threads)
    execute(plan, [x])
    with np.errstate(all="ignore"):
        expected = apply("", "DynamicQuantizeLinear", 11, [x], {})
    for name, found in plan.output_arrays.items():
        np.testing.assert_array_equal(found, expected[int(name)])
        assert found.dtype == expected[int(name)].dtype
