"""Random tensors: normal, uniform, Bernoulli, Multinomial. The generator is the context's, unless the node has a seed.

A node with a seed gives the same values in every run. None has a gradient. Numbers are drawn in double precision and
rounded once, so the upper end of a range may be reached in a narrow type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.operators import wire
from toolkit.operators.record import not_differentiable, operator

DRAWN = not_differentiable("its values are drawn, not computed", slope_is_zero=True)


def _generator(random: np.random.Generator | None, seed: float | None) -> np.random.Generator:
    """The node's own generator when it has a seed, else the context's."""
    if seed is not None:
        return np.random.default_rng(np.asarray(seed, dtype=np.float32).view(np.uint32).item())
    assert random is not None, "a random operator without a seed needs the context's generator"
    return random


def _floating(dtype: int) -> np.dtype:
    """The element type to draw. Raises ``ValueError`` unless it is a floating-point one."""
    found = wire.element_dtype(dtype)
    if found.kind != "f" and found != ml_dtypes.bfloat16:
        raise ValueError(f"the element type must be a floating-point one, got {found.name}: set the attribute dtype")
    return found


def random_normal(
    *,
    shape: Sequence[int],
    dtype: int = 1,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
    random: np.random.Generator | None = None,
) -> np.ndarray:
    """Normally distributed numbers of ``shape``."""
    if scale < 0:
        raise ValueError(f"scale, the standard deviation, must be 0 or more, got {scale}")
    drawn = _generator(random, seed).normal(mean, scale, tuple(shape))
    return np.asarray(drawn).astype(_floating(dtype))


def random_uniform(
    *,
    shape: Sequence[int],
    dtype: int = 1,
    low: float = 0.0,
    high: float = 1.0,
    seed: float | None = None,
    random: np.random.Generator | None = None,
) -> np.ndarray:
    """Evenly distributed numbers of ``shape`` in [low, high)."""
    drawn = low + (high - low) * _generator(random, seed).random(tuple(shape))
    return np.asarray(drawn).astype(_floating(dtype))


def random_normal_like(x: np.ndarray, *, dtype: int | None = None, **attributes: Any) -> np.ndarray:
    """Normally distributed numbers of the shape, and by default the element type, of ``x``."""
    return random_normal(shape=x.shape, dtype=dtype or wire.element_type(x.dtype), **attributes)


def random_uniform_like(x: np.ndarray, *, dtype: int | None = None, **attributes: Any) -> np.ndarray:
    """Evenly distributed numbers of the shape, and by default the element type, of ``x``."""
    return random_uniform(shape=x.shape, dtype=dtype or wire.element_type(x.dtype), **attributes)


def bernoulli(
    probability: np.ndarray,
    *,
    dtype: int | None = None,
    seed: float | None = None,
    random: np.random.Generator | None = None,
) -> np.ndarray:
    """1 with the given probabilities, else 0."""
    hit = _generator(random, seed).random(probability.shape) < probability.astype(np.float64)
    return np.asarray(hit).astype(probability.dtype if dtype is None else wire.element_dtype(dtype))


def multinomial(
    logits: np.ndarray,
    *,
    sample_size: int = 1,
    dtype: int = 6,
    seed: float | None = None,
    random: np.random.Generator | None = None,
) -> np.ndarray:
    """Classes (batch, sample_size) drawn from unnormalised log-probabilities (batch, classes)."""
    if logits.ndim != 2 or not logits.shape[1]:
        raise ValueError(f"the log-probabilities must be (batch, classes) with a class at least, got {logits.shape}")
    if sample_size < 1:
        raise ValueError(f"sample_size must be positive, got {sample_size}")
    wide = logits.astype(np.float64)
    cumulative = np.cumsum(np.exp(wide - wide.max(axis=1, keepdims=True)), axis=1)
    drawn = _generator(random, seed).random((len(logits), sample_size)) * cumulative[:, -1:]
    classes = [np.searchsorted(row, points, side="right") for row, points in zip(cumulative, drawn, strict=True)]
    found = np.array(classes, dtype=np.int64).reshape(len(logits), sample_size)
    return np.minimum(found, logits.shape[1] - 1).astype(wire.element_dtype(dtype))


operator("RandomNormal", reference=random_normal, gradient=DRAWN, is_random=True)
operator("RandomUniform", reference=random_uniform, gradient=DRAWN, is_random=True)
operator("RandomNormalLike", reference=random_normal_like, gradient=DRAWN, is_random=True)
operator("RandomUniformLike", reference=random_uniform_like, gradient=DRAWN, is_random=True)
operator("Bernoulli", since=15, reference=bernoulli, gradient=DRAWN, is_random=True)
operator("Multinomial", since=7, reference=multinomial, gradient=DRAWN, is_random=True)
