"""Operators of our own domain that have an expansion: it computes what the reference computes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cases import all_cases
from tests.support.case import BATCH_SIZES, Case
from tests.support.interpret import apply, build, interpret
from toolkit.operators import REGISTRY
from toolkit.operators.record import Call

EXPANDED = [case for case in all_cases() if case.domain == "toolkit" and case.record.expansion is not None]
FUSED = ("FusedConv", "FusedMatMul", "Silu", "GeluTanh")


@pytest.mark.parametrize("case", EXPANDED, ids=[case.id for case in EXPANDED])
@pytest.mark.parametrize("batch", BATCH_SIZES)
def test_expansion_computes_what_the_reference_computes(case: Case, batch: int) -> None:
    arrays = case.arrays(batch)
    program, node = build(case, arrays, batch)
    inputs = [None if item is None else program.expression(item) for item in node.inputs]
    outputs = [None if item is None else program.expression(item) for item in node.outputs]
    call = Call(inputs, outputs, node.attributes, [False] * len(inputs), case.version)
    expansion = case.record.expansion
    assert expansion is not None
    expanded = [item.variable for item in expansion(call) if item is not None]
    assert not any(made.domain for made in program.nodes[1:]), "an expansion consists of standard operators"
    feeds = {
        item: array for item, array in zip(node.inputs, arrays, strict=True) if item is not None and array is not None
    }
    found = interpret(program, feeds, expanded)
    expected = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(batch))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_form_can_be_expanded_for_export(name: str) -> None:
    assert all(record.expansion is not None for record in REGISTRY["toolkit", name])
