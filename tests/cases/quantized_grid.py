"""Cases of ``toolkit.operators.standard.quantized_grid``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, Size, integers, uniform

BYTES = {"low": -128.0, "high": 127.0}


def steps(x: Any, scale: Any, *, low: float, high: float, is_multiplied: int = 0) -> np.ndarray:
    """Exact but for one rounding, in float64; the rows have no ties."""
    wide = x.astype(np.float64) * scale if is_multiplied else x.astype(np.float64) / scale
    return np.rint(np.clip(wide, low, high)).astype(np.float32)


def sums(
    x: Any, w: Any, b: Any, multiplier: Any, scale: Any = None, *, group: int, low: float, high: float, **_: Any
) -> np.ndarray:
    """A convolution by a loop over the positions of a window of one, two or three pads on each side."""
    pad, stride = _["pads"], _["strides"]
    wide = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (pad[0], pad[2]), (pad[1], pad[3])])
    rows = (wide.shape[2] - w.shape[2]) // stride[0] + 1
    columns = (wide.shape[3] - w.shape[3]) // stride[1] + 1
    y = np.zeros((x.shape[0], w.shape[0], rows, columns))
    per_group = w.shape[0] // group
    for channel in range(w.shape[0]):
        first = channel // per_group * w.shape[1]
        for row in range(rows):
            for column in range(columns):
                top, left = row * stride[0], column * stride[1]
                seen = wide[:, first : first + w.shape[1], top : top + w.shape[2], left : left + w.shape[3]]
                y[:, channel, row, column] = (seen * w[channel]).sum((1, 2, 3)) + (0 if b is None else b[channel])
    found = steps(y, multiplier.reshape(-1, 1, 1).astype(np.float64), low=low, high=high, is_multiplied=1)
    return found if scale is None else found * scale


def whole(*shape: Size, low: int = -128, high: int = 128) -> Given:
    """Integers as float32."""
    return integers(*shape, low=low, high=high, dtype="float32")


def grid(note: str, x: Given, scale: Given, **attributes: Any) -> Case:
    """A row of ``OnGrid``."""
    return Case("OnGrid", [x, scale], {**BYTES, **attributes}, version=1, domain="toolkit", judge=steps, note=note)


def convolution(
    note: str, x: tuple[Size, ...], w: tuple[int, ...], *further: Given, bias: bool = True, **attributes: Any
) -> Case:
    """A row of ``GridConv`` with a multiplier for each channel, or with one where there is no bias."""
    settings = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1, **BYTES, **attributes}
    inputs = [
        whole(*x, high=256, low=0),
        whole(*w),
        whole(w[0], low=-5000, high=5000) if bias else None,
        uniform(w[0] if bias else 1, low=0.0005, high=0.004),
        *further,
    ]
    return Case("GridConv", inputs, settings, version=1, domain="toolkit", judge=sums, note=note)


CASES = [
    grid("by one scale", uniform("N", 4, 5), uniform(low=0.01, high=0.02)),
    grid("by channel", uniform("N", 4, 5, 3, low=-9.0, high=9.0), uniform(4, 1, 1, low=0.02, high=0.09)),
    grid("times", uniform("N", 7, low=-400.0, high=400.0), uniform(7, low=0.1, high=0.9), is_multiplied=1),
    convolution("window", ("N", 3, 6, 5), (8, 3, 3, 3), pads=[1, 1, 1, 1]),
    convolution("pointwise", ("N", 16, 4, 4), (24, 16, 1, 1), bias=False),
    convolution("depthwise", ("N", 16, 7, 6), (16, 1, 3, 3), group=16, strides=[2, 2], pads=[1, 1, 1, 1]),
    convolution("in units", ("N", 8, 6, 5), (16, 8, 1, 1), uniform(low=0.02, high=0.03)),
    convolution("unsigned", ("N", 4, 5, 5), (6, 2, 3, 2), group=2, low=-20.0, high=235.0),
]
