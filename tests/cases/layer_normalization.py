"""Cases of ``toolkit.operators.standard.layer_normalization``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, uniform
from tests.support.numeric import numeric_gradients

EPSILON = 1e-3


def naive(x: Any, scale: Any, bias: Any, axis: int) -> Any:
    """Normalised, with mean and inverse standard deviation."""
    axes = tuple(range(axis, x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    inverse = (((x - mean) ** 2).mean(axis=axes, keepdims=True) + EPSILON) ** -0.5
    return (x - mean) * inverse * scale + bias, mean, inverse


def judge(g: Any, x: Any, scale: Any, mean: Any, inverse: Any, *, axis: int) -> Any:
    """By brute force; the statistics follow from ``x`` here too."""
    return numeric_gradients(lambda x, scale, bias: naive(x, scale, bias, axis)[0], [x, scale, scale], g)


def judge_rms(x: Any, scale: Any) -> Any:
    """onnxruntime has it in the default domain only."""
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) * scale


def samples() -> Given:
    """The same samples whenever they are asked for."""
    return Given(lambda random, batch: np.random.default_rng(batch).normal(size=(batch, 3, 4)).astype(np.float32))


def statistic(index: int, axis: int) -> Given:
    """Mean or inverse standard deviation of ``samples``."""

    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        return np.asarray(naive(samples().make(random, batch).astype(np.float64), 1, 0, axis)[index], np.float32)

    return Given(make)


def gradient(axis: int, *shape: int) -> Case:
    """The fused gradient."""
    return Case(
        "LayerNormalizationGradient",
        [uniform("N", 3, 4), samples(), uniform(*shape), statistic(1, axis), statistic(2, axis)],
        {"axis": axis},
        version=1,
        domain="toolkit",
        outputs=3,
        tolerance=1e-4,
        judge=judge,
        note=f"axis {axis}",
    )


CASES = [
    Case("LayerNormalization", [uniform("N", 3, 4), uniform(4), uniform(4)], version=17, gradient_tolerance=1e-4),
    Case(
        "LayerNormalization",
        [uniform("N", 3, 4), uniform(3, 4)],
        {"axis": 1, "epsilon": 1e-3},
        outputs=3,
        seeded=[0],
        gradient_tolerance=1e-4,
        note="two axes",
    ),
    Case(
        "LayerNormalization",
        [uniform("N", 3, 4), uniform(4), uniform(3, 4)],
        {"axis": 1},
        gradient_tolerance=1e-4,
        judge="onnx.reference",
        note="broadcast scale",
    ),
    Case(
        "LayerNormalization",
        [uniform("N", 8, dtype="float16"), uniform(8, dtype="float16"), uniform(8, dtype="float16")],
        tolerance=5e-3,
        gradient_tolerance=1e-4,
        judge="onnx.reference",
        note="float16",
    ),
    Case("RMSNormalization", [uniform("N", 3, 4), uniform(4)], version=23),
    Case("RMSNormalization", [uniform("N", 3, 4), uniform(3, 4)], {"axis": 1, "epsilon": 1e-2}, note="two axes"),
    Case("LayerNormalization", [uniform("N", 3, 4), uniform(4), uniform(4)], version=16, note="of onnxruntime"),
    Case(
        "LayerNormalization",
        [uniform("N", 3, 4), uniform(3, 4)],
        {"axis": -2, "epsilon": 1e-3},
        version=9,
        outputs=3,
        seeded=[0],
        gradient_tolerance=1e-4,
        note="of onnxruntime with statistics",
    ),
    Case(
        "SimplifiedLayerNormalization",
        [uniform("N", 3, 4), uniform(4)],
        {"epsilon": 1e-3},
        version=12,
        outputs=2,
        seeded=[0],
    ),
    Case(
        "SimplifiedLayerNormalization",
        [uniform("N", 4), uniform(4)],
        version=1,
        domain="com.microsoft",
        judge=judge_rms,
    ),
    gradient(1, 3, 4),
    gradient(2, 4),
]
