"""Large products, made of small sizes: around tiles, blocks of the depth, groups and passes, shared by threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node, check_sums, planned
from toolkit.backends import native
from toolkit.backends.native import selection
from toolkit.backends.native.products import blocking, large_product, small_product
from toolkit.backends.native.products.tile import most_rows

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SIZES = [(1, 1, 1), (2, 255, 5), (5, 257, 16), (6, 8, 33), (7, 1000, 17), (12, 64, 32), (13, 256, 40), (131, 300, 24)]


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products become large ones, also where the library wins."""
    for module, name, value in (
        (small_product, "MOST_PRODUCTS", 0),
        (small_product, "FEW_ROWS", 0),
        (large_product, "LEAST_PRODUCTS", 0),
        (large_product, "LEAST_ROWS", 0),
        (large_product, "LEAST_SIDE", 0),
        (selection, "wins", lambda: True),
    ):
        monkeypatch.setattr(module, name, value)


def given(size: tuple[int, int, int], attributes: Mapping[str, Any], bias: bool, residual: bool) -> list[Any]:
    random = np.random.default_rng(0)
    rows, depth, columns = size
    shapes = [(rows, depth), (columns, depth) if attributes.get("transB") else (depth, columns)]
    made: list[Any] = [random.standard_normal(shape, np.float32) for shape in shapes]
    made.append(random.standard_normal(columns, np.float32) if bias else None)
    made.append(random.standard_normal((rows, columns), np.float32) if residual else None)
    return made


def check(
    size: tuple[int, int, int],
    threads: int = 1,
    bias: bool = False,
    residual: bool = False,
    known: Sequence[int] = (1, 2),
    **named: Any,
) -> None:
    """FusedMatMul with a matrix that is known, or computed, against its reference."""
    check_node("FusedMatMul", given(size, named, bias, residual), named, threads=threads, known=known)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size(size: tuple[int, int, int], turned: int, threads: int) -> None:
    check(size, threads, bias=True, transB=turned)


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_matrix_that_is_computed_is_packed_block_by_block(size: tuple[int, int, int], turned: int) -> None:
    check(size, threads=2, bias=True, known=(), transB=turned)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_rows_are_shared_out_where_there_are_many(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "ENOUGH_BLOCKS", 2)
    monkeypatch.setattr(blocking, "MOST_BLOCKS", 3)
    rows = 10 * most_rows() - 1
    assert blocking.cut(rows, 70, 40, threads, 70, 70).across == threads
    check((rows, 70, 40), threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_several_passes(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "MOST_PACKED", 1)
    assert blocking.cut(20, 600, 50, threads, 600, 600).passes == 3
    for known in ((1,), ()):
        check((20, 600, 50), threads, bias=True, residual=True, known=known, activation="Relu")


@pytest.mark.parametrize(("bias", "residual"), [(False, False), (True, True), (False, True)])
def test_what_is_added(bias: bool, residual: bool) -> None:
    check((14, 20, 21), bias=bias, residual=residual, alpha=0.5, activation="Gelu")


def test_a_residual_is_overwritten() -> None:
    arrays = given((8, 16, 16), {}, False, True)
    kernels = [task.kernel for task in planned("FusedMatMul", arrays, {}, known=(1,)).tasks]
    assert [kernel.in_place for kernel in kernels] == [[(0, 3)]]


def test_rows_of_several_axes() -> None:
    random = np.random.default_rng(0)
    shapes = (2, 3, 10), (10, 9), (9,), (2, 3, 9)
    check_node("FusedMatMul", [random.standard_normal(shape, np.float32) for shape in shapes], {})


def test_sums_round_no_more_than_those_of_their_blocks() -> None:
    """Long sums are made of shorter ones: the error stays far below that of adding in order."""
    random = np.random.default_rng(1)
    size = (6, 4096, 16)
    arrays = [random.uniform(0.5, 1, shape).astype(np.float32) for shape in (size[:2], size[1:])]
    check_sums(arrays)
