"""Einsum: which equations are refused, and that its expansion computes the same from standard operators."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cases.einsum import CASES
from tests.support.case import BATCH_SIZES, Case
from tests.support.interpret import apply, build, interpret
from toolkit.operators.einsum import parsed, sizes_of
from toolkit.operators.record import Call


@pytest.mark.parametrize(
    ("equation", "ranks", "message"),
    [
        ("ij,jk->ik", [2], "has 2 operands, got 1"),
        ("ij", [3], "'ij' cannot label a tensor of 3 axes"),
        ("i...j", [1], "cannot label a tensor of 1 axes"),
        ("i1", [2], "cannot label a tensor of 2 axes"),
        ("ij->ik", [2], "must have labels of its operands, each once"),
        ("ij->ii", [2], "must have labels of its operands, each once"),
        ("...i->i", [2], "the result of '...i->i' must have an ellipsis too"),
        ("...", [53], "need more than 52 labels"),
    ],
)
def test_equations_that_do_not_fit_are_refused(equation: str, ranks: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsed(equation, ranks)


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="has the sizes 2 and 3"):
        sizes_of(parsed("ij,jk", [2, 2]), [(4, 2), (3, 5)])


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
@pytest.mark.parametrize("batch", BATCH_SIZES)
def test_expansion_computes_the_same(case: Case, batch: int) -> None:
    arrays = case.arrays(batch)
    program, node = build(case, arrays, batch)
    inputs = [None if item is None else program.expression(item) for item in node.inputs]
    call = Call(inputs, [program.expression(node.y)], node.attributes, [False] * len(inputs), case.version)
    expansion = case.record.expansion
    assert expansion is not None
    (expanded,) = (item.variable for item in expansion(call) if item is not None)
    assert "Einsum" not in [made.op_type for made in program.nodes[1:]]
    feeds = {
        item: array for item, array in zip(node.inputs, arrays, strict=True) if item is not None and array is not None
    }
    (found,) = interpret(program, feeds, [expanded])
    (expected,) = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(batch))
    tolerance = max(case.tolerance, 2e-5)
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=tolerance, atol=tolerance)
