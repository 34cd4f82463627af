"""Products of bytes add up exactly, and are taken on processors alone that do so."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.backends.onednn.driver import BACKEND, node_of, run
from tests.cases.quantized_bytes import CASES
from tests.support.case import Case
from tests.support.interpret import apply
from tests.support.rows import each_row
from toolkit.backends.onednn.memory import channels_last
from toolkit.compiler.program import Node

WITHOUT = """
from tests.backends.onednn.test_quantized_bytes import BACKEND, CASES, node
assert not BACKEND.multiplies_bytes
assert not any(BACKEND.supports(node(case, 3)) for case in CASES if case.operator != "Regrid")
"""
needs_bytes = pytest.mark.skipif(not BACKEND.multiplies_bytes, reason="this processor has no dot products of bytes")


def node(case: Case, batch: int) -> Node:
    """The node of a row, whose inputs are known but for the bytes."""
    return node_of(
        case.operator, case.arrays(batch), case.bound_attributes(batch), domain=case.domain, constants=(1, 2, 3)
    )


@needs_bytes
@each_row(CASES, (1, 3))
def test_the_bytes_of_the_reference(case: Case, batch: int) -> None:
    arrays = case.arrays(batch)
    made = run(node(case, batch), arrays)
    expected = apply(case.domain, case.operator, case.version, arrays, case.bound_attributes(batch))[0]
    assert made.y.dtype == expected.dtype
    np.testing.assert_allclose(made.y.astype(float), expected.astype(float), rtol=1e-6, atol=1e-4)
    assert case.operator == "Regrid" or "vnni" in made.kernel.name or "amx" in made.kernel.name


@needs_bytes
def test_the_largest_sums_do_not_saturate() -> None:
    x = np.full((1, 4096), 255, np.uint8)
    weight, one = np.full((4096, 16), 127, np.int8), np.ones(1, np.float32)
    made = run(
        node_of("ByteMatMul", [x, weight, None, one], domain="toolkit", constants=(1, 3)), [x, weight, None, one]
    )
    assert (made.y == 255 * 127 * 4096).all()


def test_other_processors_have_none() -> None:
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, env=limited)


@pytest.mark.parametrize("zero", [0, 131])
@pytest.mark.parametrize("is_laid", [False, True], ids=["rows", "channels last"])
def test_on_and_off_a_grid(zero: int, is_laid: bool) -> None:
    x = np.random.default_rng(0).uniform(-9, 9, (3, 5, 7, 6)).astype(np.float32)
    grid = np.float32(0.03125).reshape(()), np.asarray(zero, np.uint8)
    on = node_of("QuantizeLinear", [x, *grid], version=13, constants=(2,))
    lying = {0: channels_last(x.dtype, x.shape)} if is_laid else {}
    made = run(on, [x, *grid], lying=lying)
    expected = apply("", "QuantizeLinear", 13, [x, *grid], {})[0]
    np.testing.assert_array_equal(made.y, expected)
    assert made.layouts[0] is not None and made.layouts[0].is_plain != is_laid
    off = node_of("DequantizeLinear", [expected, *grid], version=13, constants=(2,))
    lying = {0: channels_last(expected.dtype, x.shape)} if is_laid else {}
    made = run(off, [expected, *grid], lying=lying)
    np.testing.assert_array_equal(made.y, apply("", "DequantizeLinear", 13, [expected, *grid], {})[0])
    assert made.layouts[0] is not None and made.layouts[0].is_plain != is_laid


def test_the_maximum_of_bytes() -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 16, 9, 8)).astype(np.uint8)
    settings = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    made = run(node_of("MaxPool", [x], settings, version=12), [x], lying={0: channels_last(x.dtype, x.shape)})
    np.testing.assert_array_equal(made.y, apply("", "MaxPool", 12, [x], settings)[0])
    assert not made.kernel.name.startswith("ref")
