"""Cases of ``toolkit.operators.microsoft.convolution``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, constant, contributed, integers, spread, uniform


def row(name: str, *inputs: Given | None, **given: Any) -> Case:
    return contributed(name, *inputs, tolerance=1e-4, **given)


def judge_nhwc(x: Any, w: Any, bias: Any, addend: Any = 0.0, *, strides: Any, activation: str = "") -> np.ndarray:
    """Window by window, without pads; onnxruntime has no kernel for floats on the CPU."""
    high, wide = ((x.shape[1 + axis] - w.shape[2 + axis]) // strides[axis] + 1 for axis in (0, 1))
    y = np.empty((len(x), high, wide, len(w)), np.float32)
    for row_number, column in np.ndindex(high, wide):
        top, left = row_number * strides[0], column * strides[1]
        part = x[:, top : top + w.shape[2], left : left + w.shape[3]]
        y[:, row_number, column] = np.einsum("nhwc,mchw->nm", part, w) + bias
    y = y + addend
    return np.maximum(y, 0) if activation == "Relu" else y


X, W, B = uniform("N", 2, 5, 5), uniform(4, 2, 3, 3), uniform(4)
LAST = uniform("N", 5, 5, 2)
CASES = [
    row("FusedConv", X, W, B, pads=[1, 1, 1, 1]),
    row("FusedConv", X, W, B, activation="Relu", strides=[2, 2], note="Relu"),
    row("FusedConv", X, W, B, uniform("N", 4, 3, 3), activation="Tanh", note="addend"),
    row("FusedConv", X, W, None, activation="LeakyRelu", activation_params=[0.2], note="LeakyRelu"),
    row("FusedConv", X, W, B, activation="Clip", activation_params=[-0.5, 3.0], note="Clip"),
    row("FusedConv", X, W, B, activation="HardSigmoid", activation_params=[0.1, 0.4], note="HardSigmoid"),
    row("NhwcConv", LAST, W, B, strides=[1, 1], judge=judge_nhwc),
    row("NhwcFusedConv", LAST, W, B, uniform("N", 2, 2, 4), strides=[2, 2], activation="Relu", judge=judge_nhwc),
    row("NhwcMaxPool", integers("N", 5, 5, 2, low=0, high=255, dtype="uint8"), kernel_shape=[2, 2], strides=[2, 1]),
    row(
        "NhwcMaxPool",
        spread("N", 4, 4, 2),
        kernel_shape=[2, 2],
        strides=[2, 2],
        note="floats",
        judge=lambda x, **_: x.reshape(-1, 2, 2, 2, 2, 2).max(axis=(2, 4)),
    ),
    row(
        "ConvTransposeWithDynamicPads",
        X,
        uniform(2, 3, 3, 3),
        constant([1, 0, 1, 0]),
        strides=[2, 2],
        kernel_shape=[3, 3],
    ),
    row(
        "ConvTransposeWithDynamicPads",
        X,
        uniform(2, 3, 3, 3),
        constant([0, 0, 1, 1]),
        uniform(3),
        kernel_shape=[3, 3],
        note="bias",
    ),
]
