"""Every row: inferred type = actual type, reference = judge, gradient = finite differences; no record without a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.cases import all_cases
from tests.support.case import BATCH_SIZES, Case, Value
from tests.support.differences import assert_gradient_matches
from tests.support.interpret import apply
from tests.support.interpret import build as build_program
from tests.support.judge import assert_same, judged
from tests.support.rows import each_row
from toolkit.errors import ShapeError
from toolkit.operators import REGISTRY
from toolkit.operators.record import DataDependentTypes, NotDifferentiable, Operator

CASES = all_cases()
DIFFERENTIABLE = [case for case in CASES if case.differentiable_inputs()]
COVERED = {id(case.record) for case in CASES}
DIFFERENTIATED = {id(case.record) for case in DIFFERENTIABLE}
NEVER_EXECUTED = {"Gradient"}  # the conformance suite checks what replaces it
RECORDS = [record for versions in REGISTRY.values() for record in versions]


def named(record: Operator) -> str:
    return f"{record.domain}.{record.name}-{record.since}"


@each_row(CASES, BATCH_SIZES)
def test_reference_has_the_inferred_type_and_agrees_with_judge(case: Case, batch: int) -> None:
    arrays = case.arrays(batch)
    outputs = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(batch))[: case.outputs]
    require_inferred_type(case, batch, arrays, outputs)
    if case.record.is_random:
        return  # random values have no judge; their family tests their distribution
    expected = judged(case, arrays, batch)
    assert len(outputs) == len(expected)
    for number, (ours, theirs) in enumerate(zip(outputs, expected, strict=True)):
        assert_same(ours, theirs, case.tolerance, f"output {number}")


def require_inferred_type(case: Case, batch: int, arrays: Sequence[Value], outputs: Sequence[Value]) -> None:
    """What is inferred is what came out, or, where only the data can tell, nothing."""
    if not case.is_data_dependent:
        _, node = build_program(case, arrays, batch)
        assert [(item.dtype, item.shape) for item in node.outputs] == [(item.dtype, item.shape) for item in outputs]
    elif not isinstance(case.record.infer, DataDependentTypes) or _are_tensors(case, arrays):
        with pytest.raises(ShapeError, match="depends on the data"):
            build_program(case, arrays, batch)


def _are_tensors(case: Case, values: Sequence[Value]) -> bool:
    pairs = zip(case.inputs, values, strict=True)
    return all(given is None or isinstance(value, np.ndarray) for given, value in pairs)


@each_row(DIFFERENTIABLE, BATCH_SIZES)
def test_gradient_is_slope_of_reference(case: Case, batch: int) -> None:
    assert_gradient_matches(case, batch)


def test_every_record_has_a_case() -> None:
    missing = [named(record) for record in RECORDS if id(record) not in COVERED and record.name not in NEVER_EXECUTED]
    assert not missing, "add rows to tests/cases"


def test_every_gradient_is_checked_by_a_case() -> None:
    reasons = [item.gradient.reason for item in RECORDS if isinstance(item.gradient, NotDifferentiable)]
    assert all(reasons)
    smooth = [item for item in RECORDS if not isinstance(item.gradient, NotDifferentiable)]
    assert not [named(item) for item in smooth if id(item) not in DIFFERENTIATED], "add rows to tests/cases"
