"""What transforms and windows refuse, and windows of no and of one sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toolkit.operators.record import lookup
from toolkit.operators.standard.signal import discrete_fourier_transform, short_time_fourier_transform
from toolkit.operators.standard.window_functions import infer_window, mel_weight_matrix

REAL, COMPLEX = np.ones((2, 6, 1), np.float32), np.ones((2, 6, 2), np.float32)


def whole(number: Any) -> np.ndarray:
    return np.asarray(number, dtype=np.int64)


def test_the_axis_of_parts_is_not_transformed() -> None:
    with pytest.raises(ValueError, match="axis 2 holds real and imaginary parts"):
        discrete_fourier_transform(REAL, None, whole(-1))


def test_parts_are_one_or_two() -> None:
    with pytest.raises(ValueError, match=r"the last axis must hold 1 \(real\) or 2 \(real, imaginary\) numbers"):
        discrete_fourier_transform(np.ones((2, 6, 3)))


def test_a_one_sided_spectrum_is_of_a_real_signal() -> None:
    with pytest.raises(ValueError, match="a one-sided spectrum exists for real signals only"):
        discrete_fourier_transform(COMPLEX, onesided=1)
    with pytest.raises(ValueError, match="the one-sided inverse transform takes a complex spectrum"):
        discrete_fourier_transform(REAL, onesided=1, inverse=1)


def test_a_transform_has_a_length() -> None:
    with pytest.raises(ValueError, match="the length of the transform must be positive, got 0"):
        discrete_fourier_transform(REAL, whole(0))


def test_frames_fit_into_the_signal() -> None:
    with pytest.raises(ValueError, match="frames must be 1 to 6 long and 1 or more apart, got 7 and 1"):
        short_time_fourier_transform(REAL, whole(1), None, whole(7))
    with pytest.raises(ValueError, match="the window must be as long as a frame: 4, got 3"):
        short_time_fourier_transform(REAL, whole(1), np.ones(3, np.float32), whole(4))


@pytest.mark.parametrize("name", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_windows_of_nothing_and_of_one_sample(name: str) -> None:
    record = lookup("", name, 17)
    assert record is not None and record.reference is not None
    assert record.reference(whole(0)).shape == (0,)
    np.testing.assert_array_equal(record.reference(whole(1), periodic=0), [1])


def test_a_window_has_a_length() -> None:
    with pytest.raises(ValueError, match="size must be 0 or more, got -1"):
        infer_window([], {}, [whole(-1)])


def test_bands_lie_in_the_spectrum() -> None:
    with pytest.raises(ValueError, match="the edges must lie in the spectrum, from 0 to 4000"):
        mel_weight_matrix(whole(8), whole(64), whole(8000), np.float32(0), np.float32(20000))
    with pytest.raises(ValueError, match="the sample rate must be positive, got 0"):
        mel_weight_matrix(whole(8), whole(64), whole(0), np.float32(0), np.float32(100))
