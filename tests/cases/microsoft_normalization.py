"""Cases of ``toolkit.operators.microsoft.normalization``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import contributed as row
from tests.support.case import integers, uniform, variable


def judge_groups(
    x: Any, gamma: Any, beta: Any, *, groups: int, activation: int, channels_last: int = 1, epsilon: float = 1e-5
) -> np.ndarray:
    """Sample by sample and group by group."""
    y = (x if channels_last else np.moveaxis(x, 1, -1)).astype(np.float64)
    size = y.shape[-1] // groups
    for sample in range(len(y)):
        for first in range(0, y.shape[-1], size):
            part = y[sample, ..., first : first + size]
            y[sample, ..., first : first + size] = (part - part.mean()) / np.sqrt(part.var() + epsilon)
    y = y * gamma + beta
    y = y / (1 + np.exp(-y)) if activation else y
    return np.asarray(y if channels_last else np.moveaxis(y, -1, 1), x.dtype)


def judge_skip_groups(x: Any, gamma: Any, beta: Any, skip: Any, bias: Any = 0.0, **attributes: Any) -> Any:
    skip = skip[:, None, None, :] if skip.ndim == 2 else skip
    total = x + skip + bias
    return judge_groups(total, gamma, beta, **attributes), total


def judge_skip(x: Any, skip: Any, gamma: Any, bias: Any, *, epsilon: float) -> Any:
    """All outputs: onnxruntime gives the statistics on other devices only."""
    total = x + skip + bias
    inverse = 1 / np.sqrt((total**2).mean(axis=-1, keepdims=True) + epsilon)
    return total * inverse * gamma, total.mean(axis=-1, keepdims=True), inverse.astype(x.dtype), total


def judge_skip_layer(x: Any, skip: Any, gamma: Any, beta: Any, bias: Any, *, epsilon: float) -> Any:
    """All outputs."""
    total = x + skip + bias
    mean = total.mean(axis=-1, keepdims=True)
    inverse = (1 / np.sqrt(total.var(axis=-1, keepdims=True) + epsilon)).astype(x.dtype)
    return (total - mean) * inverse * gamma + beta, mean, inverse, total


X, GAMMA, BETA = uniform("N", 3, 4), uniform(4, low=0.5), uniform(4)
WORDS, SEGMENTS = integers("N", 3, low=0, high=7, dtype="int32"), integers("N", 3, low=0, high=2, dtype="int32")
TABLES = [uniform(7, 4), uniform(5, 4), uniform(2, 4)]
MASK = variable(lambda n: np.arange(3)[None] < np.arange(1, n + 1)[:, None], "int32")
IMAGES = uniform("N", 2, 3, 4)

CASES = [
    row("SkipLayerNormalization", X, uniform("N", 3, 4), GAMMA, BETA),
    row("SkipLayerNormalization", X, uniform("N", 3, 4), GAMMA, None, uniform(4), epsilon=1e-3, note="bias"),
    row("SkipLayerNormalization", X, uniform(3, 4), GAMMA, BETA, uniform(4), epsilon=1e-3, note="one skip for all"),
    row("SkipSimplifiedLayerNormalization", X, uniform("N", 3, 4), GAMMA, epsilon=1e-3),
    row("SkipSimplifiedLayerNormalization", X, uniform("N", 3, 4), GAMMA, uniform(4), epsilon=1e-3, note="bias"),
    row(
        "SkipLayerNormalization",
        X,
        uniform("N", 3, 4),
        GAMMA,
        BETA,
        uniform(4),
        epsilon=1e-3,
        outputs=4,
        seeded=[0, 3],
        judge=judge_skip_layer,
        note="all outputs",
    ),
    row(
        "SkipSimplifiedLayerNormalization",
        X,
        uniform("N", 3, 4),
        GAMMA,
        uniform(4),
        epsilon=1e-3,
        outputs=4,
        seeded=[0, 3],
        judge=judge_skip,
        note="all outputs",
    ),
    row("EmbedLayerNormalization", WORDS, SEGMENTS, *TABLES, GAMMA, BETA, MASK, outputs=2, epsilon=1e-3),
    row(
        "EmbedLayerNormalization",
        WORDS,
        None,
        *TABLES[:2],
        None,
        GAMMA,
        BETA,
        outputs=2,
        epsilon=1e-3,
        note="two tables",
    ),
    row(
        "EmbedLayerNormalization",
        WORDS,
        SEGMENTS,
        *TABLES,
        GAMMA,
        BETA,
        None,
        integers("N", 3, low=0, high=5, dtype="int32"),
        outputs=3,
        epsilon=1e-3,
        note="positions and sum",
    ),
    row("GroupNorm", IMAGES, GAMMA, BETA, groups=2, activation=0, judge=judge_groups),
    row("GroupNorm", IMAGES, GAMMA, BETA, groups=2, activation=1, epsilon=1e-3, judge=judge_groups, note="activated"),
    row(
        "GroupNorm",
        uniform("N", 4, 2, 3),
        GAMMA,
        BETA,
        groups=4,
        activation=1,
        channels_last=0,
        judge=judge_groups,
        note="channels first",
    ),
    row(
        "SkipGroupNorm",
        IMAGES,
        GAMMA,
        BETA,
        uniform("N", 4),
        groups=2,
        activation=1,
        outputs=2,
        judge=judge_skip_groups,
    ),
    row(
        "SkipGroupNorm",
        IMAGES,
        GAMMA,
        BETA,
        uniform("N", 2, 3, 4),
        uniform(4),
        groups=2,
        activation=0,
        outputs=2,
        judge=judge_skip_groups,
        note="bias",
    ),
    row("GatedRMSNorm", uniform("N", 3, 8), GAMMA, uniform("N", 3, 8)),
    row(
        "GatedRMSNorm",
        uniform("N", 3, 8),
        GAMMA,
        uniform("N", 3, 8),
        activation="sigmoid",
        epsilon=1e-3,
        note="sigmoid",
    ),
    row("BranchwiseRMSNorm", uniform("N", 2, 4), uniform(4)),
    row("BranchwiseRMSNorm", uniform("N", 8), uniform(8), num_branches=2, epsilon=1e-3, note="flat"),
]
