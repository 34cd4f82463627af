"""Gradients are differentiated again: the rows of all tables, but for the few operators listed here.

Of the recurrent operators, whose expansions are long, only some rows. One batch size will do: rows and gradients are
checked at all of them elsewhere.
"""

from __future__ import annotations

import pytest

from tests.cases import all_cases
from tests.support.case import Case
from tests.support.rows import each_row
from tests.support.second_differences import assert_second_gradient_matches, differentiate_twice

# Operators whose gradient ends in a fused one that has no derivative of its own, by the name of that one.
ENDS: dict[str, str] = {
    "MaxRoiPool": "MaxRoiPoolGradient",
    "RoiAlign": "RoiAlignMaximumGradient",
}
STEP_BY_STEP = ("RNN", "GRU", "LSTM")
ONE_IN = 6  # of their rows is checked
BATCH = 3
CASES = [case for case in all_cases() if case.differentiable_inputs()]


def ends(case: Case) -> bool:
    """Whether the second derivative of the row is not provided."""
    if case.operator == "RoiAlign":
        return case.bound_attributes(1).get("mode") == "max"
    return case.operator in ENDS


LONG = [case for case in CASES if case.operator in STEP_BY_STEP]
SMOOTH = [case for case in CASES if not ends(case) and not case.operator.startswith(STEP_BY_STEP)]
ENDING = {case.operator: case for case in CASES if ends(case)}


@each_row(SMOOTH)
def test_second_gradient_is_slope_of_first(case: Case) -> None:
    assert_second_gradient_matches(case, BATCH)


@each_row(LONG[::ONE_IN])
def test_second_gradient_through_time_is_slope_of_first(case: Case) -> None:
    assert_second_gradient_matches(case, BATCH)


@pytest.mark.parametrize("operator", ENDS)
def test_what_is_not_provided_says_so(operator: str) -> None:
    case = ENDING[operator]
    lacks = differentiate_twice(case, BATCH).second.shortfalls().values()
    named = {stop.operator for lack in lacks for stop in lack.stops if not stop.is_exact}
    assert f"toolkit::{ENDS[operator]}" in named
