"""Operators of our own domain have an expansion into standard operators, which computes what the reference computes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cases import all_cases
from tests.support.case import BATCH_SIZES, Case, is_float, uniform
from tests.support.interpret import apply, build, interpret
from tests.support.rows import each_row
from toolkit.autodiff import differentiate
from toolkit.compiler.passes.expansion import expand_own_operators
from toolkit.compiler.program import Variable
from toolkit.errors import UnsupportedOperatorError
from toolkit.operators import REGISTRY
from toolkit.operators.record import not_differentiable, operator

REFUSED = {"toolkit.RoiAlignMaximumGradient-1-adaptive": "how many samples a bin has is computed from the regions"}
UNSAID = {  # why the gradient of some rows cannot be written with standard operators, by operator
    "RoiAlign": "from the regions: set sampling_ratio",
    "Resize": "the region of interest is computed",
}
OWN = {name: records for (domain, name), records in REGISTRY.items() if domain == "toolkit"}
EXPANDED = [case for case in all_cases() if case.domain == "toolkit" and case.record.expansion is not None]
FUSED = [
    "AveragePool",
    "BatchNormalization",
    "Col2Im",
    "Conv",
    "ConvTranspose",
    "DeformConv",
    "Det",
    "GRU",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GridSample",
    "LSTM",
    "LayerNormalization",
    "LinearAttention",
    "LpPool",
    "MaxPool",
    "RNN",
    "Resize",
    "RoiAlign",
    "Upsample",
]
WITH_FUSED_GRADIENT = [case for case in all_cases() if case.operator in FUSED and case.differentiable_inputs()]


@each_row(EXPANDED, BATCH_SIZES)
def test_expansion_computes_what_the_reference_computes(case: Case, batch: int) -> None:
    arrays = case.arrays(batch)
    program, node = build(case, arrays, batch)
    program.outputs = {str(index): item for index, item in enumerate(node.outputs) if item is not None}
    if case.id in REFUSED:
        with pytest.raises(UnsupportedOperatorError, match=REFUSED[case.id]):
            expand_own_operators(program)
        return
    expand_own_operators(program)
    assert not any(made.domain for made in program.nodes), "an expansion consists of standard operators"
    feeds = {
        item: array for item, array in zip(node.inputs, arrays, strict=True) if item is not None and array is not None
    }
    found = interpret(program, feeds, list(program.outputs.values()))
    expected = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(batch))
    tolerance = max(2e-5, case.tolerance)
    for ours, index in zip(found, program.outputs, strict=True):
        theirs = expected[int(index)]
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if is_float(ours.dtype):
            ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance / 10)


@each_row(WITH_FUSED_GRADIENT)
def test_a_gradient_computes_the_same_when_it_is_expanded(case: Case) -> None:
    arrays = case.arrays(3)
    program, node = build(case, arrays, 3)
    seeds: dict[Variable, Variable] = {}
    feeds = {
        item: array for item, array in zip(node.inputs, arrays, strict=True) if item is not None and array is not None
    }
    random = np.random.default_rng(0)
    for index, output in enumerate(node.outputs):
        if output is not None and is_float(output.dtype) and (case.seeded is None or index in case.seeded):
            seeds[output] = Variable(f"g{index}", output.dtype, output.shape)
            feeds[seeds[output]] = random.standard_normal(output.shape).astype(output.dtype)
    wrt = [item for index in case.differentiable_inputs() if (item := node.inputs[index]) is not None]
    program.outputs = {item.name: grad for item, grad in differentiate(program, seeds, wrt).items()}
    expected = interpret(program, feeds, list(program.outputs.values()))
    try:
        expand_own_operators(program)
    except UnsupportedOperatorError as error:
        assert UNSAID[case.operator] in str(error)
        return
    found = interpret(program, feeds, list(program.outputs.values()))
    for ours, theirs in zip(found, expected, strict=True):
        scale = 1 + float(np.abs(theirs, dtype=np.float64).max(initial=0))
        np.testing.assert_allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=1e-4, atol=2e-6 * scale)


@pytest.mark.parametrize("name", OWN)
def test_every_operator_of_our_own_can_be_exported(name: str) -> None:
    assert all(record.expansion is not None for record in OWN[name]), f"{name}: write its expansion"


def test_one_that_standard_operators_cannot_say_is_refused() -> None:
    operator(
        "Unsaid",
        domain="toolkit",
        reference=np.negative,
        gradient=not_differentiable("it is a test"),
        infer=lambda types, attributes, constants: [types[0]],
    )
    try:
        program, _ = build(Case("Unsaid", [uniform(3)], version=1, domain="toolkit"), [np.ones(3)], 1)
        with pytest.raises(UnsupportedOperatorError, match=r"Unsaid .* cannot be said in standard operators.* Freeze"):
            expand_own_operators(program)
    finally:
        del REGISTRY["toolkit", "Unsaid"]
