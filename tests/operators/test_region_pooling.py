"""What RoiAlign and MaxRoiPool refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.interpret import apply
from toolkit.operators.record import lookup

IMAGE = np.zeros((2, 1, 4, 4), np.float32)
ROIS = np.array([[0, 0, 2, 2]], np.float32)


@pytest.mark.parametrize(
    ("images", "attributes", "message"),
    [
        ([0], {"mode": "sum"}, "mode must be avg or max, got 'sum'"),
        ([0], {"coordinate_transformation_mode": "x"}, "must be half_pixel or output_half_pixel, got 'x'"),
        ([2], {}, r"batch_indices must lie in \[0, 1\]"),
    ],
)
def test_align_refuses(images: list[int], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply("", "RoiAlign", 16, [IMAGE, ROIS, np.array(images)], attributes)


def test_maximum_refuses_an_image_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"must be that of an image, in \[0, 1\]"):
        apply("", "MaxRoiPool", 1, [IMAGE, np.array([[2, 0, 0, 1, 1]], np.float32)], {"pooled_shape": [1, 1]})


@pytest.mark.parametrize(
    ("operator", "shapes", "attributes", "message"),
    [
        ("RoiAlign", [(2, 1, 4, 4), (3, 4), (2,)], {}, r"rois \(count, 4\), batch_indices \(count,\)"),
        ("MaxRoiPool", [(2, 1, 4, 4), (3, 4)], {"pooled_shape": [1, 1]}, r"rois \(count, 5\)"),
        ("MaxRoiPool", [(2, 1, 4, 4), (3, 5)], {"pooled_shape": [1, 0]}, "two positive pooled sizes"),
    ],
)
def test_shapes_are_checked(operator: str, shapes: list[Any], attributes: dict[str, Any], message: str) -> None:
    record = lookup("", operator, 22)
    assert record is not None and record.infer is not None
    types = [(np.dtype(np.float32), shape) for shape in shapes]
    with pytest.raises(ValueError, match=message):
        record.infer(types, attributes, [None] * len(types))
