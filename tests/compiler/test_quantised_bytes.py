"""Quantised networks compute on bytes, from end to end, what they compute in floats, up to a quantum of the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.interpret import interpret
from tests.support.quantised import Writer
from toolkit.backends.registry import resolve
from toolkit.compiler.passes.quantised import bytes as quantised_bytes
from toolkit.compiler.passes.quantised.bytes import hold_bytes
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.compiler.program import Node, Program, Variable

QUANTUM = 0.03
UINT8 = np.dtype(np.uint8)


class Multiplying:
    """A backend that multiplies bytes, but for the operators that it ``lacks``."""

    name = "bytes"
    multiplies_bytes = True

    def __init__(self, *lacks: str) -> None:
        self._lacks = lacks

    def supports(self, node: Node) -> bool:
        return node.op_type not in self._lacks

    def arrange(self, program: Program) -> None:
        """Nothing."""


def in_order(writer: Writer) -> Program:
    """Convolutions one behind the other: padded above a zero point, depthwise, in groups, behind activations."""
    x = writer.on_grid(writer.x, 0.02, 101)
    x = writer.on_grid(writer.append("Relu", writer.convolution(x, 8, 4, 3, 3, pads=[1, 1, 1, 1])), 0.03, 0)
    x = writer.convolution(x, 8, 1, 3, 3, group=8, pads=[1, 1, 1, 1], strides=[2, 2])
    x = writer.on_grid(writer.append("Clip", x, writer.known(-1.0), writer.known(1.5)), 0.01, 128)
    x = writer.convolution(x, 6, 4, 1, 1, group=2, axis=None)
    return writer.ends(writer.on_grid(x, QUANTUM, -3, "int8"))


def residual(writer: Writer) -> Program:
    """Two convolutions and a shortcut are added up; so are bytes on different grids."""
    x = writer.on_grid(writer.x, 0.02, 120)
    first = writer.on_grid(writer.convolution(x, 4, 4, 3, 3, pads=[1, 1, 1, 1]), 0.025, 110)
    second = writer.on_grid(writer.convolution(x, 4, 4, 1, 1), 0.021, 130)
    x = writer.on_grid(writer.append("Relu", writer.append("Add", first, second)), 0.02, 0)
    third = writer.on_grid(writer.convolution(x, 4, 4, 1, 1), 0.024, 125)
    x = writer.on_grid(writer.append("Add", x, third), 0.027, 90)
    return writer.ends(writer.on_grid(writer.convolution(x, 5, 4, 1, 1), QUANTUM, 77))


def shuffled(writer: Writer) -> Program:
    """Branches on grids of their own are joined, shuffled, pooled and cut before the next grid."""
    x = writer.on_grid(writer.x, 0.02, 120)
    branch = writer.on_grid(writer.convolution(x, 4, 4, 1, 1), 0.024, 125)
    joined = writer.append("Concat", branch, x, axis=1)
    batch, channels, rows, columns = joined.shape
    split = writer.append("Reshape", joined, writer.known([batch, 2, channels // 2, rows, columns], "int64"))
    turned = writer.append("Transpose", split, perm=[0, 2, 1, 3, 4])
    whole = writer.append("Reshape", turned, writer.known(joined.shape, "int64"))
    pooled = writer.append("MaxPool", whole, version=12, kernel_shape=[2, 2], strides=[1, 1])
    x = writer.on_grid(pooled, 0.027, 118)
    part = writer.append("Slice", x, *(writer.known(item, "int64") for item in ([2], [6], [1])))
    return writer.ends(writer.on_grid(writer.convolution(part, 6, 4, 2, 2), QUANTUM, 100))


def products(writer: Writer) -> Program:
    """Matrices, the way Gemm and MatMul have them, and floats behind the last one."""
    x = writer.append("Flatten", writer.on_grid(writer.x, 0.02, 120), axis=1)
    bias = writer.known(writer.random.uniform(-0.5, 0.5, 16))
    x = writer.append("Gemm", x, writer.weight(16, 4 * 7 * 6), bias, transB=1)
    x = writer.on_grid(writer.append("Relu", x), 0.09, 0)
    x = writer.on_grid(writer.append("MatMul", x, writer.weight(16, 12, axis=1)), 0.05, 131)
    return writer.ends(writer.append("MatMul", x, writer.weight(12, 5, axis=None)))


PROGRAMS: dict[Callable[[Writer], Program], tuple[str, ...]] = {
    in_order: ("QuantizeLinear", "ByteConv", "ByteConv", "ByteConv"),
    residual: ("QuantizeLinear", "ByteConv", "ByteConv", "ByteConv", "ByteConv"),
    shuffled: ("QuantizeLinear", "ByteConv", "Regrid", "Concat", "Transpose", "MaxPool", "Slice", "ByteConv"),
    products: ("QuantizeLinear", "ByteMatMul", "ByteMatMul", "ByteMatMul"),
}
VIEWS = ("Reshape", "Flatten")


def written(body: Callable[[Writer], Program], *lacks: str) -> tuple[Program, np.ndarray, np.ndarray]:
    """The program on bytes, what it computes, and what it has to."""
    writer = Writer(3, 4, 7, 6)
    program, feeds = body(writer), writer.feeds()
    expected = interpret(program, feeds, [program.outputs["y"]])[0]
    hold_bytes(optimise_for_inference(program), [Multiplying(*lacks)], least=0)
    return program, interpret(program, feeds, [program.outputs["y"]])[0], expected


@pytest.mark.parametrize("body", PROGRAMS, ids=lambda body: body.__name__)
def test_bytes_from_end_to_end(body: Callable[[Writer], Program]) -> None:
    program, found, expected = written(body)
    assert np.abs(found - expected).max() <= 1.001 * QUANTUM
    assert (np.abs(found - expected) < 1e-4).mean() > 0.98
    operators = Counter(node.op_type for node in program.nodes if node.op_type not in VIEWS)
    assert operators == Counter(PROGRAMS[body])
    between = [item for node in program.nodes[:-1] for item in node.outputs if item is not None]
    assert {item.dtype for item in between} == {UINT8}


@pytest.mark.parametrize("body", PROGRAMS, ids=lambda body: body.__name__)
@pytest.mark.parametrize("lacking", ["ByteConv", "Regrid", "ByteMatMul"])
def test_what_the_backend_lacks_stays_in_floats(body: Callable[[Writer], Program], lacking: str) -> None:
    program, found, expected = written(body, lacking)
    assert lacking not in {node.op_type for node in program.nodes}
    assert np.abs(found - expected).max() <= 1.001 * QUANTUM


@pytest.mark.parametrize("body", PROGRAMS, ids=lambda body: body.__name__)
def test_other_backends_compute_in_floats(body: Callable[[Writer], Program]) -> None:
    writer = Writer(3, 4, 7, 6)
    program, feeds = body(writer), writer.feeds()
    expected = interpret(program, feeds, [program.outputs["y"]])[0]
    optimise_for_inference(program)
    before = list(program.nodes)
    hold_bytes(program, resolve("numpy"), least=0)
    assert program.nodes == before
    assert not any(item.dtype == UINT8 for node in before for item in node.outputs if item is not None)
    assert not any(node.op_type in ("QuantizeLinear", "FusedConv", "Clip") for node in before)
    found = interpret(program, feeds, [program.outputs["y"]])[0]
    assert np.abs(found - expected).max() <= 1.001 * QUANTUM
    assert (np.abs(found - expected) < 1e-4).mean() > 0.98


def test_weights_beyond_signed_bytes_stay_in_floats() -> None:
    writer = Writer(3, 8)
    x = writer.on_grid(writer.x, 0.02, 120)
    integers = writer.known(writer.random.integers(0, 256, (8, 5)), "uint8")
    weight = writer.append("DequantizeLinear", integers, writer.known(0.002), writer.known(30, "uint8"))
    program = writer.ends(writer.on_grid(writer.append("MatMul", x, weight), QUANTUM, 100))
    hold_bytes(optimise_for_inference(program), [Multiplying()], least=0)
    assert not any(node.op_type == "ByteMatMul" for node in program.nodes)


def test_what_others_read_is_there_in_floats_too() -> None:
    writer = Writer(2, 4, 5, 5)
    x = writer.on_grid(writer.x, 0.02, 120)
    inner = writer.on_grid(writer.convolution(x, 4, 4, 1, 1), 0.025, 110)
    program = writer.ends(writer.on_grid(writer.convolution(inner, 4, 4, 1, 1), QUANTUM, 90))
    program.outputs["inner"] = inner
    feeds = writer.feeds()
    wanted = lambda: [program.outputs[name] for name in ("y", "inner")]  # noqa: E731
    expected = interpret(program, feeds, wanted())
    hold_bytes(optimise_for_inference(program), [Multiplying()], least=0)
    found = interpret(program, feeds, wanted())
    assert Counter(node.op_type for node in program.nodes)["ByteConv"] == 2
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def test_integers_that_the_file_has_as_input_and_output_keep_their_type() -> None:
    writer = Writer(2, 4, 5, 5)
    grid = writer.known(0.02), writer.known(120, "uint8")
    integers = writer.append("QuantizeLinear", writer.x, *grid)
    operands = [writer.known(writer.random.integers(-128, 128, (4, 4, 3, 3)), "int8")]
    operands += [writer.known(writer.random.uniform(0.001, 0.004, 4)), writer.known(np.zeros(4), "int8")]
    result = writer.known(QUANTUM), writer.known(-7, "int8")
    x: Variable = writer.append("QLinearConv", integers, *grid, *operands, *result, version=10)
    program, feeds = writer.ends(x), writer.feeds()
    expected = interpret(program, feeds, [x])[0]
    hold_bytes(optimise_for_inference(program), [Multiplying()], least=0)
    found = interpret(program, feeds, [program.outputs["y"]])[0]
    assert found.dtype == expected.dtype == np.int8
    np.testing.assert_array_equal(found, expected)


def test_small_products_stay_in_floats() -> None:
    program = optimise_for_inference(in_order(Writer(3, 4, 7, 6)))
    before = list(program.nodes)
    hold_bytes(program, [Multiplying()])
    assert program.nodes == before


def test_the_processor_decides() -> None:
    backend = resolve("cpu")[0]
    program = optimise_for_inference(in_order(Writer(3, 4, 7, 6)))
    hold_bytes(program, [backend], least=0)
    assert any(node.op_type == "ByteConv" for node in program.nodes) == backend.multiplies_bytes


def dynamic(rows: int, columns: int, scales: int) -> tuple[Program, dict[Variable, np.ndarray]]:
    """A product whose first factor is quantised by what the data tells."""
    writer = Writer(rows, columns)
    quantised = writer.program.append("DynamicQuantizeLinear", [writer.x], {}, version=11, outputs=3)
    x, scale, zero = quantised.outputs
    weight = writer.known(writer.random.integers(-128, 128, (columns, 16)), "int8")
    sums = writer.append("MatMulInteger", x, weight, zero, version=10)
    assert scale is not None
    scaled = writer.append("Mul", scale, writer.parameter(writer.random.uniform(0.001, 0.004, scales)))
    floats = writer.append("Cast", sums, to=1)
    program = writer.ends(writer.append("Add", writer.append("Mul", floats, scaled), writer.parameter(np.ones(16))))
    return program, writer.feeds()


@pytest.mark.parametrize("scales", [1, 16])
def test_zero_points_that_the_data_tells(scales: int) -> None:
    program, feeds = dynamic(3, 24, scales)
    expected = interpret(program, feeds, [program.outputs["y"]])[0]
    hold_bytes(optimise_for_inference(program), [Multiplying()], least=0)
    found = interpret(program, feeds, [program.outputs["y"]])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    product = next(node for node in program.nodes if node.op_type == "ByteMatMul")
    assert product.x.producer is not None and product.x.producer.op_type == "DynamicQuantizeLinear"
    assert product.inputs[3] is not None and product.inputs[3].size == scales
    assert not any(node.op_type == "Sub" for node in program.nodes)


def test_sums_that_floats_round_stay_as_they_are() -> None:
    program, _ = dynamic(3, 1024, 1)
    hold_bytes(optimise_for_inference(program), [Multiplying()], least=0)
    assert not any(node.op_type == "ByteMatMul" for node in program.nodes)


def test_weights_of_networks_without_bytes_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Node] = []
    monkeypatch.setattr(quantised_bytes, "byte_factor", lambda program, node: looked_at.append(node))
    program = Program()
    x = program.inputs["x"] = Variable("x", np.dtype(np.float32), (2, 3))
    weight = program.constant(np.ones((3, 4), np.float32)).variable
    program.outputs["y"] = program.append("FusedMatMul", [x, weight], {}, domain="toolkit").y
    hold_bytes(program, [Multiplying()], least=1)
    assert not looked_at
    assert [node.op_type for node in program.nodes] == ["FusedMatMul"]
