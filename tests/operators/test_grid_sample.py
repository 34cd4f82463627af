"""What GridSample and AffineGrid refuse, and points that are not in any grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toolkit.operators.record import lookup
from toolkit.operators.standard.grid_sample import affine_grid, grid_sample

IMAGE = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
GRID = np.zeros((1, 2, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("grid", "attributes", "message"),
    [
        (GRID, {"mode": "area"}, "mode must be one of nearest, linear, bilinear, cubic, bicubic, got 'area'"),
        (GRID, {"padding_mode": "wrap"}, "padding_mode must be one of zeros, border, reflection, got 'wrap'"),
        (np.zeros((1, 2, 2, 3), np.float32), {}, "must hold 2 coordinates, got 3"),
    ],
)
def test_what_does_not_fit_is_refused(grid: np.ndarray, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid_sample(IMAGE, grid, **attributes)


def inferred(operator: str, types: list[Any], constants: list[Any]) -> Any:
    """What the shape rule of an operator says."""
    record = lookup("", operator, 22)
    assert record is not None and record.infer is not None
    return record.infer(types, {}, constants)


def test_shapes_are_checked_before_anything_runs() -> None:
    float32 = np.dtype(np.float32)
    with pytest.raises(ValueError, match=r"must be \(batch, places..., coordinates\)"):
        inferred("GridSample", [(float32, (1, 1, 3, 4)), (float32, (2, 2, 2, 2))], [None, None])
    with pytest.raises(ValueError, match=r"theta must be \(batch, 2, 3\)"):
        inferred("AffineGrid", [(float32, (1, 3, 3)), (np.dtype(np.int64), (4,))], [None, np.array([1, 1, 2, 2])])


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_points_without_a_place_do_no_harm(mode: str, padding_mode: str) -> None:
    grid = np.array([np.nan, np.inf, -np.inf, 1e30], np.float32).reshape(1, 2, 1, 2)
    with np.errstate(invalid="ignore"):
        assert grid_sample(IMAGE, grid, mode=mode, padding_mode=padding_mode).shape == (1, 1, 2, 1)


def test_one_row_of_a_reflecting_grid_is_that_row() -> None:
    row = IMAGE[:, :, :1]
    grid = np.array([[-1.0, -3], [1, 5]], np.float32).reshape(1, 2, 1, 2)
    found = grid_sample(row, grid, padding_mode="reflection", align_corners=1)
    np.testing.assert_allclose(found.reshape(-1), [0, 3])


def test_an_identity_samples_the_image_itself() -> None:
    theta = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)
    for corners in (0, 1):
        grid = affine_grid(theta, np.array(IMAGE.shape), align_corners=corners)
        np.testing.assert_allclose(grid_sample(IMAGE, grid, align_corners=corners), IMAGE, atol=1e-5)
