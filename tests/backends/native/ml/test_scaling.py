"""Normalizer, Scaler, Imputer and Binarizer: sizes around a vector, with what is missing, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from tests.support.case import Case, integers, variable
from tests.support.placed import placed
from toolkit.backends import native
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.native.ml.scaling import MOST_FEATURES
from toolkit.backends.registry import numpy_backend

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SHAPES = [(1,), (11,), (1, 1), (1, 3), (3, 8), (5, 17), (4, 6, 2)]
DTYPES = ("float32", "float64", "int64")


def given(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Small whole numbers; every fifth is missing where the type has NaN."""
    found = np.random.default_rng(0).integers(-3, 4, shape).astype(dtype)
    if dtype.startswith("float"):
        found.reshape(-1)[4::5] = np.nan
    return found


def check(operator: str, x: np.ndarray, **attributes: Any) -> None:
    check_node(operator, [x], attributes, domain="ai.onnx.ml")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_norms(norm: str, shape: tuple[int, ...], dtype: str) -> None:
    x = given(shape, dtype)
    x[..., -1] = 2
    check("Normalizer", x, norm=norm)
    check("Normalizer", np.zeros_like(x), norm=norm)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numbers_of_every_feature(shape: tuple[int, ...], dtype: str) -> None:
    features = shape[min(1, len(shape) - 1)]
    offset, scale = [0.5 * index for index in range(features)], [2.0 - index for index in range(features)]
    check("Scaler", given(shape, dtype), offset=offset, scale=scale)
    check("Scaler", given(shape, dtype), offset=[0.25], scale=scale)
    kind = "int64" if dtype == "int64" else "float"
    values = list(range(10, 10 + features))
    check("Imputer", given(shape, dtype), **{f"imputed_value_{kind}s": values, f"replaced_value_{kind}": 1})


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_number_for_all(shape: tuple[int, ...]) -> None:
    check("Scaler", given(shape, "float32"), offset=[0.5], scale=[3.0])
    check("Imputer", given(shape, "float32"), imputed_value_floats=[9.0], replaced_value_float=float("nan"))
    check("Imputer", given(shape, "float64"), imputed_value_floats=[9.0] * 40, replaced_value_float=2.0)
    check("Binarizer", given(shape, "float32"), threshold=1.0)
    check("Binarizer", given(shape, "float64"), threshold=0.1)


LEFT = [
    Case("Binarizer", [integers("N", 3, low=-2, high=3)], {"threshold": 0.5}, version=1, domain="ai.onnx.ml"),
    Case(
        "Scaler",
        [variable(np.zeros((2, MOST_FEATURES + 1), np.float32), "float32")],
        {"offset": [0.0], "scale": [1.0]},
        version=1,
        domain="ai.onnx.ml",
    ),
]


@pytest.mark.parametrize("case", LEFT, ids=lambda case: case.operator)
def test_what_is_not_served_is_left(case: Case) -> None:
    assert placed(case, [NativeBackend(), numpy_backend()]) is None
