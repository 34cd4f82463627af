"""Rows by themselves: of all lengths around vectors, along any axis, in float32 and float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.backends.native import checked
from tests.backends.native.alone import check_node
from toolkit.backends import native

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SHAPES = [((3, 1), -1), ((2, 5), 1), ((2, 3, 8), 2), ((2, 67), 1), ((1, 200), -1), ((2, 5, 3), 1), ((3, 7, 20), 0)]


def normal(shape: Sequence[int], dtype: str = "float32") -> np.ndarray:
    """Numbers of a normal distribution around 1."""
    return (np.random.default_rng(0).standard_normal(shape) + 1).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_softmax(operator: str, shape: tuple[int, ...], axis: int, dtype: str) -> None:
    check_node(operator, [normal(shape, dtype) * 20], {"axis": axis})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_softmax_of_what_is_no_number_or_infinite() -> None:
    x = np.zeros((4, 11), np.float32)
    x[0, 3], x[1, 10], x[2, 0], x[3] = np.nan, np.inf, -np.inf, -np.inf
    check_node("Softmax", [x])
    check_node("Softmax", [x], {"axis": 0})


def test_softmax_before_version_13() -> None:
    check_node("Softmax", [normal((2, 3, 5))], {"axis": 1}, version=11)


@pytest.mark.parametrize("shape", [(2, 1), (3, 5), (2, 16), (1, 77), (2, 3, 130)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layer_normalization(shape: tuple[int, ...], dtype: str) -> None:
    rows, scale = normal(shape, dtype), normal(shape[-1:], dtype)
    check_node("LayerNormalization", [rows, scale, scale * 2], {"epsilon": 0.01}, outputs=3)
    check_node("LayerNormalization", [rows, scale])
    check_node("RMSNormalization", [rows, scale], version=23)


def test_layer_normalization_of_several_axes() -> None:
    x = normal((2, 3, 4, 5))
    check_node("LayerNormalization", [x, x[0, 0], x[0, 1]], {"axis": 2}, outputs=2)


@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 6, 3, 7), (2, 2, 40)])
def test_images_and_groups(shape: tuple[int, ...]) -> None:
    x, scale = normal(shape), normal(shape[1:2])
    check_node("InstanceNormalization", [x, scale, scale * 2])
    check_node("GroupNormalization", [x, scale, scale * 2], {"num_groups": 2}, version=21)
    check_node("GroupNormalization", [x, scale[:2], scale[:2] * 2], {"num_groups": 2}, version=18)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 16), (5, 77), (2, 3, 130), (31, 601)])
def test_layer_normalization_gradient(shape: tuple[int, ...], dtype: str) -> None:
    g, x, scale = normal(shape, dtype) - 1, normal(shape, dtype) * 3, normal(shape[-1:], dtype)
    statistics = [x.mean(-1, keepdims=True), 1 / np.sqrt(x.var(-1, keepdims=True) + np.asarray(0.1, dtype))]
    for threads in (1, 3):
        checked.check_node(
            "LayerNormalizationGradient",
            [g[::-1].copy(), x, scale, *statistics],
            {"axis": -1},
            outputs=3,
            known=(),
            threads=threads,
            tolerance=3e-5,
        )


def test_layer_normalization_by_a_team() -> None:
    x = normal((40, 515))
    check_node("LayerNormalization", [x, x[0], x[1]], outputs=3, threads=2)
