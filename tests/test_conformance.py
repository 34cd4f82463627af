"""ONNX's own conformance suite, run on the toolkit through the interface that it is written for.

Six tests of Bernoulli compare random draws with those of another generator: nobody can pass them. What Bernoulli
promises (its distribution) is tested with the other random operators.
"""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx.backend.test

import importers.onnx.backend

CANNOT_BE_PASSED = "test_bernoulli"


class StrictSuite(onnx.backend.test.BackendTest):
    """The suite with a comparison that also sees sequences that are too short, and kinds of values that differ."""

    @classmethod
    def assert_similar_outputs(
        cls, ref_outputs: Sequence[Any], outputs: Sequence[Any], rtol: float, atol: float, model_dir: str | None = None
    ) -> None:
        assert len(outputs) == len(ref_outputs)
        for expected, found in zip(ref_outputs, outputs, strict=True):
            _assert_similar(expected, found, rtol, atol)


def _assert_similar(expected: Any, found: Any, rtol: float, atol: float) -> None:
    if isinstance(expected, (list, tuple)):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for one, other in zip(expected, found, strict=True):
            _assert_similar(one, other, rtol, atol)
        return
    if expected is None:
        assert found is None
        return
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind in "OSU":
        np.testing.assert_array_equal(found, expected)
        return
    rtol = max(rtol, 2**-6) if expected.dtype.name == "bfloat16" else rtol
    wide = np.float64 if expected.dtype.kind in "fV" else expected.dtype
    np.testing.assert_allclose(found.astype(wide), expected.astype(wide), rtol=rtol, atol=atol)


def _on_cpu(case: type[unittest.TestCase]) -> type[unittest.TestCase]:
    """The class with those of its tests that are for the CPU and can be passed."""
    for name in [name for name in vars(case) if name.startswith("test_")]:
        if not name.endswith("_cpu") or name.startswith(CANNOT_BE_PASSED):
            delattr(case, name)
    return case


for _name, _case in StrictSuite(importers.onnx.backend, __name__).test_cases.items():
    globals()[_name] = _on_cpu(_case)
