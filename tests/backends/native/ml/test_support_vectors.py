"""Support vector machines: every kernel, votes, coupled probabilities and linear machines, against the reference."""

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

KERNELS = {"LINEAR": [], "POLY": [0.5, 1.0, 3.0], "RBF": [0.4, 0.0, 0.0], "SIGMOID": [0.2, 0.1, 0.0]}
FEATURES = 5


def machine(classes: int, *, has_probabilities: bool, per_class: int = 4) -> dict[str, Any]:
    """The attributes of a random classifier with a different number of vectors for each class."""
    random = np.random.default_rng(classes)
    counts = [per_class + index for index in range(classes)]
    total, pairs = sum(counts), classes * (classes - 1) // 2
    found: dict[str, Any] = {
        "classlabels_ints": [7 * index - 7 for index in range(classes)],
        "coefficients": random.standard_normal((classes - 1) * total).tolist(),
        "rho": random.standard_normal(pairs).tolist(),
        "support_vectors": random.standard_normal(total * FEATURES).tolist(),
        "vectors_per_class": counts,
    }
    if has_probabilities:
        found |= {"prob_a": (-1 - random.random(pairs)).tolist(), "prob_b": random.standard_normal(pairs).tolist()}
    return found


def rows(count: int, dtype: str = "float32") -> np.ndarray:
    return (2 * np.random.default_rng(0).standard_normal((count, FEATURES))).astype(dtype)


def classify(x: np.ndarray, **attributes: Any) -> None:
    check_node("SVMClassifier", [x], attributes, domain="ai.onnx.ml", outputs=2)


@pytest.mark.parametrize("has_probabilities", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel(name: str, classes: int, has_probabilities: bool) -> None:
    attributes = machine(classes, has_probabilities=has_probabilities)
    classify(rows(25), kernel_type=name, kernel_params=KERNELS[name], **attributes)


@pytest.mark.parametrize("transform", ["SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("has_probabilities", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_every_transform(classes: int, has_probabilities: bool, transform: str) -> None:
    classify(rows(5), post_transform=transform, **machine(classes, has_probabilities=has_probabilities))


@pytest.mark.parametrize("has_probabilities", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_linear_machines(classes: int, sign: float, has_probabilities: bool) -> None:
    weights = np.random.default_rng(3).standard_normal(classes * FEATURES)
    weights = weights if sign < 0 else np.abs(weights)
    more = {"prob_a": [1.0], "prob_b": [0.0]} if has_probabilities else {}
    labels = list(range(classes))
    classify(rows(30), coefficients=weights.tolist(), rho=[0.25, 9.0], classlabels_ints=labels, **more)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", KERNELS)
def test_what_is_no_number_or_infinite(name: str) -> None:
    x = rows(5)
    x[0, 1], x[1, 2], x[2, 4] = np.nan, np.inf, -np.inf
    attributes = machine(3, has_probabilities=True)
    classify(x, kernel_type=name, kernel_params=KERNELS[name], **attributes)


@pytest.mark.parametrize("one_class", [0, 1])
@pytest.mark.parametrize("vectors", [0, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_regression(dtype: str, vectors: int, one_class: int) -> None:
    random = np.random.default_rng(5)
    attributes = {
        "coefficients": random.standard_normal(vectors or FEATURES).tolist(),
        "rho": [0.125],
        "n_supports": vectors,
        "support_vectors": random.standard_normal(vectors * FEATURES).tolist(),
        "kernel_type": "RBF",
        "kernel_params": [0.3, 0.0, 0.0],
        "one_class": one_class,
    }
    check_node("SVMRegressor", [rows(9, dtype)], attributes, domain="ai.onnx.ml")


def test_a_vector_is_a_row() -> None:
    classify(rows(1)[0], **machine(3, has_probabilities=True))


REFUSED: list[dict[str, Any]] = [
    {"post_transform": "PROBIT"},
    {"classlabels_ints": [], "classlabels_strings": ["a", "b", "c"]},
]


@pytest.mark.parametrize("attributes", REFUSED, ids=lambda item: next(iter(item)))
def test_what_is_not_served_is_left(attributes: dict[str, Any]) -> None:
    whole = {**machine(3, has_probabilities=False), **attributes}
    case = Case("SVMClassifier", [uniform("N", FEATURES)], whole, version=1, domain="ai.onnx.ml", outputs=2)
    assert placed(case, [NativeBackend(), numpy_backend()]) is None


def test_many_products_are_left() -> None:
    whole = machine(2, has_probabilities=False, per_class=1000)
    case = Case("SVMClassifier", [uniform("N", FEATURES)], whole, version=1, domain="ai.onnx.ml", outputs=2)
    assert placed(case, [NativeBackend(), numpy_backend()], batch=210) is None
