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
from toolkit.errors import ShapeError
from toolkit.operators import REGISTRY
from toolkit.operators.record import DataDependentTypes, NotDifferentiable, Operator

CASES = all_cases()
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
EVERY_BATCH = pytest.mark.parametrize("batch", BATCH_SIZES)
DIFFERENTIABLE = [case for case in CASES if case.differentiable_inputs()]
COVERED = {id(case.record) for case in CASES}
DIFFERENTIATED = {id(case.record) for case in DIFFERENTIABLE}
RECORDS = [record for versions in REGISTRY.values() for record in versions]


def named(record: Operator) -> str:
    return f"{record.domain}.{record.name}-{record.since}"


@EVERY_CASE
@EVERY_BATCH
def test_inferred_type_is_actual_type(case: Case, batch: int) -> None:
    arrays = case.arrays(batch)
    if case.is_data_dependent:
        if isinstance(case.record.infer, DataDependentTypes) and not _are_tensors(case, arrays):
            return  # programs hold tensors only
        with pytest.raises(ShapeError, match="depends on the data"):
            build_program(case, arrays, batch)
        return
    _, node = build_program(case, arrays, batch)
    outputs = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(batch))[: case.outputs]
    assert [(item.dtype, item.shape) for item in node.outputs] == [(item.dtype, item.shape) for item in outputs]


@EVERY_CASE
@EVERY_BATCH
def test_reference_agrees_with_judge(case: Case, batch: int) -> None:
    if case.record.is_random:
        pytest.skip("random values have no judge; their family tests their distribution")
    arrays = case.arrays(batch)
    outputs = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(batch))[: case.outputs]
    expected = judged(case, arrays, batch)
    assert len(outputs) == len(expected)
    for number, (ours, theirs) in enumerate(zip(outputs, expected, strict=True)):
        assert_same(ours, theirs, case.tolerance, f"output {number}")


def _are_tensors(case: Case, values: Sequence[Value]) -> bool:
    pairs = zip(case.inputs, values, strict=True)
    return all(given is None or isinstance(value, np.ndarray) for given, value in pairs)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=[case.id for case in DIFFERENTIABLE])
@EVERY_BATCH
def test_gradient_is_slope_of_reference(case: Case, batch: int) -> None:
    assert_gradient_matches(case, batch)


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_record_has_a_case(record: Operator) -> None:
    if record.name == "Gradient":
        pytest.skip("it is never executed: the conformance suite checks what replaces it")
    assert id(record) in COVERED, f"add a row for {named(record)} to tests/cases"


@pytest.mark.parametrize("record", RECORDS, ids=named)
def test_gradient_of_record_is_checked_by_a_case(record: Operator) -> None:
    if isinstance(record.gradient, NotDifferentiable):
        assert record.gradient.reason
    else:
        assert id(record) in DIFFERENTIATED, f"no row checks the gradient of {named(record)}"
