"""Products of rows with a known matrix by seven products instead of eight, of small sizes, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.backends.native.checked import check_learning, check_node, planned
from toolkit.backends import onednn
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.selection import take_small_nodes
from toolkit.backends.native.strassen import matrix_product
from toolkit.backends.native.strassen import sizes as limits
from toolkit.backends.native.strassen.sizes import is_matrix_product, is_product_of_columns
from toolkit.compiler.program import Node, Program, Variable

pytestmark = pytest.mark.skipif(not onednn.available(), reason=f"oneDNN: {onednn.unavailable_reason()}")

FLOAT32 = np.dtype(np.float32)
SIZES = [  # rows, depth, columns
    ((2, 64), 128, 64),
    ((3, 61), 192, 128),  # an odd number of rows, in tiles of two heights
    ((1, 30), 256, 192),  # fewer tiles than threads
    ((2, 3, 20), 128, 128),
]
sizes = pytest.mark.parametrize(("rows", "depth", "columns"), SIZES)
several = pytest.mark.parametrize("threads", [1, 2])


@pytest.fixture(autouse=True)
def taken_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("LEAST_PRODUCTS", 0),
        ("LEAST_ROWS", 0),
        ("VECTOR", compiler().vector_nbytes),
    ):
        monkeypatch.setattr(limits, name, value)
    monkeypatch.setattr(matrix_product, "MOST_DEPTH", 96)  # several blocks, the last of which may be a smaller one


def given(rows: tuple[int, ...], depth: int, columns: int, *, is_turned: bool = False) -> list[np.ndarray]:
    """Rows, matrix, bias, and residual."""
    random = np.random.default_rng(0)
    matrix = (columns, depth) if is_turned else (depth, columns)
    shapes = [(*rows, depth), matrix, (columns,), (*rows, columns)]
    return [random.standard_normal(shape, np.float32) for shape in shapes]


@several
@sizes
def test_product(rows: tuple[int, ...], depth: int, columns: int, threads: int) -> None:
    arrays = given(rows, depth, columns)
    assert is_taken(arrays)
    check_node("FusedMatMul", arrays[:2], {}, threads=threads)
    check_node("MatMul", arrays[:2], {}, threads=threads, domain="", version=13)


@several
@sizes
def test_what_is_added(rows: tuple[int, ...], depth: int, columns: int, threads: int) -> None:
    arrays = given(rows, depth, columns)
    check_node("FusedMatMul", arrays, {"activation": "Relu"}, threads=threads)
    check_node("FusedMatMul", [*arrays[:2], None, arrays[3]], {}, threads=threads)


@sizes
def test_in_one_block(rows: tuple[int, ...], depth: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_product, "MOST_DEPTH", depth)
    check_node("FusedMatMul", given(rows, depth, columns), {"activation": "Gelu"})


@several
@sizes
def test_a_matrix_with_a_row_for_each_column(rows: tuple[int, ...], depth: int, columns: int, threads: int) -> None:
    arrays = given(rows, depth, columns, is_turned=True)
    check_node("FusedMatMul", arrays[:3], {"transB": 1, "activation": "Gelu"}, threads=threads)


@several
def test_groups_of_one_tile(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_product, "GROUP_NBYTES", 0)
    check_node("FusedMatMul", given((2, 100), 128, 192), {}, threads=threads)


def test_a_residual_is_overwritten() -> None:
    plan = planned("FusedMatMul", given((2, 64), 128, 64), {})
    assert [task.kernel.in_place for task in plan.tasks if task.operator.endswith("MatMul")] == [[(0, 3)]]


def test_items_do_not_mix() -> None:
    arrays = given((3, 61), 192, 128)[:3]
    plan = planned("FusedMatMul", arrays, {})
    whole, results = plan.input_arrays["x0"], plan.output_arrays["0"]
    np.copyto(whole, arrays[0])
    plan.run("forward")
    expected = results.copy()
    whole[1] = np.nan
    plan.run("forward")
    assert np.isnan(results[1]).all()
    np.testing.assert_array_equal(results[[0, 2]], expected[[0, 2]])


@several
def test_matrices_that_change_are_packed_panel_by_panel(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gradients by them are products of columns."""
    monkeypatch.setattr(matrix_product, "MOST_CHANGING_DEPTH", 96)
    layers = [tk.layers.Linear(256), tk.layers.Linear(128)]
    steps = check_learning(layers, (61, 192), threads)
    assert {step.kernel for step in steps if "MatMul" in step.operator} == {"compiled"}


@several
@pytest.mark.parametrize("shape", [(100, 128, 192), (37, 256, 128)])
def test_product_of_columns(shape: tuple[int, int, int], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, *columns = shape
    random = np.random.default_rng(0)
    arrays = [random.standard_normal((rows, count), np.float32) for count in columns]
    program = Program(layer="checked")
    operands = [Variable(str(index), FLOAT32, array.shape) for index, array in enumerate(arrays)]
    made = program.append("FusedMatMul", operands, {"transA": 1}, domain="toolkit", version=1, outputs=1)
    assert is_product_of_columns(made)
    for change in ({"alpha": 0.5}, {"activation": "Relu"}):
        attributes = {"transA": 1, **change}
        other = program.append("FusedMatMul", operands, attributes, domain="toolkit", version=1, outputs=1)
        assert not is_product_of_columns(other)
    check_node("FusedMatMul", arrays, {"transA": 1}, known=(), threads=threads, tolerance=2e-5)


def node(arrays: list[np.ndarray], **attributes: Any) -> Node:
    program = Program(layer="checked")
    operands = [Variable(f"x{index}", FLOAT32, array.shape) for index, array in enumerate(arrays)]
    operands[1].constant = arrays[1]
    program.inputs["x0"] = operands[0]
    return program.append("FusedMatMul", operands, attributes, domain="toolkit", version=1, outputs=1)


def is_taken(arrays: list[np.ndarray], **attributes: Any) -> bool:
    return is_matrix_product(node(arrays, **attributes))


def test_what_is_left_to_others() -> None:
    fitting = given((2, 64), 128, 64)[:3]
    assert is_taken(fitting)
    assert not is_taken(fitting, alpha=0.5)
    assert not is_taken(given((2, 19), 128, 64)[:3])  # tiles would be low
    assert not is_taken(given((64,), 128, 64)[:3])  # each row may be an item of its own
    assert not is_taken(given((2, 64), 136, 64)[:3])
    assert not is_taken(given((2, 64), 128, 80)[:3])


@pytest.mark.parametrize("name", ["LEAST_PRODUCTS", "LEAST_ROWS"])
def test_leaves_what_is_small_to_the_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, name, 1 << 27)
    assert not is_taken(given((2, 64), 128, 64)[:3])


@pytest.mark.parametrize("learns", [False, True])
def test_is_taken_of_inference_and_training(learns: bool) -> None:
    taken = node(given((4, 128), 256, 1024)[:3])
    program = Program(layer="selection")
    program.nodes.append(taken)
    taken.backend = "cpu"
    if learns:
        program.append("Relu", [taken.y], {}, domain="", version=17, outputs=1).role = "backward"
    take_small_nodes(program)
    assert taken.backend == "native"
