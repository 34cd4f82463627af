"""Products of few rows with a matrix that is read where it lies: around panels, vectors and blocks of the depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node, execute, planned
from toolkit.backends import native
from toolkit.backends.native import selection
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products import large_product, narrow_product, small_product
from toolkit.backends.native.registry import KERNELS
from toolkit.compiler.program import Node, Program, Variable

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

FLOAT32 = np.dtype(np.float32)
MODULE = narrow_product.__name__


@pytest.fixture
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products are taken too, with vectors of any width."""
    for module, name, value in (
        (small_product, "MOST_PRODUCTS", 0),
        (small_product, "FEW_ROWS", 0),
        *((module, name, 0) for module in (large_product, narrow_product) for name in ("LEAST_PRODUCTS", "LEAST_ROWS")),
        *((module, "LEAST_SIDE", 0) for module in (large_product, narrow_product)),
        (narrow_product, "VECTOR", compiler().vector_nbytes),
        (selection, "wins", lambda: True),
    ):
        monkeypatch.setattr(module, name, value)


def given(rows: int, depth: int, columns: int, *, bias: bool = False, residual: bool = False) -> list[Any]:
    random = np.random.default_rng(0)
    shapes = (rows, depth), (columns, depth), (columns,) if bias else None, (rows, columns) if residual else None
    return [None if shape is None else random.standard_normal(shape, np.float32) for shape in shapes]


def check(arrays: list[Any], threads: int = 1, **named: Any) -> None:
    """FusedMatMul with a turned matrix that is computed, by this kernel, against its reference."""
    attributes = {"transB": 1, **named}
    (task, *_) = planned("FusedMatMul", arrays, attributes, known=(), threads=threads).tasks
    assert task.node is not None and KERNELS.serves(MODULE, task.node)
    check_node("FusedMatMul", arrays, attributes, threads=threads, known=())


@pytest.mark.usefixtures("every_size")
class TestProducts:
    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("size", [(1, 1, 16), (15, 255, 32), (16, 256, 16), (33, 257, 48), (70, 600, 80)], ids=str)
    def test_sizes(self, size: tuple[int, int, int], threads: int) -> None:
        check(given(*size), threads)

    @pytest.mark.parametrize(("bias", "residual"), [(True, False), (True, True), (False, True)])
    def test_what_is_added(self, bias: bool, residual: bool) -> None:
        check(given(18, 20, 32, bias=bias, residual=residual), alpha=0.5, activation="Gelu")

    def test_rows_of_several_axes(self) -> None:
        random = np.random.default_rng(0)
        check([random.standard_normal(shape, np.float32) for shape in ((2, 3, 10), (16, 10), (16,), (2, 3, 16))])

    def test_sums_round_no_more_than_those_of_their_blocks(self) -> None:
        random = np.random.default_rng(1)
        a, b = (random.uniform(0.5, 1, (16, 4096)).astype(np.float32) for _ in range(2))
        plan = planned("FusedMatMul", [a, b], {"transB": 1}, known=())
        execute(plan, [a, b])
        np.testing.assert_allclose(plan.output_arrays["0"], a.astype(np.float64) @ b.T.astype(np.float64), rtol=1e-6)


def node(rows: int, depth: int, columns: int, **attributes: Any) -> Node:
    program = Program(layer="checked")
    inputs = [Variable(name, FLOAT32, shape) for name, shape in (("a", (rows, depth)), ("b", (columns, depth)))]
    return program.append("FusedMatMul", inputs, {"transB": 1, **attributes}, domain="toolkit", version=1)


def test_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow_product, "VECTOR", compiler().vector_nbytes)
    lanes = compiler().lanes(FLOAT32)
    assert narrow_product.is_narrow_product(node(128, 784, 98 * lanes))
    assert not narrow_product.is_narrow_product(node(128, 128, 128, transA=1))
    assert not narrow_product.is_narrow_product(node(128, 784, 98 * lanes + 1))
    assert not narrow_product.is_narrow_product(node(narrow_product.MOST_ROWS + 1, 784, 98 * lanes))
    assert not narrow_product.is_narrow_product(node(16, 64, 64))
    monkeypatch.setattr(narrow_product, "VECTOR", 2 * compiler().vector_nbytes)
    assert not narrow_product.is_narrow_product(node(128, 784, 98 * lanes))
