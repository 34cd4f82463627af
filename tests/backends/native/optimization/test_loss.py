"""The cross entropy over classes and its gradient, and the gradient of softmax: any sizes, alone and by a team."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.checked import check_node, execute, planned
from toolkit.backends import native
from toolkit.errors import InputError

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SIZES = [(1, 1), (3, 7), (17, 10), (5, 64), (70, 67)]
REDUCTIONS = ["mean", "sum", "none"]


def scores(rows: int, classes: int, dtype: str = "float32") -> np.ndarray:
    return (4 * np.random.default_rng(0).standard_normal((rows, classes))).astype(dtype)


def labels(rows: int, classes: int, dtype: str = "int64") -> np.ndarray:
    return np.random.default_rng(1).integers(0, classes, rows, dtype)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(("rows", "classes"), SIZES)
def test_the_loss(rows: int, classes: int, outputs: int, reduction: str) -> None:
    given = [scores(rows, classes), labels(rows, classes)]
    options = {"outputs": outputs, "known": [], "domain": "", "version": 13, "threads": 2}
    check_node("SoftmaxCrossEntropyLoss", given, {"reduction": reduction}, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("rows", "classes"), SIZES)
def test_its_gradient(rows: int, classes: int, reduction: str) -> None:
    x = scores(rows, classes)
    log_probability = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    slope = scores(rows, 1)[:, 0] if reduction == "none" else np.array(0.7, np.float32)
    given = [slope, log_probability, labels(rows, classes, "int32")]
    check_node("SoftmaxCrossEntropyGradient", given, {"reduction": reduction}, known=[], threads=2)


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_label_that_is_no_class_is_told(wrong: int) -> None:
    given = [scores(9, 4), labels(9, 4)]
    plan = planned("SoftmaxCrossEntropyLoss", given, {}, known=[], domain="", version=13)
    given[1][8] = wrong
    with pytest.raises(InputError, match=f"label {wrong} is none of the 4 classes"):
        execute(plan, given)


@pytest.mark.parametrize("log", [0, 1])
@pytest.mark.parametrize(("rows", "classes"), [*SIZES, (300, 65)])
def test_the_gradient_of_softmax(rows: int, classes: int, log: int) -> None:
    x = scores(rows, classes)
    y = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    given = [scores(rows, classes)[::-1].copy(), np.log(y) if log else y]
    check_node("SoftmaxGradient", given, {"axis": -1, "log": log}, known=[], threads=2)
