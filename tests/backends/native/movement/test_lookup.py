"""Elements looked up where the data says: all shapes and axes, and the reference's words for an index that is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node, execute, planned
from toolkit.backends import native
from toolkit.errors import InputError

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SHAPE = (4, 5, 6)


def numbers(*shape: int, dtype: str = "float32") -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(shape) * 10).astype(dtype)


def places(*shape: int, size: int, dtype: str = "int64") -> np.ndarray:
    """Indices of an axis, from both of its ends."""
    return np.random.default_rng(1).integers(-size, size, shape).astype(dtype)


def look_up(operator: str, arrays: list[np.ndarray], **attributes: Any) -> None:
    check_node(operator, [*arrays], attributes, known=(), domain="", version=18 if "Scatter" in operator else 13)


@pytest.mark.parametrize("dtype", ["float32", "int8", "float16", "int64", "bool"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)], ids=str)
def test_slices(shape: tuple[int, ...], axis: int, dtype: str) -> None:
    look_up("Gather", [numbers(*SHAPE, dtype=dtype), places(*shape, size=SHAPE[axis], dtype="int32")], axis=axis)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("shape", [(5,), (1, 5), SHAPE], ids=str)
def test_columns(shape: tuple[int, ...], dtype: str) -> None:
    given = [numbers(*shape, dtype=dtype), places(1, 3, size=shape[-1])]
    check_node("ArrayFeatureExtractor", given, {}, known=(), domain="ai.onnx.ml", version=1)


def test_a_column_that_is_not_there_is_told_as_the_reference_tells_it() -> None:
    given = [numbers(2, 5), np.array([5])]
    plan = planned("ArrayFeatureExtractor", given, {}, known=(), domain="ai.onnx.ml", version=1)
    with pytest.raises(InputError, match=r"ArrayFeatureExtractor .* cannot be computed on this data: index 5 is out"):
        execute(plan, given)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_elements(axis: int) -> None:
    look_up("GatherElements", [numbers(*SHAPE), places(3, 4, 2, size=SHAPE[axis])], axis=axis)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("reduction", ["none", "add"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_updates(axis: int, reduction: str, dtype: str) -> None:
    given = [numbers(*SHAPE, dtype=dtype), places(3, 4, 2, size=SHAPE[axis]), numbers(3, 4, 2, dtype=dtype)]
    look_up("ScatterElements", given, axis=axis, reduction=reduction)


@pytest.mark.parametrize("index", [5, -6])
@pytest.mark.parametrize("operator", ["Gather", "GatherElements", "ScatterElements"])
def test_an_index_outside_is_told_as_the_reference_tells_it(operator: str, index: int) -> None:
    updates = [numbers(1, 1, 1)] if operator == "ScatterElements" else []
    given = [numbers(*SHAPE), np.full((1, 1, 1), index), *updates]
    plan = planned(operator, given, {"axis": 1}, known=(), domain="", version=18 if updates else 13)
    with pytest.raises(InputError, match=rf"{operator} .* cannot be computed on this data: index .*out of bounds"):
        execute(plan, given)
    execute(plan, [numbers(*SHAPE), np.zeros((1, 1, 1), np.int64), *updates])
