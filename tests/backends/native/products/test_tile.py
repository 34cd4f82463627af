"""The innermost part of large products: every height, and depths around what is unrolled."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.compiled import run
from toolkit.backends import native
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.products.tile import DEPTH, FEW_ROWS, ROWS, tile_function, width

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)


@pytest.mark.parametrize("rows", range(1, max(FEW_ROWS, *ROWS.values()) + 1))
@pytest.mark.parametrize("depth", [1, 3, 4, 255, 256])
def test_sums_are_added_to(rows: int, depth: int) -> None:
    random = np.random.default_rng(depth)
    left = random.standard_normal((rows, DEPTH), np.float32)
    right, before = (random.standard_normal((count, width()), np.float32) for count in (depth, rows))
    sums, code = before.copy(), Code(3)
    code.invoke(tile_function(rows), code.places, [code.index(depth)])
    run(code, [left, right, sums])
    np.testing.assert_allclose(sums, before + left[:, :depth] @ right, rtol=1e-5, atol=1e-5)


def test_rows_lie_as_far_apart_as_one_says() -> None:
    left, right, sums = (
        np.ones((2, 5), np.float32),
        np.ones((5, width()), np.float32),
        np.zeros((2, width()), np.float32),
    )
    code = Code(3)
    code.invoke(tile_function(2, stride=5), code.places, [code.index(5)])
    run(code, [left, right, sums])
    assert (sums == 5).all()
