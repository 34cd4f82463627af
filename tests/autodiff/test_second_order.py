"""Gradients are differentiated again: every row of every table, but for the fused operators listed here."""

from __future__ import annotations

import pytest

from tests.cases import all_cases
from tests.support.case import BATCH_SIZES, Case
from tests.support.second_differences import assert_second_gradient_matches, differentiate_twice

# Operators whose gradient ends in a fused one that has no derivative of its own, by the name of that one.
ENDS: dict[str, str] = {
    "RNN": "RNNGradient",
    "GRU": "GRUGradient",
    "LSTM": "LSTMGradient",
    "LinearAttention": "LinearAttentionGradient",
    "DeformConv": "DeformConvInputGradient",
    "GridSample": "GridSampleGridGradient",
    "GridSampleInputGradient": "GridSampleGridGradient",
    "MaxRoiPool": "MaxRoiPoolGradient",
    "RoiAlign": "RoiAlignMaximumGradient",
}
CASES = [case for case in all_cases() if case.differentiable_inputs()]


def ends(case: Case) -> bool:
    """Whether the second derivative of the row is not provided."""
    if case.operator == "RoiAlign":
        return case.bound_attributes(1).get("mode") == "max"
    return case.operator in ENDS


SMOOTH = [case for case in CASES if not ends(case)]
ENDING = {case.operator: case for case in CASES if ends(case)}


@pytest.mark.parametrize("case", SMOOTH, ids=[case.id for case in SMOOTH])
@pytest.mark.parametrize("batch", BATCH_SIZES)
def test_second_gradient_is_slope_of_first(case: Case, batch: int) -> None:
    assert_second_gradient_matches(case, batch)


@pytest.mark.parametrize("operator", ENDS)
def test_what_is_not_provided_says_so(operator: str) -> None:
    case = ENDING[operator]
    lacks = differentiate_twice(case, 1).second.shortfalls().values()
    named = {stop.operator for lack in lacks for stop in lack.stops if not stop.is_exact}
    assert f"toolkit::{ENDS[operator]}" in named
