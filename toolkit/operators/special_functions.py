"""Functions that numpy lacks, vectorised: the error function and a sigmoid that never overflows."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

SATURATION = 6.0  # 1 - erf(6) is below half a unit in the last place of float64
DEGREE_FLOAT32, DEGREE_FLOAT64 = 10, 24  # of the polynomials that reach the last place of these types
FOLD = 2.0  # the map u = (x - FOLD) / (x + FOLD) spreads exp(x^2) erfc(x) evenly


@cache
def _coefficients(degree: int) -> np.ndarray:
    """A polynomial in u in [-1, 0.5] that equals exp(x^2) erfc(x) on [0, SATURATION], highest power first."""
    middle, half = (_folded(SATURATION) - 1.0) / 2.0, (_folded(SATURATION) + 1.0) / 2.0

    def scaled_complement(node: float) -> float:
        u = middle + half * node
        x = FOLD * (1.0 + u) / (1.0 - u)
        return math.exp(x * x) * math.erfc(x)

    return _interpolated(scaled_complement, degree)


def _interpolated(function: Callable[[float], float], degree: int) -> np.ndarray:
    """The polynomial that meets a function in the Chebyshev points of [-1, 1], highest power first.

    As ``numpy.polynomial`` has it, which takes longer to import than this to compute.
    """
    count = degree + 1
    angles = [math.pi * (index + 0.5) / count for index in range(count)]
    values = np.array([function(math.cos(angle)) for angle in angles])
    before, current = np.zeros(count), np.eye(1, count)[0]  # of powers from the lowest on: T(-1) is T(1), T(0) is 1
    total = current * values.mean()
    for order in range(1, count):
        following = np.roll(current, 1) * (1.0 if order == 1 else 2.0) - before
        before, current = current, following
        total += current * (2.0 / count * (values * np.cos(np.multiply(order, angles))).sum())
    return total[::-1]


def _folded(x: Any) -> Any:
    return (x - FOLD) / (x + FOLD)


def erf(x: np.ndarray) -> np.ndarray:
    """The error function of every element; the absolute error is a few units in the last place of 1 in ``x``'s type."""
    magnitude = np.minimum(np.abs(x), SATURATION)
    if x.dtype == np.float64:
        coefficients = _coefficients(DEGREE_FLOAT64)
    else:
        coefficients = _coefficients(DEGREE_FLOAT32).astype(np.float32)
    low, high = -1.0, float(_folded(SATURATION))
    node = (_folded(magnitude) - (low + high) / 2.0) * (2.0 / (high - low))
    value = np.full_like(node, coefficients[0])
    for coefficient in coefficients[1:]:
        value *= node
        value += coefficient
    value *= np.exp(-magnitude * magnitude)
    return np.copysign(1.0 - value, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), exact in relative terms at both ends."""
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, decay) / (1.0 + decay)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
