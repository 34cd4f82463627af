"""What NonMaxSuppression refuses, and boxes without area."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.operators.standard.detection import non_max_suppression

BOXES = np.array([[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 3], [2, 2, 2, 3]]], np.float32)
SCORES = np.array([[[0.5, 0.9, 0.7, 0.1]]], np.float32)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"boxes must be \(batch, boxes, 4\)"):
        non_max_suppression(BOXES, SCORES[:, :, :3])


def test_a_threshold_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"iou_threshold must lie in \[0, 1\], got 2"):
        non_max_suppression(BOXES, SCORES, np.array([2]), np.array([2.0], np.float32))


def test_boxes_without_area_suppress_nothing() -> None:
    found = non_max_suppression(BOXES, SCORES, np.array([4]), np.array([0.5], np.float32))
    assert found[:, 2].tolist() == [1, 2, 3]
