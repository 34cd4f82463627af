"""Programs restated for another opset mean the same, or are refused by name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.cases import all_cases
from tests.support.case import Case, is_float, uniform
from tests.support.interpret import apply, build, interpret
from tests.support.rows import each_row
from toolkit.compiler.passes.expansion import expand_own_operators
from toolkit.compiler.passes.opset import restate
from toolkit.errors import UnsupportedOperatorError
from toolkit.operators.schema import since_version

NEW = 23


def restatable(case: Case, opset: int) -> bool:
    """Whether a row is a static node of a standard operator that another version holds for at ``opset``."""
    own, other = (since_version("", case.operator, version) for version in (case.version, opset))
    bodies = any(isinstance(value, onnx.GraphProto) for value in case.bound_attributes(1).values())
    static = not (case.domain or case.is_data_dependent or bodies or case.record.is_random)
    return static and own is not None and own != other and case.record.reference is not None


OLD = [case for case in all_cases() if restatable(case, NEW) and 7 <= case.version < NEW]
RECENT = [case for case in all_cases() if restatable(case, 13) and 13 < case.version <= NEW]
REFUSED = {  # operators of versions since 7 that opset 23 is not asked to say, and why
    "BatchNormalization": "it has an expansion, which comes first",
    "Dropout": "a program that trains has the form that drops, another one has none",
}


def check(case: Case, opset: int) -> None:
    arrays = case.arrays(3)
    program, node = build(case, arrays, 3)
    program.outputs = {str(index): item for index, item in enumerate(node.outputs) if item is not None}
    inputs = list(node.inputs)
    restate(program, opset)
    expand_own_operators(program)
    restate(program, opset)
    assert all(made.version == since_version("", made.op_type, opset) for made in program.nodes)
    feeds = {item: array for item, array in zip(inputs, arrays, strict=True) if item is not None and array is not None}
    found = interpret(program, feeds, list(program.outputs.values()))
    expected = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(3))
    for ours, index in zip(found, program.outputs, strict=True):
        theirs = expected[int(index)]
        if is_float(theirs.dtype):
            np.testing.assert_allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(ours, theirs)


@each_row(OLD)
def test_what_an_old_opset_says_the_new_one_says_too(case: Case) -> None:
    try:
        check(case, NEW)
    except UnsupportedOperatorError as error:
        assert case.operator in REFUSED, error


def rows(operator: str, version: int) -> list[Case]:
    return [case for case in all_cases() if (case.domain, case.operator, case.version) == ("", operator, version)]


@each_row(rows("GroupNormalization", 18))
def test_scales_of_groups_become_scales_of_channels(case: Case) -> None:
    check(case, NEW)


@pytest.mark.parametrize(("old", "new"), [("bilinear", "linear"), ("bicubic", "cubic"), ("nearest", "nearest")])
def test_modes_of_sampling_have_their_new_names(old: str, new: str) -> None:
    case = Case("GridSample", [uniform("N", 2, 4, 3), uniform("N", 2, 2, 2)], {"mode": old}, version=16)
    check(case, NEW)
    program, node = build(case, case.arrays(1), 1)
    restate(program, NEW)
    assert (node.attributes["mode"], node.version) == (new, since_version("", "GridSample", NEW))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_norm_of_images_is_said_in_operators_that_engines_have(p: int) -> None:
    case = Case("GlobalLpPool", [uniform("N", 2, 3, 4)], {"p": p}, version=2)
    check(case, NEW)
    program, _ = build(case, case.arrays(1), 1)
    restate(program, NEW)
    assert "GlobalLpPool" not in {node.op_type for node in program.nodes}


@pytest.mark.parametrize(("operator", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_the_size_of_a_recurrent_layer_is_written_out(operator: str, gates: int) -> None:
    shapes = [uniform(4, "N", 3), uniform(1, 2 * gates, 3), uniform(1, 2 * gates, 2)]
    case = Case(operator, shapes, version=22, outputs=2)
    program, node = build(case, case.arrays(1), 1)
    restate(program, NEW)
    assert node.attributes["hidden_size"] == 2


@each_row(RECENT)
def test_what_a_new_opset_says_an_old_one_says_too_or_is_asked_in_vain(case: Case) -> None:
    try:
        check(case, 13)
    except UnsupportedOperatorError as error:
        assert "cannot be written for opset 13" in str(error)
