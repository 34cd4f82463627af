"""Dropout by the library, where nothing can be compiled: what is kept is scaled, the rest is zero."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tests.backends.onednn.driver import BACKEND, node_of, run


def test_what_is_kept_is_scaled_and_the_rest_is_zero() -> None:
    x = np.random.default_rng(0).uniform(1, 2, (99, 101)).astype(np.float32)
    arrays = [x, np.array(0.25, np.float32), np.array(True)]
    y, mask = run(node_of("Dropout", arrays, version=13, outputs=2, constants=(1, 2)), arrays).arrays
    np.testing.assert_allclose(y, np.where(mask, x / 0.75, 0), rtol=1e-6)
    assert abs(mask.mean() - 0.75) < 0.02


def test_half_width_where_the_processor_has_it() -> None:
    x = np.random.default_rng(0).uniform(1, 2, (99, 101)).astype(ml_dtypes.bfloat16)
    arrays = [x, np.array(0.25, np.float32), np.array(True)]
    node = node_of("Dropout", arrays, version=22, outputs=2, constants=(1, 2))
    if not BACKEND.supports(node):
        pytest.skip("no kernel for half width on this processor")
    y, mask = run(node, arrays).arrays
    expected = np.where(mask, x.astype(np.float32) / 0.75, 0)
    np.testing.assert_allclose(y.astype(np.float32), expected, rtol=2.0**-7)
