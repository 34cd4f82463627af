"""Cases of ``toolkit.operators.standard.batch_normalization``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, uniform
from tests.support.numeric import numeric_gradients

VECTORS = [uniform(3, low=0.5), uniform(3), uniform(3), uniform(3, low=0.5)]
PER_ELEMENT = [uniform(3, 4, low=0.5), uniform(3, 4), uniform(3, 4), uniform(3, 4, low=0.5)]
IMAGES = ("N", 3, 4)


def by_channel(vector: Any, x: np.ndarray) -> Any:
    return vector.reshape(1, -1, *(1,) * (x.ndim - 2))


def naive(x: Any, scale: Any, bias: Any, epsilon: float) -> Any:
    """Normalised by the statistics of the batch."""
    axes = (0, *range(2, x.ndim))
    mean, variance = x.mean(axis=axes), ((x - by_channel(x.mean(axis=axes), x)) ** 2).mean(axis=axes)
    y = (x - by_channel(mean, x)) / by_channel(np.sqrt(variance + epsilon), x)
    return y * by_channel(scale, x) + by_channel(bias, x), mean, variance


def judge_training(
    x: Any,
    scale: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    residual: Any = 0.0,
    *,
    epsilon: float,
    momentum: float,
    activation: str,
) -> Any:
    """All outputs in float64."""
    y, batch_mean, batch_variance = naive(x.astype(np.float64), scale, bias, epsilon)
    y = y + residual
    moved = [momentum * mean + (1 - momentum) * batch_mean, momentum * variance + (1 - momentum) * batch_variance]
    found = [np.maximum(y, 0) if activation else y, *moved, batch_mean, batch_variance]
    made = [item.astype(x.dtype) for item in found]
    return (*made, (y > 0).astype(np.uint8)) if activation else tuple(made)


def judge_frozen(x: Any, *statistics: Any) -> Any:
    """One statistic per channel."""
    scale, bias, mean, variance = (by_channel(item, x) if x.ndim > 1 else item for item in statistics)
    return ((x - mean) / np.sqrt(variance + 1e-5) * scale + bias).astype(x.dtype)


def judge_spatial(x: Any, scale: Any, bias: Any, mean: Any, variance: Any, *, spatial: int) -> Any:
    """Version 7 with one statistic per element of an image."""
    return ((x - mean) / np.sqrt(variance + 1e-5) * scale + bias).astype(x.dtype)


def judge_former(x: Any, *statistics: Any, spatial: int = 1, **attributes: Any) -> Any:
    """Training before version 14, in float64: all five outputs."""
    scale, bias, mean, variance = (item.astype(np.float64).reshape(-1) for item in statistics)
    seen = x.astype(np.float64) if spatial else x.astype(np.float64).reshape(len(x), -1)
    y, batch_mean, batch_variance = naive(seen, scale, bias, 1e-5)
    moved = [0.8 * mean + 0.2 * batch_mean, 0.8 * variance + 0.2 * batch_variance]
    made = [item.reshape(statistics[0].shape) for item in (*moved, batch_mean, batch_variance)]
    return tuple(item.astype(x.dtype) for item in (y.reshape(x.shape), *made))


def judge_gradient(
    g: Any,
    x: Any,
    scale: Any,
    mean: Any,
    variance: Any,
    mask: Any = None,
    more: Any = 0,
    *,
    epsilon: float,
    activation: str,
) -> Any:
    """By brute force; what the batch's statistics are follows from ``x`` here too. Last the gradient of a residual."""
    g = ((g + more) * mask if activation else g + more).astype(g.dtype)
    return (*numeric_gradients(lambda x, scale, bias: naive(x, scale, bias, epsilon)[0], [x, scale, scale], g), g)


def judge_gradient_alone(*arrays: Any, **attributes: Any) -> Any:
    """The same where nothing was added."""
    return judge_gradient(*arrays, **attributes)[:3]


def statistic(index: int, seed: int = 5) -> Given:
    """The mean or variance of the batch that ``images`` makes, or whether its normalised elements are positive."""

    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        x = images(seed).make(random, batch)
        found = naive(x.astype(np.float64), np.ones(3), np.zeros(3), 1e-3)[index]
        return (found > 0).astype(np.uint8) if index == 0 else found.astype(np.float32)

    return Given(make)


def images(seed: int = 5) -> Given:
    """The same batch whenever it is asked for."""
    return Given(
        lambda random, batch: np.random.default_rng([seed, batch]).normal(size=(batch, 3, 4)).astype(np.float32)
    )


def training(activation: str, outputs: int, note: str, *residual: Given) -> Case:
    """The training form, with what is added in front of the activation."""
    return Case(
        "BatchNormalizationTraining",
        [uniform(*IMAGES), *VECTORS, *residual],
        {"epsilon": 1e-3, "momentum": 0.8, "activation": activation},
        version=1,
        domain="toolkit",
        outputs=outputs,
        seeded=[0, 1, 2, 3, 4],
        judge=judge_training,
        note=note,
    )


def gradient(activation: str, note: str, *more: Given) -> Case:
    """The fused gradient, with more of the gradient that it begins with."""
    mask = statistic(0) if activation else None
    return Case(
        "BatchNormalizationGradient",
        [uniform(*IMAGES), images(), VECTORS[0], statistic(1), statistic(2), mask, *more],
        {"epsilon": 1e-3, "activation": activation},
        version=1,
        domain="toolkit",
        outputs=3 + len(more),
        tolerance=1e-4,
        judge=judge_gradient if more else judge_gradient_alone,
        note=note,
    )


def former(version: int, note: str, statistics: Any = VECTORS, **attributes: Any) -> Case:
    """A form before version 14 that trains."""
    return Case(
        "BatchNormalization",
        [uniform(*IMAGES), *statistics],
        {"momentum": 0.8, **attributes},
        version=version,
        outputs=5,
        judge=judge_former,
        note=note,
        gradient_tolerance=1e-4,
        tolerance=1e-4,
    )


CASES = [
    former(1, "training", consumed_inputs=[0, 0, 0, 1, 1]),
    former(6, "training per element", PER_ELEMENT, spatial=0),
    former(7, "training", training_mode=1),
    former(9, "training", training_mode=1),
    Case(
        "BatchNormalization",
        [uniform(*IMAGES), *VECTORS],
        {"is_test": 1},
        version=6,
        differentiable=[0, 1, 2],
        judge=lambda x, *statistics, is_test: judge_frozen(x, *statistics),
        note="test",
    ),
    Case(
        "BatchNormalization",
        [uniform("N", 3, 4, dtype="float16"), *VECTORS],
        version=15,
        differentiable=[0, 1, 2],
        judge=judge_frozen,
        tolerance=3e-3,
        note="wider statistics",
    ),
    Case(
        "BatchNormalization",
        [uniform("N"), *[uniform(1, low=0.5)] * 4],
        version=9,
        differentiable=[0, 1, 2],
        judge=judge_frozen,
        note="one axis",
    ),
    Case("BatchNormalization", [uniform(*IMAGES), *VECTORS], version=7, differentiable=[0, 1, 2]),
    Case(
        "BatchNormalization",
        [uniform(*IMAGES), *PER_ELEMENT],
        {"spatial": 0},
        version=7,
        differentiable=[0, 1, 2],
        judge=judge_spatial,
        note="per element",
    ),
    Case("BatchNormalization", [uniform("N", 3, 2, 2), *VECTORS], version=9, differentiable=[0, 1, 2]),
    Case("BatchNormalization", [uniform("N", 3), *VECTORS], {"epsilon": 1e-2}, version=14, differentiable=[0, 1, 2]),
    Case("BatchNormalization", [uniform(*IMAGES), *VECTORS], version=15, differentiable=[0, 1, 2]),
    Case(
        "BatchNormalization",
        [uniform(*IMAGES), *VECTORS],
        {"training_mode": 1, "momentum": 0.8},
        version=15,
        outputs=3,
        note="training",
    ),
    Case(
        "BatchNormalization",
        [uniform(*IMAGES), *VECTORS],
        {"training_mode": 1, "momentum": 0.8},
        version=14,
        outputs=3,
        seeded=[1, 2],
        note="statistics alone",
    ),
    training("", 5, "plain"),
    training("Relu", 6, "Relu"),
    training("", 5, "residual", uniform(*IMAGES)),
    training("Relu", 6, "residual and Relu", uniform(*IMAGES)),
    gradient("", "plain"),
    gradient("Relu", "Relu"),
    gradient("", "of a sum", uniform(*IMAGES)),
    gradient("Relu", "of a sum, behind Relu", uniform(*IMAGES)),
]
