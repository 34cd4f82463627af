"""Cases of ``toolkit.operators.standard.pooling``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tests.support.case import Case, integers, spread, uniform

X = spread("N", 2, 7, 6)


def sums_to(function: str, **attributes: Any) -> Case:
    """An average pooling of the common input."""
    note = attributes.pop("note", "")
    return Case(function, [X], attributes, note=note)


def judge_norm(x: np.ndarray, *, kernel_shape: list[int], p: float = 2.0) -> np.ndarray:
    """LpPool-1, which onnxruntime lacks: the norm of every window."""
    windows = np.abs(sliding_window_view(x.astype(np.float64), kernel_shape, axis=(2, 3)))
    return ((windows**p).sum(axis=(4, 5)) ** (1 / p)).astype(x.dtype)


def judge_mean(x: np.ndarray, *, kernel_shape: list[int], pads: list[int]) -> np.ndarray:
    """AveragePool-1, which onnxruntime lacks: padding does not count, as by default since version 7."""
    around = [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])]
    padded = np.pad(x.astype(np.float64), around, constant_values=np.nan)
    return np.nanmean(sliding_window_view(padded, kernel_shape, axis=(2, 3)), axis=(4, 5)).astype(x.dtype)


KERNEL = {"kernel_shape": [3, 2]}
CASES = [
    Case("MaxPool", [X], {**KERNEL, "strides": [2, 1], "pads": [1, 0, 2, 1]}, version=1),
    Case("MaxPool", [X], {**KERNEL, "strides": [2, 2]}, version=8, outputs=2, seeded=[0], note="indices"),
    Case(
        "MaxPool", [X], {**KERNEL, "storage_order": 1, "pads": [1, 1, 1, 0]}, outputs=2, seeded=[0], note="column major"
    ),
    Case("MaxPool", [X], {**KERNEL, "dilations": [2, 3]}, version=10, outputs=2, seeded=[0], note="dilations"),
    Case("MaxPool", [X], {"kernel_shape": [2, 2], "strides": [3, 4], "ceil_mode": 1}, version=11, note="ceil"),
    Case("MaxPool", [X], {**KERNEL, "strides": [2, 2], "auto_pad": "SAME_UPPER"}, version=12, note="same upper"),
    Case("MaxPool", [X], {"kernel_shape": [2, 4], "strides": [2, 2], "auto_pad": "SAME_LOWER"}, note="same lower"),
    Case(
        "MaxPool",
        [spread("N", 2, 9)],
        {"kernel_shape": [3], "auto_pad": "VALID"},
        outputs=2,
        seeded=[0],
        note="one axis",
    ),
    Case("MaxPool", [spread("N", 1, 4, 5, 4)], {"kernel_shape": [2, 3, 2]}, outputs=2, seeded=[0], note="three axes"),
    Case(
        "MaxPool", [integers("N", 1, 4, 4, low=0, high=9, dtype="uint8")], KERNEL, version=12, outputs=2, note="uint8"
    ),
    Case("AveragePool", [X], {**KERNEL, "pads": [1, 0, 2, 1]}, version=1, judge=judge_mean),
    Case("AveragePool", [X], {**KERNEL, "pads": [1, 0, 2, 1], "count_include_pad": 1}, version=7, note="count pads"),
    Case("AveragePool", [X], {"kernel_shape": [2, 2], "strides": [3, 4], "ceil_mode": 1}, version=10, note="ceil"),
    sums_to("AveragePool", **KERNEL, strides=[2, 1], pads=[1, 0, 2, 1]),
    sums_to("AveragePool", **KERNEL, strides=[2, 1], pads=[1, 0, 2, 1], count_include_pad=1, note="count pads"),
    sums_to("AveragePool", kernel_shape=[2, 2], strides=[3, 4], ceil_mode=1, note="ceil"),
    sums_to(
        "AveragePool", kernel_shape=[3, 3], strides=[3, 2], pads=[1] * 4, ceil_mode=1, count_include_pad=1, note="both"
    ),
    sums_to("AveragePool", **KERNEL, dilations=[2, 3], note="dilations"),
    Case("AveragePool", [X], {**KERNEL, "strides": [2, 2], "auto_pad": "SAME_UPPER"}, version=7, note="same upper"),
    Case("AveragePool", [X], {**KERNEL, "strides": [2, 2], "auto_pad": "SAME_LOWER"}, version=11, note="same lower"),
    Case("AveragePool", [uniform("N", 1, 4, 5, 4)], {"kernel_shape": [2, 3, 2]}, version=10, note="three axes"),
    Case("LpPool", [X], {**KERNEL, "p": 2.5}, version=1, judge=judge_norm),
    Case("LpPool", [X], {**KERNEL, "p": 3}, version=2, judge="onnxruntime", tolerance=1e-4),
    Case("LpPool", [X], {**KERNEL, "strides": [2, 1], "pads": [1, 0, 2, 1]}, version=11, judge="onnxruntime"),
    Case("LpPool", [X], {"kernel_shape": [2, 2], "strides": [3, 4], "ceil_mode": 1}, version=18, note="ceil"),
    Case("LpPool", [X], {**KERNEL, "strides": [2, 2], "auto_pad": "SAME_UPPER"}, version=22, note="same upper"),
    Case(
        "LpPool",
        [X],
        {**KERNEL, "p": 3, "strides": [2, 2]},
        version=18,
        note="p 3",
        tolerance=1e-4,
        judge="onnxruntime",
    ),
    Case("LpPool", [X], {**KERNEL, "p": 1, "dilations": [2, 1]}, version=18, note="p 1", judge="onnxruntime"),
]
