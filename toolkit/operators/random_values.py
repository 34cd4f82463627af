"""Random tensors: normal, uniform, Bernoulli, Multinomial. The generator is the context's, unless the node has a seed.

A node with a seed gives the same values in every run. None has a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators import wire
from toolkit.operators.record import not_differentiable, operator

DRAWN = not_differentiable("its values are drawn, not computed")


def _generator(random: np.random.Generator | None, seed: float | None) -> np.random.Generator:
    """The node's own generator when it has a seed, else the context's."""
    if seed is not None:
        return np.random.default_rng(np.asarray(seed, dtype=np.float32).view(np.uint32).item())
    assert random is not None, "a random operator without a seed needs the context's generator"
    return random


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
    drawn = _generator(random, seed).normal(mean, scale, tuple(shape))
    return np.asarray(drawn).astype(wire.element_dtype(dtype))


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
    drawn = _generator(random, seed).uniform(low, high, tuple(shape))
    return np.asarray(drawn).astype(wire.element_dtype(dtype))


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
    wide = logits.astype(np.float64)
    weight = np.exp(wide - wide.max(axis=1, keepdims=True))
    cumulative = np.cumsum(weight, axis=1)
    drawn = _generator(random, seed).random((len(logits), sample_size)) * cumulative[:, -1:]
    classes = (drawn[:, :, None] >= cumulative[:, None, :]).sum(axis=2)
    return classes.astype(wire.element_dtype(dtype))


operator("RandomNormal", reference=random_normal, gradient=DRAWN, is_random=True)
operator("RandomUniform", reference=random_uniform, gradient=DRAWN, is_random=True)
operator("RandomNormalLike", reference=random_normal_like, gradient=DRAWN, is_random=True)
operator("RandomUniformLike", reference=random_uniform_like, gradient=DRAWN, is_random=True)
operator("Bernoulli", since=15, reference=bernoulli, gradient=DRAWN, is_random=True)
operator("Multinomial", since=7, reference=multinomial, gradient=DRAWN, is_random=True)
