"""Minimal filtering is a convolution: exactly in exact arithmetic, and nearly in float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pytest

from toolkit.backends.native.winograd.strided import Spread, Strided
from toolkit.backends.native.winograd.tiles import FILTERINGS, HALVES, Tiles
from toolkit.backends.native.winograd.transforms import Filtering, Scheme, in_both_axes

ALL = [filtering for found in FILTERINGS.values() for filtering in found]


def _filtered(scheme: Scheme, windows: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Sums over the last axis but one of windows (size, size, channels, n) by filters (taps, taps, channels, n)."""
    seen = in_both_axes(scheme.window, [list(row) for row in windows])
    factors = in_both_axes(scheme.filter, [list(row) for row in filters])
    assert (len(seen), len(factors)) == (scheme.size, scheme.filters)
    sums = [[np.zeros_like(windows[0, 0, 0])] * scheme.sums for _ in range(scheme.sums)]
    places = [phase.product(at) for phase in scheme.phases for at in range(phase.products)]
    for down, across in product(places, repeat=2):
        (row, column), (top, left), (high, wide) = zip(down, across, strict=True)
        added = (seen[row][column] * factors[top][left]).sum(-2, dtype=windows.dtype)
        sums[high][wide] = sums[high][wide] + added
    return np.array(in_both_axes(scheme.result, sums))


def _convolved(
    scheme: Scheme, windows: np.ndarray, filters: np.ndarray, *, step: int = 1, apart: int = 1
) -> np.ndarray:
    """The same as it is written: windows begin ``step`` positions from each other, taps are ``apart``."""
    lines = [slice(at * step, at * step + scheme.taps * apart, apart) for at in range(scheme.outputs)]
    return np.array([[(windows[row, column] * filters).sum((0, 1, 2)) for column in lines] for row in lines])


def _spread(scheme: Scheme, windows: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Of filters that are read backwards, with zeros in front of each number: what their products add up to."""
    wide = np.zeros((2 * len(windows) + 2, 2 * len(windows) + 2, *windows.shape[2:]), windows.dtype)
    wide[1:-1:2, 1:-1:2] = windows
    return _convolved(scheme, wide, filters)


def _random(scheme: Scheme, channels: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = (scheme.size, scheme.size), (scheme.taps, scheme.taps)
    windows, filters = (random.standard_normal((*shape, channels, 200)) for shape in shapes)
    return windows, filters


Way = Callable[[Scheme, np.ndarray, np.ndarray], np.ndarray]
OF_STRIDES: list[tuple[Scheme, Way]] = [
    way
    for pairs in HALVES
    for way in (
        (Strided(pairs), partial(_convolved, step=2)),
        (Spread(pairs), _spread),
        (Strided(pairs).swapped, partial(_convolved, apart=2)),
    )
]
OTHERS: list[tuple[Scheme, Way]] = [
    (ALL[2].swapped, _convolved),
    (Filtering(3, 4, (2 / 3, 3 / 2)), _convolved),
    (Filtering(6, 3, (0.5, 1.0, 2.0)), _convolved),
    (Strided((0.5, 1.2, 2.0)), partial(_convolved, step=2)),
]
SERVED: list[tuple[Scheme, Way]] = [*((item, _convolved) for item in ALL), *OF_STRIDES]


def _names(ways: list[tuple[Scheme, Way]]) -> list[str]:
    return [f"{type(scheme).__name__}({scheme.outputs},{scheme.taps})" for scheme, _ in ways]


@pytest.mark.parametrize(("scheme", "way"), [*SERVED, *OTHERS], ids=_names([*SERVED, *OTHERS]))
def test_is_exact(scheme: Scheme, way: Way) -> None:
    given = _random(scheme, 3)
    np.testing.assert_allclose(_filtered(scheme, *given), way(scheme, *given), rtol=0, atol=1e-11)


@pytest.mark.parametrize(("scheme", "way"), SERVED, ids=_names(SERVED))
def test_rounds_little_more_than_sums_do(scheme: Scheme, way: Way) -> None:
    most = 6 if scheme.size == 8 else 2.5  # the most points that are served
    given = _random(scheme, 64)
    exact = way(scheme, *given)
    rounded = [array.astype(np.float32) for array in given]
    errors = [np.sqrt(np.mean((found(scheme, *rounded) - exact) ** 2)) for found in (_filtered, way)]
    assert errors[0] < most * errors[1]


@pytest.mark.parametrize("pairs", HALVES)
def test_windows_two_positions_apart_take_five_products_for_six(pairs: tuple[float, ...]) -> None:
    strided = Strided(pairs)
    for scheme in (strided, Spread(pairs), strided.swapped):
        assert 6 * sum(phase.products for phase in scheme.phases) <= 5 * 3 * strided.outputs


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
