"""Reductions: every operator over axes that lie inside, outside, and between."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.alone import check_node
from toolkit.backends import native
from toolkit.backends.native.reductions.axes import REDUCERS

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SHAPE = (3, 5, 4, 9)
AXES = [(3,), (0,), (1, 2), (0, 3), (0, 2), (0, 1, 2, 3)]
LENGTHS = [1, 2, 7, 8, 9, 31, 64, 65, 300]


def numbers(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    random = np.random.default_rng(0)
    return random.uniform(0.5, 3, shape).astype(dtype) if "float" in dtype else random.integers(-9, 9, shape, dtype)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("operator", REDUCERS)
def test_every_operator(operator: str, axes: tuple[int, ...]) -> None:
    check_node(operator, [numbers(SHAPE), np.array(axes)], {"keepdims": 0}, known=[1], tolerance=3e-5)


@pytest.mark.parametrize("size", LENGTHS)
def test_every_length(size: int) -> None:
    for shape, axis in (((2, size), 1), ((size, 2), 0), ((3, size), 0)):
        check_node("ReduceSum", [numbers(shape), np.array([axis])], known=[1])
        check_node("ReduceLogSumExp", [numbers(shape, "float64"), np.array([axis])], known=[1])


@pytest.mark.parametrize("shape", [(1, 20000), (7, 3000), (8, 2100), (9, 2064), (64, 500), (515, 67)])
@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", "ReduceL2"])
def test_rows_of_a_matrix_by_a_team(operator: str, shape: tuple[int, ...]) -> None:
    given = [numbers(shape), np.array([0])]
    check_node(operator, given, {"keepdims": 0}, known=[1], threads=2)
    check_node(operator, given, {"keepdims": 0}, known=[1], threads=3)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1"])
def test_whole_numbers(operator: str, dtype: str) -> None:
    for axis in (0, 1):
        check_node(operator, [numbers((4, 37), dtype), np.array([axis])], known=[1])


def test_extremes_of_what_is_no_number() -> None:
    x = numbers((3, 19))
    x[1, 18], x[2] = np.nan, -np.inf
    check_node("ReduceMax", [x, np.array([1])], known=[1])
    check_node("ReduceMin", [x, np.array([0])], known=[1])
    check_node("ReduceLogSumExp", [x, np.array([1])], known=[1])


def test_no_axes_change_nothing_but_elements() -> None:
    check_node("ReduceSumSquare", [numbers((2, 11))], {"noop_with_empty_axes": 1})


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("size", LENGTHS)
def test_positions(operator: str, size: int, last: int) -> None:
    for shape, axis in (((3, size), 1), ((size, 3), 0), ((2, size, 13), 1)):
        ties = numbers(shape, "int32") // 4
        check_node(operator, [ties], {"axis": axis, "select_last_index": last})
        halves = ties.astype(np.float32)
        halves[..., -1] = np.nan
        halves[..., 0] = np.nan if size % 2 else 1
        check_node(operator, [halves], {"axis": axis, "select_last_index": last, "keepdims": 0})


@pytest.mark.parametrize("axes", [[0], [1], [0, 1]], ids=str)
@pytest.mark.parametrize("name", ["ReduceSum", "ReduceMean", "ReduceL2", "ReduceMax"])
def test_half_width_is_computed_in_float32(name: str, axes: list[int]) -> None:
    x = np.random.default_rng(0).uniform(0.5, 1, (6, 70)).astype(np.float16)
    check_node(name, [x, np.array(axes)], {"keepdims": 1}, known=[1], tolerance=1e-3)
