"""Conditions that do not fit what they choose from."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.operators.standard.selection import compress, unique

X = np.zeros((2, 3), np.float32)


def test_a_condition_ends_where_the_axis_does() -> None:
    with pytest.raises(ValueError, match="the condition holds at 2, but there are only 2 to choose from"):
        compress(X, np.array([True, False, True]), axis=0)
    assert compress(X, np.array([True, False, False, False]), axis=0).shape == (1, 3)


def test_a_condition_is_a_vector() -> None:
    with pytest.raises(ValueError, match=r"the condition must be a vector, got shape \(1, 1\)"):
        compress(X, np.array([[True]]))


def test_the_axis_exists() -> None:
    with pytest.raises(ValueError, match=r"axis 2 must lie in \[-2, 1\]"):
        compress(X, np.array([True]), axis=2)
    with pytest.raises(ValueError, match=r"axis -3 must lie in \[-2, 1\]"):
        unique(X, axis=-3)


def test_nothing_has_no_different_elements() -> None:
    assert [item.shape for item in unique(X[:0])] == [(0,)] * 4
    assert [item.shape for item in unique(X[:0], axis=0)] == [(0, 3), (0,), (0,), (0,)]
