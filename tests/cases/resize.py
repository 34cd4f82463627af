"""Cases of ``operators.standard.resize``; the gradients of Resize are judged as the transpose of the forward loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from tests.support.case import Case, Given, constant, integers, uniform, variable

X = uniform("N", 2, 4, 5)
EMPTY = constant([], "float32")
REFERENCE = "onnx.reference"  # where onnxruntime has no kernel, or departs from the specification


def to(sizes: list[int], note: str, x: Given = X, version: int = 19, judge: Any = None, **attributes: Any) -> Case:
    """A Resize to given sizes of the spatial axes."""
    content = constant(lambda batch: [batch, 2, *sizes])
    before = [None, None] if version > 11 else [EMPTY, EMPTY]  # version 11 requires what it does not read
    return Case("Resize", [x, *before, content], attributes, version=version, note=note, judge=judge)


def by(scales: list[float], note: str, x: Given = X, version: int = 19, judge: Any = None, **attributes: Any) -> Case:
    """A Resize by given scales of all axes."""
    given = constant(scales, "float32")
    return Case("Resize", [x, None, given], attributes, version=version, note=note, judge=judge)


def old(operator: str, version: int, scales: list[float], note: str, x: Given = X, **attributes: Any) -> Case:
    """Resize-10 or Upsample-9."""
    return Case(operator, [x, constant(scales, "float32")], attributes, version=version, note=note)


def judge_image(x: np.ndarray, *, height_scale: float, width_scale: float, mode: str = "nearest") -> np.ndarray:
    """Upsample-1, pixel by pixel."""
    height, width = int(x.shape[2] * height_scale), int(x.shape[3] * width_scale)
    y = np.zeros((*x.shape[:2], height, width), x.dtype)
    for row, column in product(range(height), range(width)):
        top, left = row / height_scale, column / width_scale
        if mode == "nearest":
            y[:, :, row, column] = x[:, :, int(top), int(left)]
            continue
        for i, j in product(range(x.shape[2] + 1), range(x.shape[3] + 1)):
            weight = max(1 - abs(top - i), 0) * max(1 - abs(left - j), 0)
            y[:, :, row, column] += weight * x[:, :, min(i, x.shape[2] - 1), min(j, x.shape[3] - 1)]
    return y


LINEAR: dict[str, Any] = {
    "mode": "linear",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
    "cubic_coeff_a": -0.75,
    "exclude_outside": 0,
    "antialias": 0,
    "extrapolation_value": 0.5,
    "axes": [1, 2],
    "scales": [2.0, 0.5],
    "sizes": [6, 2],
}


def judge_linear(x: np.ndarray, **_: Any) -> np.ndarray:
    """The form ``LINEAR`` of three rows and four columns, element by element."""
    y = np.zeros((x.shape[0], 6, 2), x.dtype)
    for row, column in product(range(6), range(2)):
        below = min(row // 2 + 1, 2)
        upper, lower = x[:, row // 2, 2 * column], x[:, below, 2 * column]
        y[:, row, column] = (upper + lower) / 2 if row % 2 else upper
    return y


def judge_linear_gradient(g: np.ndarray, *, input_shape: list[int], **attributes: Any) -> np.ndarray:
    """The transpose of ``judge_linear``, one unit vector at a time."""
    dx = np.zeros(input_shape, g.dtype)
    for at in np.ndindex(*input_shape):
        unit = np.zeros(input_shape, g.dtype)
        unit[at] = 1
        dx[at] = (judge_linear(unit) * g).sum()
    return dx


HALF_PIXEL_LIKE = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
ROI = constant([0.0, 0, 0.1, 0.3, 1, 1, 0.8, 0.6], "float32")
WIDE_ROI = [0.0, 0, -0.2, 0.3, 1, 1, 0.8, 1.4]

CASES = [
    Case("Upsample", [X], {"height_scale": 2.0, "width_scale": 1.5}, version=1, judge=judge_image, note="nearest"),
    Case(
        "Upsample",
        [X],
        {"height_scale": 2.0, "width_scale": 2.0, "mode": "bilinear"},
        version=1,
        judge=judge_image,
        note="bilinear",
    ),
    Case("Upsample", [X], {"scales": [1.0, 1.0, 2.0, 3.0]}, version=7, note="nearest"),
    Case("Upsample", [X], {"scales": [1.0, 1.0, 2.0, 1.6], "mode": "linear"}, version=7, note="linear"),
    old("Upsample", 9, [1, 1, 2.5, 2], "nearest"),
    old("Upsample", 9, [1, 1, 2.5, 2], "linear", mode="linear"),
    old("Resize", 10, [1, 1, 2, 0.6], "nearest"),
    old("Resize", 10, [1, 1, 0.6, 2.3], "linear", mode="linear"),
    *(
        to([7, 3], f"{mode} {coordinates}", mode=mode, coordinate_transformation_mode=coordinates)
        for mode, coordinates in product(("nearest", "linear", "cubic"), HALF_PIXEL_LIKE)
    ),
    *(
        by([1, 1, 1.5, 0.8], f"by {mode} {coordinates}", mode=mode, coordinate_transformation_mode=coordinates)
        for mode, coordinates in product(("nearest", "linear", "cubic"), HALF_PIXEL_LIKE)
        if coordinates != "align_corners"
    ),
    *(
        to([6, 3], f"nearest {nearest}", x=uniform("N", 2, 4, 6), nearest_mode=nearest)
        for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    to([8, 3], "nearest asymmetric ceil", coordinate_transformation_mode="asymmetric", nearest_mode="ceil"),
    to(
        [8, 3], "tf half pixel", version=11, coordinate_transformation_mode="tf_half_pixel_for_nn", nearest_mode="floor"
    ),
    by(
        [1, 1, 0.6, 0.6],
        "align corners cut",
        mode="linear",
        judge=REFERENCE,
        coordinate_transformation_mode="align_corners",
    ),
    to([7, 3], "cubic exclude", mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1, version=13),
    to([3, 2], "linear antialias", mode="linear", antialias=1, version=18),
    to([3, 2], "cubic antialias", mode="cubic", antialias=1, version=18),
    to([2, 9], "cubic antialias exclude", mode="cubic", antialias=1, exclude_outside=1),
    to([1, 1], "pytorch one pixel", mode="cubic", coordinate_transformation_mode="pytorch_half_pixel"),
    to([4, 5], "same sizes", mode="linear", version=11),
    Case(
        "Resize",
        [uniform("N", 2, 4, 4, 3), None, constant([1, 1, 1.5, 0.5, 2.0], "float32")],
        {"mode": "linear"},
        note="three axes",
    ),
    Case(
        "Resize",
        [uniform("N", 7, 6), None, None, constant([3, 4])],
        {"mode": "linear", "axes": [-1, 1]},
        version=18,
        note="axes",
    ),
    Case(
        "Resize",
        [X, None, None, constant([7, 9])],
        {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"},
        note="not larger",
    ),
    Case(
        "Resize",
        [X, None, None, constant([7, 9])],
        {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"},
        version=18,
        note="not smaller",
    ),
    Case(
        "Resize",
        [X, ROI, EMPTY, constant(lambda n: [n, 2, 3, 4])],
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"},
        version=11,
        note="crop",
    ),
    Case(
        "Resize",
        [X, variable(WIDE_ROI, "float32"), None, constant(lambda n: [n, 2, 6, 1])],
        {"mode": "cubic", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 3.0},
        version=13,
        note="crop beyond",
        differentiable=[0],
    ),
    Case(
        "Resize",
        [X, constant([-0.25, 0.3, 0.8, 1.4], "float32"), None, constant([6, 7])],
        {"axes": [2, 3], "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 3.0},
        note="crop nearest",
        judge=REFERENCE,
    ),
    Case("Resize", [uniform("N", 1, 4, 4, dtype="float16"), None, constant([1, 1, 2, 2], "float32")], note="float16"),
    Case(
        "Resize",
        [integers("N", 2, 4, 5, low=0, high=255, dtype="uint8"), None, None, constant([7, 3])],
        {"mode": "cubic", "axes": [2, 3]},
        note="uint8",
        judge=REFERENCE,
    ),
    Case(
        "Resize",
        [X, None, variable([1, 1, 2, 2], "float32")],
        is_data_dependent=True,
        note="computed",
        differentiable=[],
    ),
    Case("Interpolation", [uniform("N", 3, 4)], LINEAR, version=1, domain="toolkit", judge=judge_linear),
    Case(
        "InterpolationGradient",
        [uniform("N", 6, 2)],
        lambda batch: {**LINEAR, "input_shape": [batch, 3, 4]},
        version=1,
        domain="toolkit",
        judge=judge_linear_gradient,
    ),
]
