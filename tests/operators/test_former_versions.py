"""Operators of old versions that are told by today's: the expansion computes what the reference computes.

Fusion and backends know one form of each operator; they rely on this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cases import all_cases
from tests.support.case import BATCH_SIZES, Case, constant, uniform
from tests.support.interpret import apply, build, interpret
from tests.support.rows import each_row
from toolkit.errors import ShapeError
from toolkit.operators.record import Call

OF_TODAY = 14  # from this opset on, operators with an expansion are not former ones
EXPANDED = [case for case in all_cases() if not case.domain and case.record.expansion and case.record.since < OF_TODAY]


@each_row(EXPANDED, BATCH_SIZES)
def test_expansion_computes_what_the_reference_computes(case: Case, batch: int) -> None:
    arrays = case.arrays(batch)
    program, node = build(case, arrays, batch)
    inputs = [None if item is None else program.expression(item) for item in node.inputs]
    outputs = [None if item is None else program.expression(item) for item in node.outputs]
    expansion = case.record.expansion
    assert expansion is not None
    made = expansion(Call(inputs, outputs, node.attributes, [False] * len(inputs), case.version))
    expanded = [item.variable for item in made if item is not None]
    later = [item for item in program.nodes[1:] if item.record is not None]
    assert all(item.domain or item.record is None or item.record.expansion is None for item in later)
    feeds = {
        item: array for item, array in zip(node.inputs, arrays, strict=True) if item is not None and array is not None
    }
    expected = apply("", case.operator, case.version, arrays, case.bound_attributes(batch))[: case.outputs]
    for ours, theirs in zip(interpret(program, feeds, expanded), expected, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        if ours.dtype.kind == "b":
            np.testing.assert_array_equal(ours, theirs)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def test_statistics_that_nobody_reads_are_not_asked_for() -> None:
    case = Case("BatchNormalization", [uniform("N", 3, 4), *[uniform(3, low=0.5)] * 4], version=6)
    program, node = build(case, case.arrays(3), 3)
    inputs = [None if item is None else program.expression(item) for item in node.inputs]
    expansion = case.record.expansion
    assert expansion is not None
    expansion(Call(inputs, [program.expression(node.y)], {}, [False] * 5, 6))
    assert [(item.op_type, item.domain, item.attributes["training_mode"]) for item in program.nodes[1:]] == [
        ("BatchNormalization", "", 1)
    ]


@pytest.mark.parametrize(
    ("operator", "version", "inputs", "attributes", "message"),
    [
        ("Add", 6, [uniform(2, 3), uniform(3)], {}, r"without broadcast=1 both inputs must have one shape"),
        ("Add", 6, [uniform(2, 3), uniform(2)], {"broadcast": 1}, r"part of the shape \(2, 3\) .* at the end, got"),
        ("Mul", 6, [uniform(2, 3), uniform(3)], {"broadcast": 1, "axis": 0}, r"from axis 0 on, got \(3,\)"),
        ("Mul", 1, [uniform(2, 3), uniform(3)], {"broadcast": 1, "axis": 2}, r"from axis 2 on, got \(3,\)"),
        ("PRelu", 6, [uniform(2, 3), uniform(2)], {}, r"one number or one for each of 3 channels, got 2"),
        ("PRelu", 6, [uniform(2, 3), uniform(4, 2, 3)], {}, r"may not stretch the first"),
        ("Max", 6, [uniform(2, 3), uniform(3)], {}, r"before opset 8 all inputs must have one shape"),
        ("Gemm", 6, [uniform(2, 3), uniform(3, 4), uniform(4)], {}, r"without broadcast=1 C must have"),
        ("Gemm", 1, [uniform(2, 3), uniform(3, 4), uniform(3)], {"broadcast": 1}, r"C must broadcast to"),
        ("Gemm", 1, [uniform(2, 3), uniform(2, 3, 4), uniform(4)], {}, r"A and B must be matrices"),
        ("Pad", 1, [uniform(2, 3)], {"paddings": [0, -4, 0, 0]}, r"take away more than the shape"),
        ("Tile", 1, [uniform(2, 3), constant(0.0), constant(1.0)], {}, r"tiles must be 1 or more, got 0"),
        ("Split", 1, [uniform(2, 3)], {"axis": 1, "split": [1, 1]}, r"must add up to the 3 elements"),
        ("Reshape", 1, [uniform(2, 3)], {}, r"the attribute 'shape' is required"),
        ("Concat", 1, [uniform(2, 3), uniform(3, 3)], {}, r"one shape but for axis 1"),
        ("BatchNormalization", 6, [uniform(2, 3), *[uniform(2)] * 4], {}, r"must hold 3 numbers, got the shape \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(
    operator: str, version: int, inputs: Any, attributes: dict[str, Any], message: str
) -> None:
    case = Case(operator, inputs, attributes, version)
    with pytest.raises(ShapeError, match=message):
        build(case, case.arrays(1), 1)


@pytest.mark.parametrize(
    ("inputs", "attributes", "message"),
    [
        (4, {"mode": "heavy"}, "mode must be 'standard' or 'nesterov', got 'heavy'"),
        (4, {}, "groups of equal length, got 4 of them"),
        (0, {}, "it takes 3[+] inputs, got 2"),
    ],
)
def test_steps_of_optimizers_that_do_not_fit_are_refused(inputs: int, attributes: Any, message: str) -> None:
    given = {"alpha": 0.9, "beta": 0.9, "norm_coefficient": 0.0, "mode": "standard", **attributes}
    tensors = [constant(0.1), constant(0), *[uniform(3)] * inputs]
    case = Case("Momentum", tensors, given, 1, domain="ai.onnx.preview.training")
    with pytest.raises(ShapeError, match=message):
        build(case, case.arrays(1), 1)


def test_a_companion_of_another_shape_and_a_rate_of_many_numbers_are_refused() -> None:
    domain = "ai.onnx.preview.training"
    odd = Case("Adagrad", [constant(0.1), constant(0), uniform(3), uniform(3), uniform(4)], {}, 1, domain=domain)
    with pytest.raises(ShapeError, match=r"a tensor of shape \(3,\) came with one of shape \(4,\)"):
        build(odd, odd.arrays(1), 1)
    many = Case("Adam", [uniform(2), constant(0), *[uniform(3)] * 4], {}, 1, domain=domain)
    with pytest.raises(ShapeError, match="R and T must be numbers"):
        build(many, many.arrays(1), 1)
