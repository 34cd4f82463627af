"""Filters seen at all points, in panels, against what the transforms do to arrays."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from tests.backends.native.compiled import run
from toolkit.backends import onednn
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.tile import width
from toolkit.backends.native.winograd.filter_functions import filter_function, whole_filter_function
from toolkit.backends.native.winograd.tiles import FILTERINGS
from toolkit.backends.native.winograd.transforms import Filtering, in_both_axes

pytestmark = pytest.mark.skipif(not onednn.available(), reason=f"oneDNN: {onednn.unavailable_reason()}")

FLOAT32, HALF = np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)
LINE = 64  # bytes, at which panels begin
everything = pytest.mark.parametrize(
    ("taps", "is_backwards", "given", "made"),
    [
        (3, False, FLOAT32, FLOAT32),
        (3, True, FLOAT32, FLOAT32),
        (5, False, FLOAT32, FLOAT32),
        (5, True, FLOAT32, FLOAT32),
        (3, False, HALF, HALF),
        (3, True, FLOAT32, HALF),
    ],
)


def _made(
    function: Callable[..., str], weight: np.ndarray, filtering: Filtering, made: np.dtype, begin: int, end: int
) -> np.ndarray:
    """The filters of a weight (outputs, channels, taps, taps), lying like that or turned: (points, units, outputs)."""
    is_backwards = not weight.flags.c_contiguous
    outputs, channels = weight.shape[:2]
    panels, lanes, together = -(-outputs // width()), compiler().lanes(FLOAT32), FLOAT32.itemsize // made.itemsize
    units = panels * -(-channels // lanes) * lanes // together
    room = np.zeros(filtering.size**2 * units * width() * FLOAT32.itemsize + LINE, np.uint8)
    at = -room.ctypes.data % LINE
    found = room[at : at + room.size - LINE].view(made).reshape(filtering.size**2, units, width(), together)
    apart = [step // weight.itemsize for step in weight.strides[:2]]
    code = Code(2)
    name = function(filtering, is_backwards, weight.dtype, made)
    code.invoke(name, code.places, [code.index(item) for item in (begin, end, outputs, channels, *apart, units)])
    run(code, [weight, found])
    found = np.moveaxis(found, 3, 2).reshape(filtering.size**2, panels, -1, width())
    return np.moveaxis(found, 1, 2).reshape(filtering.size**2, units * together // panels, -1).astype(FLOAT32)


def _weight(outputs: int, channels: int, taps: int, is_backwards: bool, dtype: np.dtype) -> np.ndarray:
    shape = (channels, outputs) if is_backwards else (outputs, channels)
    weight = np.random.default_rng(0).standard_normal((*shape, taps, taps)).astype(dtype)
    return weight.swapaxes(0, 1) if is_backwards else weight


def _check(found: np.ndarray, weight: np.ndarray, filtering: Filtering, made: np.dtype) -> None:
    (outputs, channels), taps = weight.shape[:2], filtering.taps
    read = weight.astype(FLOAT32) if weight.flags.c_contiguous else weight.astype(FLOAT32)[..., ::-1, ::-1]
    seen = in_both_axes(filtering.filter, [[read[..., row, column].T for column in range(taps)] for row in range(taps)])
    tolerance = 1e-5 if made == FLOAT32 else 1e-2
    expected = np.stack([value for line in seen for value in line])
    np.testing.assert_allclose(found[:, :channels, :outputs], expected, rtol=tolerance, atol=tolerance)
    assert not found[:, channels:].any()
    assert not found[:, :, outputs:].any()


@everything
def test_filters_that_fill_neither_panels_nor_vectors(
    taps: int, is_backwards: bool, given: np.dtype, made: np.dtype
) -> None:
    weight, filtering = _weight(width() + 7, 27, taps, is_backwards, given), FILTERINGS[taps][0]
    lanes = compiler().lanes(FLOAT32)
    units = 2 * -(-27 // lanes) * lanes * made.itemsize // FLOAT32.itemsize
    _check(_made(filter_function, weight, filtering, made, 0, units), weight, filtering, made)


@everything
def test_filters_that_fill_both(taps: int, is_backwards: bool, given: np.dtype, made: np.dtype) -> None:
    vectors = 3
    channels = vectors * compiler().lanes(FLOAT32)
    weight, filtering = _weight(2 * width(), channels, taps, is_backwards, given), FILTERINGS[taps][0]
    _check(_made(whole_filter_function, weight, filtering, made, 0, 2 * vectors), weight, filtering, made)
