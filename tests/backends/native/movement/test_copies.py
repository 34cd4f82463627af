"""Movements: element types of every size, empty parts, and what a plan may leave out."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.alone import check_node
from toolkit.backends import native

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

TYPES = ["bool", "int8", "float16", "float32", "int64"]


def numbers(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    return (np.arange(np.prod(shape)) % 100).reshape(shape).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type(dtype: str) -> None:
    x = numbers((2, 3, 5, 7), dtype)
    check_node("Transpose", [x], {"perm": [2, 0, 3, 1]})
    check_node("Transpose", [x])
    check_node("Expand", [x[:, :1], np.array([2, 4, 5, 7])], known=[1])
    check_node("Expand", [x[..., :1], np.array([2, 3, 5, 70])], known=[1])
    check_node("Tile", [x, np.array([1, 2, 1, 3])], known=[1])
    check_node("Slice", [x, *map(np.array, ([1, 6], [3, -8], [2, 3], [1, -2]))], known=[1, 2, 3, 4])
    check_node("Concat", [x, x[:, :0], x[:, 1:2]], {"axis": 1})
    check_node("Split", [x, np.array([2, 0, 3])], {"axis": 2}, known=[1], outputs=3)
    check_node("Gather", [x, np.array([4, 3, -3])], {"axis": 2}, known=[1])
    check_node("Gather", [x, np.array([[6, 4], [2, -7]])], {"axis": 3}, known=[1])


@pytest.mark.parametrize("mode", ["edge", "reflect", "wrap"])
def test_surroundings(mode: str) -> None:
    check_node("Pad", [numbers((2, 4, 5)), np.array([0, 2, 1, 0, 3, 4])], {"mode": mode}, known=[1])
    check_node("Pad", [numbers((3, 6)), np.array([0, -2, 0, 1])], {"mode": mode}, known=[1])


def test_a_constant_around() -> None:
    pads = np.array([1, -1, 0, 2, 3, 1])
    check_node("Pad", [numbers((2, 4, 5)), pads], known=[1])
    check_node("Pad", [numbers((2, 4, 5)), pads, np.float32(7)], known=[1])
    check_node("Pad", [numbers((4, 5), "int64"), np.array([1, 2]), np.int64(7), np.array([0])], known=[1, 3])
