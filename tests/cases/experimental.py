"""Cases of ``toolkit.operators.standard.experimental``; no judge knows these operators any more."""

from __future__ import annotations

import numpy as np

from tests.support.case import Case, constant, uniform

X = uniform("N", 3, 5, 6)
CASES = [
    Case(
        "Affine",
        [X],
        {"alpha": 2.0, "beta": -1.0},
        version=7,
        judge=lambda x, alpha, beta: alpha * x + np.float32(beta),
    ),
    Case("Affine", [uniform("N", 4)], version=1, judge=lambda x: x, note="defaults"),
    Case("Scale", [X], {"scale": 3.0}, version=1, judge=lambda x, scale: x * np.float32(scale)),
    Case(
        "ImageScaler",
        [X],
        {"scale": 0.5, "bias": [1.0, 2.0, 3.0]},
        version=1,
        judge=lambda x, scale, bias: x * np.float32(scale) + np.float32(bias)[:, None, None],
    ),
    Case(
        "ParametricSoftplus",
        [X],
        {"alpha": 0.5, "beta": 2.0},
        version=1,
        judge=lambda x, alpha, beta: (alpha * np.log(np.exp(beta * x) + 1)).astype(x.dtype),
    ),
    Case(
        "ScaledTanh",
        [X],
        {"alpha": 0.5, "beta": 2.0},
        version=1,
        judge=lambda x, alpha, beta: (alpha * np.tanh(beta * x)).astype(x.dtype),
    ),
    Case("Crop", [X], {"border": [1, 2, 3, 0]}, version=7, judge=lambda x, border: x[:, :, 2:5, 1:3]),
    Case(
        "Crop",
        [X],
        {"border": [1, 2, 0, 0], "scale": [2, 4]},
        version=1,
        judge=lambda x, border, scale: x[:, :, 2:4, 1:5],
        note="scale",
    ),
    Case(
        "DynamicSlice",
        [X, constant([1, 0]), constant([-1, 4]), constant([2, -1])],
        version=1,
        judge=lambda x, *_: x[:, :, 1:-1, :4],
    ),
    Case(
        "DynamicSlice",
        [uniform(4, "N"), constant([1]), constant([9])],
        version=1,
        judge=lambda x, *_: x[1:],
        note="leading",
    ),
    Case(
        "ConstantFill",
        [constant([2, 3])],
        {"input_as_shape": 1, "extra_shape": [4], "value": 7.0, "dtype": 7},
        version=1,
        judge=lambda shape, **_: np.full((2, 3, 4), 7, np.int64),
    ),
    Case("ConstantFill", [uniform("N", 2)], version=1, judge=lambda x: np.zeros(x.shape, np.float32), note="like"),
    Case(
        "ConstantFill", [], {"shape": [2, 2]}, version=1, judge=lambda shape: np.zeros(shape, np.float32), note="shape"
    ),
    Case(
        "GivenTensorFill",
        [constant([2])],
        {"values": [1.0, 2.0, 3.0, 4.0], "input_as_shape": 1, "extra_shape": [2]},
        version=1,
        judge=lambda shape, **_: np.array([[1, 2], [3, 4]], np.float32),
    ),
]
