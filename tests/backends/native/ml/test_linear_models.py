"""Linear models: of all sizes around vectors and blocks of scores, with every transform, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from tests.support.case import Case, uniform
from tests.support.placed import placed
from toolkit.backends import native
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.registry import numpy_backend

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SIZES = [(1, 1, 1), (1, 12, 14), (3, 8, 6), (5, 17, 7), (40, 3, 3), (2, 70, 13)]  # rows, features, targets
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")


def model(rows: int, features: int, targets: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Rows of features, and the attributes of a model of them."""
    random = np.random.default_rng([rows, features, targets])
    weights, offsets = random.standard_normal((targets, features)), random.standard_normal(targets)
    attributes = {"coefficients": weights.reshape(-1).tolist(), "intercepts": offsets.tolist()}
    return random.standard_normal((rows, features)).astype(np.float32), attributes


def classify(x: np.ndarray, targets: int, **attributes: Any) -> None:
    whole = {"classlabels_ints": [3 * index - 4 for index in range(max(targets, 2))], **attributes}
    check_node("LinearClassifier", [x], whole, domain="ai.onnx.ml", outputs=2)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_classes_of_every_size(size: tuple[int, int, int]) -> None:
    x, attributes = model(*size)
    classify(x, size[2], **attributes, post_transform="SOFTMAX")


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("targets", [1, 2, 5])
def test_every_transform(targets: int, transform: str) -> None:
    x, attributes = model(6, 4, targets)
    x[0] = 0
    classify(x, targets, **{**attributes, "intercepts": [0.0] * targets}, post_transform=transform)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_ties_go_to_the_first_and_what_is_no_number_wins() -> None:
    x = np.array([[0, 0], [1, 1], [np.nan, 1], [np.inf, 1], [-np.inf, 0]], np.float32)
    classify(x, 3, coefficients=[1.0, 1.0, 1.0, 1.0, -1.0, 2.0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_regression(size: tuple[int, int, int], dtype: str) -> None:
    x, attributes = model(*size)
    given = (x * 3).astype(dtype)
    check_node("LinearRegressor", [given], {**attributes, "targets": size[2]}, domain="ai.onnx.ml")


def test_a_vector_is_a_row_and_intercepts_of_another_number_are_left_out() -> None:
    x, attributes = model(1, 5, 3)
    whole = {**attributes, "targets": 3, "intercepts": [1.0]}
    check_node("LinearRegressor", [x[0]], whole, domain="ai.onnx.ml")


REFUSED: list[dict[str, Any]] = [
    {"post_transform": "PROBIT"},
    {"classlabels_strings": ["a", "b", "c"], "classlabels_ints": []},
]


@pytest.mark.parametrize("attributes", REFUSED, ids=lambda item: next(iter(item)))
def test_what_is_not_served_is_left(attributes: dict[str, Any]) -> None:
    whole = {**model(1, 4, 3)[1], "classlabels_ints": [1, 2, 3], **attributes}
    case = Case("LinearClassifier", [uniform("N", 4)], whole, version=1, domain="ai.onnx.ml", outputs=2)
    assert placed(case, [NativeBackend(), numpy_backend()]) is None


def test_many_products_are_left() -> None:
    whole = {"coefficients": [0.5] * 4096, "targets": 1}
    case = Case("LinearRegressor", [uniform("N", 4096)], whole, version=1, domain="ai.onnx.ml")
    assert placed(case, [NativeBackend(), numpy_backend()], batch=1025) is None
    assert placed(case, [NativeBackend(), numpy_backend()], batch=1024) is not None
