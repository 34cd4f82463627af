"""Observers: ranges of known distributions, alike whether numbers come at once or in batches."""

import numpy as np
import pytest

from tests.training.quantisation.small import random
from toolkit.errors import InputError
from toolkit.training import quantisation
from toolkit.training.quantisation.integers import KNOWN, grid, weight_scale
from toolkit.training.quantisation.observers import METHODS

NUMBERS = random(50_000)


def seen(observer, arrays, levels=256):
    for array in arrays:
        observer.observe(array)
    return observer.range(levels)


@pytest.mark.parametrize("name", METHODS)
def test_ranges_lie_within_what_occurred_and_cover_the_bulk(name):
    low, high = seen(METHODS[name](), [NUMBERS])
    assert NUMBERS.min() <= low < -2 and 2 < high <= NUMBERS.max()


@pytest.mark.parametrize("name", ["min-max", "percentile", "entropy", "mse"])
def test_batches_count_like_the_whole(name):
    whole = seen(METHODS[name](), [NUMBERS])
    parts = seen(METHODS[name](), np.array_split(np.sort(NUMBERS), 7))  # the reach has to grow on the way
    np.testing.assert_allclose(parts, whole, atol=0.25)


@pytest.mark.parametrize(("name", "levels"), [("percentile", 256), ("entropy", 256), ("mse", 16)])
def test_a_lonely_outlier_is_cut_off(name, levels):
    _, high = seen(METHODS[name](), [NUMBERS, np.float32([40.0])], levels)
    assert 2 < high < 20
    assert seen(quantisation.MinMax(), [NUMBERS, np.float32([40.0])])[1] == 40


def test_the_histogram_keeps_every_number_when_its_reach_grows():
    observer = quantisation.Percentile(100)
    for scale in (0.001, 1, 1000):
        observer.observe(NUMBERS * np.float32(scale))
    assert observer.counts.sum() == 3 * NUMBERS.size
    assert observer.range(256) == (NUMBERS.min() * 1000, NUMBERS.max() * 1000)


def test_a_percentile_is_that_of_numpy():
    low, high = seen(quantisation.Percentile(99), [NUMBERS])
    np.testing.assert_allclose([low, high], np.percentile(NUMBERS, [1, 99]), atol=0.01)


def test_the_squared_error_is_the_smallest():
    numbers = random(4000, seed=3) ** 3

    def error(low, high):
        scale, zero = grid(low, high, KNOWN["uint4"])
        numbers_on_grid = np.clip(np.rint(numbers / scale) + int(zero), 0, 15) - int(zero)
        return np.square(numbers_on_grid * scale - numbers).mean()

    observer = quantisation.MeanSquaredError()
    observer.observe(numbers)
    found = error(*observer.range(16))
    assert found < 0.7 * error(numbers.min(), numbers.max())
    assert found < 1.05 * min(error(numbers.min() * part, numbers.max() * part) for part in np.linspace(0.05, 1, 40))


def test_a_moving_average_follows():
    observer = quantisation.MovingAverage(0.5)
    for end in (2.0, 4.0):
        observer.observe(np.float32([-end, end]))
    assert observer.range(256) == (-3.0, 3.0)


def test_nothing_and_zeros_give_a_usable_grid():
    for method in METHODS.values():
        for arrays in ([], [np.zeros(0, np.float32)], [np.zeros(5, np.float32)]):
            low, high = seen(method(), arrays)
            scale, zero_point = grid(low, high, KNOWN["uint8"])
            assert scale == 1 and zero_point == 0


@pytest.mark.parametrize("name", KNOWN)
def test_grids_meet_zero_and_both_ends(name):
    integers = KNOWN[name]
    for low, high in ((-1.3, 2.7), (0.4, 5.0), (-3.0, -1.0)):
        scale, zero_point = grid(low, high, integers)
        ends = (np.array([integers.low, integers.high]) - int(zero_point)) * scale
        np.testing.assert_allclose(ends, [min(low, 0), max(high, 0)], atol=float(scale))


def test_scales_of_weights_by_channel():
    weight = np.float32([[1, -127], [0, 0], [63.5, 2]])
    np.testing.assert_array_equal(weight_scale(weight, 0, 127), np.float32([1, 1, 0.5]))
    np.testing.assert_array_equal(weight_scale(weight, 1, 127), np.float32([0.5, 1]))
    assert weight_scale(weight, None, 127) == 1 and weight_scale(weight * 0, None, 127) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: quantisation.MovingAverage(1.0), r"momentum in \[0, 1\), got 1\.0"),
        (lambda: quantisation.Percentile(40), r"above 50 and up to 100, got 40"),
    ],
)
def test_settings_that_mean_nothing(make, message):
    with pytest.raises(InputError, match=message):
        make()
