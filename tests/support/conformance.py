"""ONNX's own conformance suite with a comparison that misses nothing, for one device.

Poolings are expected of ONNX's reference, which visits every window in Python: most of the time that listing the suite
would take, in every process that lists it. They are computed when their test asks for them.

Six tests of Bernoulli compare random draws with those of another generator: nobody can pass them. What Bernoulli
promises (its distribution) is tested with the other random operators.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx.backend.test
import onnx.reference  # before poolings are put off: its operators keep the real one
from onnx.reference.ops import op_pool_common

import importers.onnx.backend

CANNOT_BE_PASSED = "test_bernoulli"
PUT_OFF: dict[int, tuple[np.ndarray, Callable[[], np.ndarray]]] = {}  # by identity: an array, and what belongs in it


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
    if id(expected) in PUT_OFF:
        _, compute = PUT_OFF.pop(id(expected))
        expected[...] = compute()
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind in "OSU":
        np.testing.assert_array_equal(found, expected)
        return
    rtol = max(rtol, 2**-6) if expected.dtype.name == "bfloat16" else rtol
    wide = np.float64 if expected.dtype.kind in "fV" else expected.dtype
    np.testing.assert_allclose(found.astype(wide), expected.astype(wide), rtol=rtol, atol=atol)


def _pool_later(
    padded: np.ndarray,
    x_shape: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    out_shape: Sequence[int],
    *details: Any,
    **named: Any,
) -> np.ndarray:
    """The place for a pooling that ``op_pool_common.pool`` computes once a test compares with it."""
    place = np.zeros((*x_shape[:2], *out_shape), padded.dtype)
    PUT_OFF[id(place)] = place, partial(POOL, padded, x_shape, kernel, strides, out_shape, *details, **named)
    return place


POOL = op_pool_common.pool


def conformance_tests(module: str, device: str) -> dict[str, type[unittest.TestCase]]:
    """The suite's classes, to be defined in ``module``, with those of their tests that are for ``device``."""
    asked_once = patch.object(importers.onnx.backend, "supports_device", cache(importers.onnx.backend.supports_device))
    with asked_once, patch.object(op_pool_common, "pool", _pool_later):
        found = StrictSuite(importers.onnx.backend, module).test_cases
    for case in found.values():
        for name in [name for name in vars(case) if name.startswith("test_")]:
            if not name.endswith(f"_{device}") or name.startswith(CANNOT_BE_PASSED):
                delattr(case, name)
    return found
