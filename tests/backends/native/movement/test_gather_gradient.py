"""What rows that were looked up learn: each sum, of rows looked up often and never, alone and by a team."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from toolkit.backends import native

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("index", "size", "behind"),
    [((), 3, (4,)), ((7,), 5, ()), ((4, 9), 6, (5,)), ((600,), 40, (3, 13)), ((64,), 2, (700,)), ((3,), 2200000, ())],
)
def test_sums_of_rows(index: tuple[int, ...], size: int, behind: tuple[int, ...], threads: int, dtype: str) -> None:
    random = np.random.default_rng(0)
    g = random.standard_normal((*index, *behind)).astype(dtype)
    for kind in ("int32", "int64"):
        places = np.asarray(random.integers(-size, size, index), kind)
        check_node("GatherGradient", [g, places], {"size": size}, known=(), threads=threads)
