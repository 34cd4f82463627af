"""Small products: of all sizes around panels and blocks of rows, with whatever is fused behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from toolkit.backends import native
from toolkit.backends.native.elementwise.spelling import ACTIVATIONS
from toolkit.backends.native.products import small_product

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SIZES = [(1, 1, 1), (1, 50, 5), (1, 3, 64), (1, 17, 65), (2, 9, 33), (3, 8, 7), (4, 31, 24), (5, 6, 130), (13, 40, 12)]
PARAMETERS = {"LeakyRelu": (0.1, 0.0), "Clip": (-0.5, 0.7), "Elu": (0.7, 0.0), "HardSigmoid": (0.2, 0.5)}


def check(
    shape: tuple[int, ...], columns: int, attributes: Mapping[str, Any], bias: bool = False, residual: bool = False
) -> None:
    """FusedMatMul of rows of ``shape`` with a known matrix, against its reference."""
    random = np.random.default_rng(0)
    depth, result = shape[-1], (*shape[:-1], columns)
    matrix = (columns, depth) if attributes.get("transB") else (depth, columns)
    arrays = [random.standard_normal(shape), random.standard_normal(matrix)]
    arrays += [random.standard_normal(columns) if bias else None, random.standard_normal(result) if residual else None]
    given = [None if item is None else item.astype(np.float32) for item in arrays]
    check_node("FusedMatMul", given, attributes)


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size(size: tuple[int, int, int], turned: int) -> None:
    rows, depth, columns = size
    check((rows, depth), columns, {"transB": turned}, bias=True)


@pytest.mark.parametrize("rows", [1, 4, 5])
@pytest.mark.parametrize(("bias", "residual"), [(False, False), (True, True), (False, True)])
def test_what_is_added(bias: bool, residual: bool, rows: int) -> None:
    check((rows, 20), 21, {"alpha": 0.5, "activation": "Relu"}, bias, residual)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str) -> None:
    alpha, beta = PARAMETERS.get(activation, (0.0, 0.0))
    attributes = {"activation": activation, "activation_alpha": alpha, "activation_beta": beta}
    check((3, 11), 19, attributes, bias=True)


@pytest.mark.parametrize("rows", [4, 6, 8])
def test_a_few_rows_in_equal_groups_are_taken_whatever_the_matrix(rows: int) -> None:
    assert rows * 1100 * 511 > small_product.MOST_PRODUCTS
    check((rows, 1100), 511, {}, bias=True)


def test_rows_of_several_axes() -> None:
    check((2, 3, 4, 10), 9, {}, bias=True)


@pytest.mark.parametrize(
    ("columns", "blocks", "threads", "expected"),
    [(8, 1, 1, 8), (10, 1, 1, 5), (8, 1, 2, 4), (3, 1, 2, 2), (1, 1, 2, 1), (8, 2, 2, 8), (9, 4, 3, 3)],
)
def test_threads_share_the_vectors_of_panels(columns: int, blocks: int, threads: int, expected: int) -> None:
    assert small_product.vectors_of_a_panel(columns, 8, blocks, threads) == expected
