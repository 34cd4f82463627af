"""Sampling and resizing of images, and attention."""

from __future__ import annotations

import numpy as np

from tests.autodiff.against_torch.row import SINGLE_CONSTANTS, Row, functional, row, values


def sampled(mode: str, padding: str, corners: int, of_torch: str) -> Row:
    inputs = [values(2, 3, 4, 5), values(2, 3, 2, 2, low=-1.3, high=1.3)]
    return row(
        "GridSample",
        inputs,
        lambda x, grid: functional.grid_sample(x, grid, of_torch, padding, bool(corners)),
        mode=mode,
        padding_mode=padding,
        align_corners=corners,
        note=f"{mode} {padding} {corners}",
    )


def resized(mode: str, transformation: str, of_torch: str, corners: bool | None, to: tuple[int, int]) -> Row:
    extra = {"nearest_mode": "floor"} if mode == "nearest" else {"cubic_coeff_a": -0.75} if mode == "cubic" else {}
    return row(
        "Resize",
        [values(2, 3, 4, 5), None, None, [2, 3, *to]],
        lambda x, a, b, size: functional.interpolate(x, to, mode=of_torch, align_corners=corners),
        mode=mode,
        coordinate_transformation_mode=transformation,
        tolerance=10 * SINGLE_CONSTANTS,
        note=f"{mode} {transformation}",
        **extra,
    )


HEADS = [values(2, 4, 3, 5), values(2, 2, 6, 5), values(2, 2, 6, 4)]
attend = functional.scaled_dot_product_attention
SAMPLING = [
    *(sampled("linear", padding, corners, "bilinear") for padding in ("zeros", "border") for corners in (0, 1)),
    sampled("linear", "reflection", 1, "bilinear"),
    sampled("cubic", "zeros", 0, "bicubic"),
    sampled("cubic", "border", 1, "bicubic"),
    resized("linear", "half_pixel", "bilinear", False, (7, 9)),
    resized("linear", "align_corners", "bilinear", True, (3, 9)),
    resized("cubic", "half_pixel", "bicubic", False, (7, 9)),
    resized("cubic", "align_corners", "bicubic", True, (6, 3)),
    resized("nearest", "asymmetric", "nearest", None, (7, 9)),
    row("Upsample", [values(2, 3, 4, 5), np.array([1, 1, 2, 3], "float32")],
        lambda x, scales: functional.interpolate(x, scale_factor=(2, 3)), fixed=[1], version=9),
    row("AffineGrid", [values(2, 2, 3), [2, 3, 4, 5]],
        lambda theta, size: functional.affine_grid(theta, (2, 3, 4, 5), align_corners=True), align_corners=1),
    row("Attention", [values(2, 2, 3, 5), *(values(2, 2, 6, 5, seed=seed) for seed in (1, 2))],
        lambda q, k, v: attend(q, k, v)),
    row("Attention", HEADS, lambda q, k, v: attend(q, k, v, scale=0.3, enable_gqa=True), scale=0.3, note="grouped"),
    row("Attention", [values(2, 2, 4, 5), *(values(2, 2, 4, 5, seed=seed) for seed in (1, 2))],
        lambda q, k, v: attend(q, k, v, is_causal=True), is_causal=1, note="causal"),
    row("Attention", [values(2, 2, 3, 5), *(values(2, 2, 6, 5, seed=seed) for seed in (1, 2)), values(3, 6)],
        lambda q, k, v, bias: attend(q, k, v, bias), note="bias"),
]  # fmt: skip
