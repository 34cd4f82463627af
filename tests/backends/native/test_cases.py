"""The backend ``native`` computes what the numpy references say: every case row that it takes."""

from __future__ import annotations

import pytest

from tests.cases import all_cases
from tests.support.case import BATCH_SIZES, Case
from tests.support.placed import agrees, is_planned, placed
from tests.support.rows import each_row
from toolkit.backends import native
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.native.registry import KERNELS
from toolkit.backends.registry import numpy_backend

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

BACKENDS = [NativeBackend(), numpy_backend()]
ROWS = [case for case in all_cases() if is_planned(case) and KERNELS.entries(case.domain, case.operator)]
LEAST = 160  # rows that are taken for three items


@each_row(ROWS, BATCH_SIZES)
def test_native_computes_what_the_reference_says_of_what_it_takes(case: Case, batch: int) -> None:
    if not agrees(case, BACKENDS, batch=batch):
        pytest.skip("left to numpy")


def test_most_rows_are_taken() -> None:
    assert sum(placed(case, BACKENDS) is not None for case in ROWS) >= LEAST
