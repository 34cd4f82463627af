"""Products of stacks: all ways in which matrices lie, sizes around tiles and panels, what is fused behind them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node, check_sums, planned
from toolkit.backends import native
from toolkit.backends.native.batched import product as batched
from toolkit.backends.native.batched.rows import Division
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.tile import ROWS, most_rows

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

FLAGS = ("swapA", "transA", "swapB", "transB", "swapY")


@pytest.fixture(autouse=True)
def everything_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEAST_ROWS", "LEAST_DEPTH", "LEAST_PRODUCTS", "WORTH_A_THREAD"):
        monkeypatch.setattr(batched, name, 1)
    monkeypatch.setattr(batched, "MOST_ELEMENTS", 1 << 30)


def filled(*shapes: tuple[int, ...] | None) -> list[Any]:
    random = np.random.default_rng(0)
    return [None if shape is None else random.standard_normal(shape, np.float32) for shape in shapes]


def laid(lead: tuple[int, ...], rows: int, columns: int, swap: int, trans: int) -> tuple[int, ...]:
    """The shape in memory of a stack that is seen as (lead, rows, columns)."""
    rows, columns = (columns, rows) if trans else (rows, columns)
    return (*lead[:-1], rows, lead[-1], columns) if swap else (*lead, rows, columns)


@pytest.mark.parametrize("flags", [*product((0, 1), repeat=5)][::5], ids=lambda flags: "".join(map(str, flags)))
def test_every_way_to_lie(flags: tuple[int, ...]) -> None:
    swap_a, trans_a, swap_b, trans_b, _ = flags
    arrays = filled(laid((2, 3), 13, 10, swap_a, trans_a), laid((2, 3), 10, 21, swap_b, trans_b))
    check_node("FusedMatMul", arrays, dict(zip(FLAGS, flags, strict=True)), known=(), threads=2)


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("size", [(1, 1, 1), (7, 8, 8), (50, 257, 16), (97, 5, 41)], ids=str)
def test_sizes(size: tuple[int, int, int], trans: int) -> None:
    """Several blocks of rows, sums of several parts, panels that are not full."""
    height, depth, columns = size
    arrays = filled(laid((3,), height, depth, 0, trans), laid((3,), depth, columns, 0, trans))
    check_node("FusedMatMul", arrays, {"transA": trans, "transB": trans}, known=(), threads=2)


@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 3, 9, 8), (3, 8, 5)), ((3, 9, 8), (2, 3, 8, 5)), ((2, 1, 9, 8), (2, 3, 8, 5)), ((2, 3, 9, 8), (2, 1, 8, 5))],
    ids=str,
)
def test_stacks_that_broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    check_node("FusedMatMul", filled(a, b), {}, known=())


@pytest.mark.parametrize("swap", [0, 1])
def test_what_is_added_lies_as_the_result(swap: int) -> None:
    result = (2, 9, 3, 21) if swap else (2, 3, 9, 21)
    arrays = filled((2, 3, 9, 8), (2, 3, 8, 21), (2, 1, 1, 21), result)
    attributes = {"alpha": 0.5, "activation": "Relu", "swapY": swap}
    check_node("FusedMatMul", arrays, attributes, known=(), threads=2)
    check_node("FusedMatMul", [*arrays[:2], *filled((1, 1, result[2], 1), None)], attributes, known=())
    kernels = [task.kernel for task in planned("FusedMatMul", arrays, attributes, known=()).tasks]
    assert [kernel.in_place for kernel in kernels] == [[(0, 3)]]


def test_long_sums_round_no_more_than_their_parts() -> None:
    random = np.random.default_rng(1)
    arrays = [random.uniform(0.5, 1, shape).astype(np.float32) for shape in ((2, 6, 4096), (2, 4096, 16))]
    check_sums(arrays, known=())


@pytest.mark.parametrize("height", [1, 5, 6, 7, 13, 47, 48, 49, 200])
def test_rows_are_divided_once_each(height: int) -> None:
    division = Division(height)
    heights = [division.height + (tile < division.higher) for tile in range(division.tiles)]
    assert sum(heights) == height and max(heights) <= most_rows()
    assert division.most_rows >= max(heights) * min(division.together, division.tiles)


@pytest.mark.parametrize("most", [4, 6, 12])
def test_tiles_as_high_as_the_processor_has_registers_for(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heights of other processors than this one; whatever their registers, the sums are the same."""
    monkeypatch.setitem(ROWS, compiler().vector_nbytes, most)
    for trans in (0, 1):
        shapes = laid((2, 3), 31, 19, 0, trans), (2, 3, 19, 40)
        check_node("FusedMatMul", filled(*shapes), {"transA": trans}, known=(), threads=2)


@pytest.mark.parametrize(("nbytes", "wins"), [(16, False), (32, True), (64, True)])
def test_stacks_win_with_vectors_that_are_wide(nbytes: int, wins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler(), "vector_nbytes", nbytes)
    assert batched.stacks_win() == wins
