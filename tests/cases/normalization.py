"""Cases of ``toolkit.operators.standard.normalization``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.support.case import Case, uniform

X = uniform("N", 4, 3, 2)


def judge_lrn(x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> np.ndarray:
    """Channel by channel, as ONNX words it: onnx.reference is wrong and onnxruntime wants odd sizes and four axes."""
    y = np.empty_like(x)
    for channel in range(x.shape[1]):
        first, last = max(0, channel - (size - 1) // 2), min(x.shape[1] - 1, channel + math.ceil((size - 1) / 2))
        squares = (x[:, first : last + 1].astype(np.float64) ** 2).sum(axis=1)
        y[:, channel] = x[:, channel] / (bias + alpha / size * squares) ** beta
    return y


def judge_groups(x: Any, scale: Any, bias: Any, *, num_groups: int) -> np.ndarray:
    """Version 18, group by group."""
    y = np.empty_like(x)
    for group, channels in enumerate(np.split(np.arange(x.shape[1]), num_groups)):
        part = x[:, channels].astype(np.float64)
        axes = tuple(range(1, x.ndim))
        deviation = np.sqrt(part.var(axis=axes, keepdims=True) + 1e-5)
        y[:, channels] = (part - part.mean(axis=axes, keepdims=True)) / deviation * scale[group] + bias[group]
    return y


def judge_images(x: Any, scale: Any, bias: Any, *, consumed_inputs: Any) -> np.ndarray:
    """Image by image and channel by channel; neither judge takes version 1."""
    y = np.empty_like(x)
    for place in np.ndindex(x.shape[:2]):
        part = x[place].astype(np.float64)
        y[place] = (part - part.mean()) / np.sqrt(part.var() + 1e-5) * scale[place[1]] + bias[place[1]]
    return y


CASES = [
    Case(
        "InstanceNormalization",
        [X, uniform(4), uniform(4)],
        {"consumed_inputs": [0, 0, 0]},
        version=1,
        judge=judge_images,
    ),
    Case("MeanVarianceNormalization", [X], version=8, note="by channel"),
    Case("MeanVarianceNormalization", [X], {"across_channels": 1}, version=1, note="across channels"),
    Case("MeanVarianceNormalization", [X], {"normalize_variance": 0}, version=1, note="mean only"),
    Case("InstanceNormalization", [X, uniform(4), uniform(4)], version=6),
    Case("InstanceNormalization", [uniform("N", 2, 5), uniform(2), uniform(2)], {"epsilon": 1e-2}, note="one axis"),
    Case("GroupNormalization", [X, uniform(2), uniform(2)], {"num_groups": 2}, version=18, judge=judge_groups),
    Case("GroupNormalization", [X, uniform(4), uniform(4)], {"num_groups": 2, "epsilon": 1e-3}, version=21),
    Case("GroupNormalization", [X, uniform(4), uniform(4)], {"num_groups": 1}, note="one group"),
    Case("GroupNormalization", [X, uniform(4), uniform(4)], {"num_groups": 4}, note="as many groups as channels"),
    Case("LRN", [uniform("N", 6, 3)], {"size": 3, "alpha": 0.1}, version=1, judge=judge_lrn),
    Case("LRN", [uniform("N", 6, 3, 2)], {"size": 5, "alpha": 0.2, "beta": 0.6, "bias": 1.5}, version=13, note="wide"),
    Case("LRN", [uniform("N", 3, 2, 2)], {"size": 4, "alpha": 0.3}, judge=judge_lrn, note="even and too wide"),
    Case("LpNormalization", [uniform("N", 4, 3)], version=1),
    Case("LpNormalization", [uniform("N", 4, 3)], {"axis": 1, "p": 1}, note="p 1"),
    Case("MeanVarianceNormalization", [X], version=9),
    Case("MeanVarianceNormalization", [X], {"axes": [2, 3]}, version=13, note="positions"),
]
