"""Gradients of ``ai.onnx.ml`` through kernels, norms and transforms, against differences of formulas in float64.

The operators answer in float32, which is too coarse for differences where answers are far from zero; the case tables
check those close to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.cases import ml_linear, ml_support_vectors
from tests.support.case import Case, variable
from tests.support.interpret import build, interpret
from tests.support.numeric import numeric_gradients
from toolkit.errors import NotDifferentiableError
from toolkit.operators.ml.kernels import kernel
from toolkit.operators.record import Call, NotDifferentiable

RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(-1, 1, (4, 3))
WEIGHT = RANDOM.uniform(-1, 1, (3, 3))
INTERCEPTS = np.array([0.2, -0.1, 0.3])


def gradient_of(operator: str, attributes: dict[str, Any], x: np.ndarray, seeds: list[np.ndarray | None]) -> np.ndarray:
    """What the record computes for the input, in float64."""
    case = Case(operator, [variable(x, "float64")], attributes, 1, "ai.onnx.ml", len(seeds))
    program, node = build(case, [x], 1)
    grads = [None if seed is None else program.constant(seed) for seed in seeds]
    outputs = [None if item is None else program.expression(item) for item in node.outputs]
    call = Call([program.expression(node.x)], outputs, node.attributes, [True], node.version)
    gradient = case.record.gradient
    assert not isinstance(gradient, NotDifferentiable)
    (part,) = gradient(call, *grads)
    return interpret(program, {node.x: x}, [part.variable])[0]


def assert_slope(
    operator: str,
    attributes: dict[str, Any],
    formula: Callable[[np.ndarray], np.ndarray],
    outputs: int = 1,
    x: np.ndarray = X,
) -> None:
    """The record's gradient is that of ``formula``; answers in float32 leave an error of a millionth."""
    seed = np.random.default_rng(1).normal(size=formula(x).shape)
    (expected,) = numeric_gradients(formula, [x], seed)
    found = gradient_of(operator, attributes, x, [None] * (outputs - 1) + [seed])
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def softmax(s: np.ndarray) -> np.ndarray:
    return np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)


def logistic(s: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-s))


def opposite(s: np.ndarray) -> np.ndarray:
    return np.concatenate([1 - s, s], axis=1)


TRANSFORMS = {"NONE": lambda s: s, "SOFTMAX": softmax, "LOGISTIC": logistic, "SOFTMAX_ZERO": softmax}
LINEAR: dict[str, Any] = {
    "coefficients": WEIGHT.astype(np.float32).reshape(-1).tolist(),
    "intercepts": INTERCEPTS.tolist(),
}
SINGLE = WEIGHT.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_linear_operators(name: str) -> None:
    def formula(x: np.ndarray) -> np.ndarray:
        return TRANSFORMS[name](x @ SINGLE.T + INTERCEPTS)

    assert_slope("LinearRegressor", {**LINEAR, "targets": 3, "post_transform": name}, formula)
    assert_slope("LinearClassifier", {**LINEAR, "classlabels_ints": [1, 2, 3], "post_transform": name}, formula, 2)


@pytest.mark.parametrize("name", ["NONE", "LOGISTIC"])
def test_linear_classifier_of_two_classes(name: str) -> None:
    attributes = {"coefficients": LINEAR["coefficients"][:3], "intercepts": [0.2], "classlabels_ints": [0, 1]}

    def formula(x: np.ndarray) -> np.ndarray:
        return opposite(TRANSFORMS[name](x @ SINGLE[:1].T + 0.2))

    assert_slope("LinearClassifier", {**attributes, "post_transform": name}, formula, 2)


def test_probit_has_the_slope_of_the_quantile() -> None:
    """Where p is the probability below q, dq/dp is one over the density at q."""
    attributes = {"coefficients": [1.0], "targets": 1, "post_transform": "PROBIT"}
    p = np.array([[0.2], [0.5], [0.9]])
    q = np.array([[-0.8416212], [0.0], [1.2815516]])
    expected = np.sqrt(2 * np.pi) * np.exp(q**2 / 2)
    np.testing.assert_allclose(gradient_of("LinearRegressor", attributes, p, [np.ones((3, 1))]), expected, rtol=5e-3)


@pytest.mark.parametrize("name", ml_support_vectors.KERNELS)
def test_kernels(name: str) -> None:
    given = {**ml_support_vectors.REGRESSOR, "kernel_type": name, "kernel_params": ml_support_vectors.KERNELS[name]}
    vectors, weight = np.reshape(given["support_vectors"], (4, 3)), np.array(given["coefficients"])

    def formula(x: np.ndarray) -> np.ndarray:
        return (kernel(x, vectors, name, given["kernel_params"]) @ weight + given["rho"][0])[:, None]

    assert_slope("SVMRegressor", given, formula)
    assert_slope("SVMRegressor", given, lambda x: formula(x[None]), x=X[0])


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("classes", [2, 3])
def test_decisions_of_pairs(classes: int, name: str) -> None:
    given = ml_support_vectors.machine(classes, post_transform=name)
    counts = given["vectors_per_class"]
    count, starts = sum(counts), np.cumsum([0, *counts])
    table, vectors = (
        np.reshape(given["coefficients"], (classes - 1, count)),
        np.reshape(given["support_vectors"], (count, 3)),
    )

    def formula(x: np.ndarray) -> np.ndarray:
        values, found = kernel(x, vectors, "RBF", given["kernel_params"]), []
        for i in range(classes):
            for j in range(i + 1, classes):
                of_i, of_j = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
                found.append(values[:, of_i] @ table[j - 1, of_i] + values[:, of_j] @ table[i, of_j])
        scores = np.stack(found, axis=1) + given["rho"]
        if classes > 2:
            return TRANSFORMS[name](scores)
        if name == "NONE":
            return np.concatenate([-scores, scores], axis=1)
        return opposite(logistic(scores) if name == "LOGISTIC" else scores)

    assert_slope("SVMClassifier", given, formula, 2)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_norms(norm: str) -> None:
    sizes = {"MAX": lambda x: x.max(1), "L1": lambda x: np.abs(x).sum(1), "L2": lambda x: np.sqrt(np.square(x).sum(1))}
    assert_slope("Normalizer", {"norm": norm}, lambda x: x / sizes[norm](x)[:, None])
    np.testing.assert_array_equal(gradient_of("Normalizer", {"norm": norm}, X[:2] * 0, [X[:2]]), X[:2])


def test_label_alone_leads_nowhere() -> None:
    for operator, attributes in (("LinearClassifier", ml_linear.THREE), ("SVMClassifier", ml_support_vectors.LINEAR)):
        x = np.zeros((1, 4 if operator == "LinearClassifier" else 3))
        case = Case(operator, [variable(x, "float64")], attributes, 1, "ai.onnx.ml", 2)
        program, node = build(case, [x], 1)
        outputs = [program.expression(item) for item in node.outputs]
        call = Call([program.expression(node.x)], outputs, node.attributes, [True], node.version)
        gradient = case.record.gradient
        assert not isinstance(gradient, NotDifferentiable)
        assert gradient(call, None, None) == [None]


def test_what_has_no_slope_says_so() -> None:
    with pytest.raises(NotDifferentiableError, match="prob_a and prob_b"):
        gradient_of("SVMClassifier", ml_support_vectors.machine(3, probabilities=True), X, [None, np.ones((4, 3))])
    with pytest.raises(NotDifferentiableError, match="one_class answers with a sign"):
        gradient_of("SVMRegressor", {**ml_support_vectors.REGRESSOR, "one_class": 1}, X, [np.ones((4, 1))])
