"""What is asked of all gradients: whether they are finite, and the sum of their squares."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.backends.native.checked import check_node
from toolkit.backends import native
from toolkit.backends.host import HostBuffer
from toolkit.backends.native.assembly.team import WORTH_A_THREAD
from toolkit.backends.native.optimization.gradients import BLOCK, finiteness, guard
from toolkit.backends.protocol import Resources, plain

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SIZES = [1, 31, 32, 33, BLOCK // 2 + 3, WORTH_A_THREAD + 1]
TYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]


def buffer(array: np.ndarray) -> HostBuffer:
    return HostBuffer(plain(array.dtype, array.shape), array.view(np.uint8))


@pytest.mark.parametrize("dtype", TYPES)
def test_one_number_that_is_not_finite_is_found_wherever_it_lies(dtype: Any) -> None:
    arrays = [np.full(size, np.finfo(np.float16).min, dtype) for size in SIZES]
    buffers = [*map(buffer, arrays), buffer(np.zeros(3, np.float64))]
    is_finite, calls = finiteness(buffers, Resources(2)), guard(buffers, Resources(2))
    assert is_finite() and not any(call() for call in calls)
    for array in arrays:
        for at in (0, array.size // 2, -1):
            for value in (np.nan, np.inf, -np.inf):
                kept, array[at] = array[at], value
                assert not is_finite() and any(call() for call in calls)
                array[at] = kept
    assert is_finite() and not any(call() for call in calls)


def test_nothing_is_finite() -> None:
    assert finiteness([], Resources(1))() and not guard([], Resources(1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_sum_of_squares(dtype: str, threads: int) -> None:
    random = np.random.default_rng(0)
    given = [random.standard_normal(size).astype(dtype) for size in SIZES]
    check_node("SumOfSquares", given, {}, known=[], threads=threads, tolerance=1e-7)
    check_node("SumOfSquares", [np.full(9, 1e18, dtype)], {}, known=[])
