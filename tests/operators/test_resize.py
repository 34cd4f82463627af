"""What Resize refuses, and corners that case rows cannot say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.interpret import apply
from toolkit.operators.standard.interpolation import Sampling, Stretch, taps
from toolkit.operators.standard.resize import resize

IMAGE = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
ONES = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("arguments", "attributes", "message"),
    [
        ((None, ONES, np.array([1, 1, 2, 2])), {}, "exactly one of scales and sizes"),
        ((None, None, None), {}, "exactly one of scales and sizes"),
        ((None, np.ones(3, np.float32)), {}, "must hold 4 numbers, got 3"),
        ((None, -ONES), {}, "scales must be positive"),
        ((None, None, np.array([1, 1, -2, 2])), {}, "sizes must be 0 or more"),
        ((None, None, np.array([1, 1, 2, 2])), {"keep_aspect_ratio_policy": "any"}, "keep_aspect_ratio_policy must be"),
        ((None, ONES), {"mode": "area"}, "mode must be one of nearest, linear, cubic, got 'area'"),
        ((None, ONES), {"coordinate_transformation_mode": "x"}, "coordinate_transformation_mode must be one of"),
        ((None, ONES), {"nearest_mode": "x"}, "nearest_mode must be one of"),
        ((None, ONES), {"antialias": 1}, "antialias needs mode linear or cubic"),
        ((None, ONES), {"coordinate_transformation_mode": "tf_crop_and_resize"}, "requires a roi of 8 numbers"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple[Any, ...], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resize(IMAGE, *arguments, **attributes)


def test_axes_without_elements_cannot_be_resized() -> None:
    with pytest.raises(ValueError, match="without elements"):
        resize(np.zeros((1, 0), np.float32), None, None, np.array([1, 3]))
    assert resize(np.zeros((2, 3), np.float32), None, None, np.array([2, 0])).shape == (2, 0)


def test_upsample_1_is_for_images() -> None:
    with pytest.raises(ValueError, match=r"must be \(batch, channels, height, width\), got 2 axes"):
        apply("", "Upsample", 1, [np.zeros((2, 2), np.float32)], {"height_scale": 2.0, "width_scale": 2.0})


def test_infinity_stays_where_it_is() -> None:
    image = IMAGE.copy()
    image[0, 0, 0, 0] = np.inf
    assert np.isfinite(resize(image, None, None, np.array([1, 1, 8, 8]), mode="linear")[0, 0, 4:, 4:]).all()


def test_an_axis_that_keeps_its_elements_has_no_taps() -> None:
    assert taps(Sampling("cubic"), Stretch(5, 5, 1.0)) is None


def test_text_is_resized_by_copies() -> None:
    words = np.array([["a", "b"]], dtype=object)
    assert resize(words, None, np.array([2, 2], np.float32)).tolist() == [["a", "a", "b", "b"]] * 2


def test_integers_are_rounded_and_saturated() -> None:
    edge = np.array([[0, 255, 255, 0]], np.uint8)
    wide = resize(edge, None, None, np.array([1, 8]), mode="cubic")
    assert wide.dtype == np.uint8
    assert wide[0, 3:5].tolist() == [255, 255]
