"""Quantised operators in float32 give the same integers; chains of them stay in float32 from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cases import all_cases
from tests.support.case import Case
from tests.support.interpret import apply, interpret
from tests.support.rows import each_row
from toolkit.compiler.passes.fusion import fuse
from toolkit.compiler.passes.quantised.arithmetic import use_float_arithmetic
from toolkit.compiler.program import Program, Variable

OPERATORS = {
    ("", "QuantizeLinear"),
    ("", "QLinearConv"),
    ("", "QLinearMatMul"),
    ("", "ConvInteger"),
    ("", "MatMulInteger"),
    ("com.microsoft", "QLinearAdd"),
}
ROWS = [case for case in all_cases() if (case.domain, case.operator) in OPERATORS]


def known_but_the_first(case: Case, arrays: list[np.ndarray | None]) -> tuple[Program, list[Variable | None]]:
    """The case as a program of one node, whose inputs behind the first are constants."""
    program = Program(layer="case")
    operands: list[Variable | None] = []
    for index, array in enumerate(arrays):
        known = array if index else None
        made = None if array is None else Variable(f"x{index}", array.dtype, array.shape, constant=known)
        operands.append(made)
    assert operands[0] is not None
    program.inputs["x0"] = operands[0]
    return program, operands


@each_row(ROWS)
def test_the_same_numbers_come_out(case: Case) -> None:
    arrays, attributes = case.arrays(3), case.bound_attributes(3)
    program, operands = known_but_the_first(case, arrays)
    node = program.append(case.operator, operands, attributes, domain=case.domain, version=case.version)
    program.outputs = {"y": node.y}
    use_float_arithmetic(program)
    found = interpret(program, {program.inputs["x0"]: arrays[0]}, [program.outputs["y"]])[0]
    expected = apply(case.domain, case.operator, case.version, arrays, attributes)[0]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))


@pytest.mark.parametrize("name", ["QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"])
def test_there_are_rows_that_are_computed_in_floats(name: str) -> None:
    replaced = 0
    for case in (item for item in ROWS if item.operator == name):
        program, operands = known_but_the_first(case, case.arrays(3))
        attributes = case.bound_attributes(3)
        node = program.append(case.operator, operands, attributes, domain=case.domain, version=case.version)
        program.outputs = {"y": node.y}
        use_float_arithmetic(program)
        replaced += program.outputs["y"] is not node.y
    assert replaced


def known(program: Program, array: np.ndarray) -> Variable:
    """A constant of the program."""
    made: Variable = program.constant(array).variable
    return made


def test_a_chain_leaves_no_integers() -> None:
    random, program = np.random.default_rng(0), Program(layer="chain")
    x = program.inputs["x"] = Variable("x", np.dtype(np.float32), (2, 4, 6, 6))
    scale, zero = known(program, np.float32(0.03)[()].reshape(())), known(program, np.asarray(9, np.uint8))
    weight = known(program, random.integers(-90, 90, (4, 4, 3, 3)).astype(np.int8))
    zeros = known(program, np.zeros(4, np.int8))
    scales = known(program, random.uniform(0.001, 0.004, 4).astype(np.float32))
    quantized = program.append("QuantizeLinear", [x, scale, zero], {}, version=13).y
    window = {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 1, 1]}
    pooled = program.append("MaxPool", [quantized], window, version=12).y
    halves = program.append("Split", [pooled], {"axis": 1, "num_outputs": 2}, version=18, outputs=2).outputs
    joined = program.append("Concat", halves[::-1], {"axis": 1}, version=13).y
    settings = {"pads": [1, 1, 1, 1]}
    inputs = [joined, scale, zero, weight, scales, zeros, scale, zero]
    made = program.append("QLinearConv", inputs, settings, version=10).y
    program.outputs["y"] = program.append("DequantizeLinear", [made, scale, zero], {}, version=13).y
    feeds = {x: random.uniform(-2, 6, x.shape).astype(np.float32)}
    expected = interpret(program, feeds, [program.outputs["y"]])[0]
    use_float_arithmetic(program)
    assert {item.dtype for node in program.nodes for item in node.outputs if item is not None} == {x.dtype}
    assert any(node.op_type == "GridConv" for node in program.nodes)
    np.testing.assert_array_equal(interpret(program, feeds, [program.outputs["y"]])[0], expected)
    fuse(program, training=False)
    last = program.outputs["y"].producer
    assert last is not None and last.op_type == "GridConv" and len(last.inputs) == 5
    np.testing.assert_array_equal(interpret(program, feeds, [program.outputs["y"]])[0], expected)


def test_what_data_decides_stays() -> None:
    program = Program(layer="case")
    x, scale, zero = (
        Variable(name, np.dtype(kind), shape)
        for name, kind, shape in (("x", np.float32, (3, 4)), ("s", np.float32, ()), ("z", np.uint8, ()))
    )
    program.inputs = {"x": x, "s": scale, "z": zero}
    node = program.append("QuantizeLinear", [x, scale, zero], {}, version=13)
    program.outputs["y"] = node.y
    use_float_arithmetic(program)
    assert program.nodes == [node]
