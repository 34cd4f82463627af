"""Minimal filtering is a convolution: exactly in exact arithmetic, and nearly in float32."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.backends.native.winograd.strided import Spread, Strided
from toolkit.backends.native.winograd.tiles import FILTERINGS, HALVES, Tiles
from toolkit.backends.native.winograd.transforms import Filtering, Scheme, in_both_axes

ALL = [filtering for found in FILTERINGS.values() for filtering in found]


def _filtered(filtering: Filtering, windows: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Sums over the last axis but one of windows (size, size, channels, n) by filters (taps, taps, channels, n)."""
    seen = in_both_axes(filtering.window, [list(row) for row in windows])
    factors = in_both_axes(filtering.filter, [list(row) for row in filters])
    products = [
        [(one * other).sum(-2, dtype=one.dtype) for one, other in zip(*rows, strict=True)]
        for rows in zip(seen, factors, strict=True)
    ]
    return np.array(in_both_axes(filtering.result, products))


def _convolved(filtering: Filtering, windows: np.ndarray, filters: np.ndarray) -> np.ndarray:
    outputs, taps = range(filtering.outputs), filtering.taps
    return np.array(
        [
            [(windows[row : row + taps, column : column + taps] * filters).sum((0, 1, 2)) for column in outputs]
            for row in outputs
        ]
    )


def _line(scheme: Scheme, window: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Results along one axis, of as many windows and filters as there are columns, by ``phases``."""
    seen, factors = scheme.window(list(window)), scheme.filter(list(taps))
    assert (len(seen), len(factors)) == (scheme.size, scheme.filters)
    sums: list[np.ndarray] = [np.zeros_like(window[0])] * scheme.sums
    for phase in scheme.phases:
        for at in range(phase.products):
            window, factor, total = phase.product(at)
            sums[total] = sums[total] + seen[window] * factors[factor]
    return np.array(scheme.result(sums))


def _strided(scheme: Scheme, window: np.ndarray, taps: np.ndarray) -> np.ndarray:
    return np.array([(window[2 * at : 2 * at + 3] * taps).sum(0) for at in range(scheme.outputs)])


def _gathered(scheme: Scheme, window: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Of taps that lie two positions apart: the gradient by the three that made them."""
    return np.array([(window[at : at + 2 * scheme.taps : 2] * taps).sum(0) for at in range(scheme.outputs)])


def _spread(scheme: Scheme, window: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Of taps that are read backwards, two zeros in front of each number: what their products add up to."""
    wide = np.zeros((2 * len(window) + 2, *window.shape[1:]), window.dtype)
    wide[1:-1:2] = window
    return np.array([(wide[at : at + 3] * taps).sum(0) for at in range(scheme.outputs)])


@pytest.mark.parametrize("pairs", [*HALVES, (0.5, 1.2, 2.0)])
def test_windows_two_positions_apart_are_exact(pairs: tuple[float, ...]) -> None:
    random = np.random.default_rng(0)
    strided = Strided(pairs)
    for scheme, way in ((strided, _strided), (Spread(pairs), _spread), (strided.swapped, _gathered)):
        window, taps = (random.standard_normal((size, 200)) for size in (scheme.size, scheme.taps))
        np.testing.assert_allclose(_line(scheme, window, taps), way(scheme, window, taps), rtol=0, atol=1e-12)


@pytest.mark.parametrize("pairs", HALVES)
def test_windows_two_positions_apart_take_five_products_for_six(pairs: tuple[float, ...]) -> None:
    strided = Strided(pairs)
    for scheme in (strided, Spread(pairs), strided.swapped):
        assert 6 * sum(phase.products for phase in scheme.phases) <= 5 * 3 * strided.outputs


def _random(filtering: Filtering, channels: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = (filtering.size, filtering.size), (filtering.taps, filtering.taps)
    windows, filters = (random.standard_normal((*shape, channels, 200)) for shape in shapes)
    return windows, filters


@pytest.mark.parametrize(
    "filtering",
    [*ALL, ALL[2].swapped, Filtering(3, 4, (2 / 3, 3 / 2)), Filtering(6, 3, (0.5, 1.0, 2.0))],
    ids=lambda item: f"F({item.outputs},{item.taps})",
)
def test_is_exact(filtering: Filtering) -> None:
    given = _random(filtering, 3)
    np.testing.assert_allclose(_filtered(filtering, *given), _convolved(filtering, *given), rtol=0, atol=1e-11)


@pytest.mark.parametrize("filtering", ALL, ids=lambda item: f"F({item.outputs},{item.taps})")
def test_rounds_little_more_than_sums_do(filtering: Filtering) -> None:
    most = 2.5 if filtering.size < 8 else 6
    given = _random(filtering, 64)
    exact = _convolved(filtering, *given)
    rounded = [array.astype(np.float32) for array in given]
    errors = [np.sqrt(np.mean((way(filtering, *rounded) - exact) ** 2)) for way in (_filtered, _convolved)]
    assert errors[0] < most * errors[1]


@pytest.mark.parametrize(
    ("batch", "channels", "side", "worth_while"),
    [(1, 64, 56, True), (1, 512, 7, False), (8, 512, 7, True), (1, 8, 112, False), (1, 57, 112, True)],
)
def test_tiles_must_share_the_reading_of_filters(batch: int, channels: int, side: int, worth_while: bool) -> None:
    shape = (batch, channels, side, side)
    assert Tiles.of(shape, shape, 3, (1, 1)).is_worth_while is worth_while


def test_few_tiles_are_small_ones() -> None:
    shapes = [(1, 256, side, side) for side in (6, 64)]
    found = [Tiles.of(shape, shape, 3, (1, 1)) for shape in shapes]
    large, small = FILTERINGS[3]
    assert [(item.filtering, item.total) for item in found] == [(small, 9), (large, 256)]
