"""Scores made into what a model answers: NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO, PROBIT, and their slopes.

The specification does not say what a transform does to a single score. As in onnxruntime only PROBIT changes it, and
``with_opposite`` makes two scores of it where there are two classes.
"""

from __future__ import annotations

import math

import numpy as np

from toolkit.operators.expression import Expression, emit
from toolkit.operators.special_functions import sigmoid
from toolkit.operators.standard.softmax import softmax, softmax_gradient

NAMES = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")  # TreeEnsemble numbers them in this order
NEARLY_ZERO = 1e-7  # scores that SOFTMAX_ZERO takes for absent
WINITZKI = 0.147  # the constant of Winitzki's approximation of the inverse error function


def transformed(scores: np.ndarray, name: str) -> np.ndarray:
    """``scores`` (rows, classes) after the transform ``name``. Raises ``ValueError`` for an unknown one."""
    if name not in NAMES:
        raise ValueError(f"post_transform must be one of {', '.join(NAMES)}, got {name!r}")
    if name == "NONE" or not scores.size:
        return scores
    if name == "PROBIT":
        return probit(scores)
    if scores.shape[1] == 1:
        return scores
    if name == "LOGISTIC":
        return np.asarray(sigmoid(scores), scores.dtype)
    return softmax(scores, 1) if name == "SOFTMAX" else softmax_zero(scores)


def softmax_zero(scores: np.ndarray) -> np.ndarray:
    """Softmax over the scores of each row that are not zero; zero stays zero."""
    with np.errstate(invalid="ignore"):
        highest = scores.max(axis=1, keepdims=True)
        absent = np.abs(scores) <= NEARLY_ZERO
        powers = np.where(absent, 0, np.exp(scores - highest))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), scores.dtype)


def probit(scores: np.ndarray) -> np.ndarray:
    """The quantile of the normal distribution, by the approximation that onnxruntime uses; NaN outside [0, 1]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        x = 2 * scores - 1
        logarithm = np.log((1 - x) * (1 + x))
        half = 2 / (math.pi * WINITZKI) + 0.5 * logarithm
        root = np.sqrt(np.sqrt(half * half - logarithm / WINITZKI) - half)
        return np.asarray(math.sqrt(2) * np.copysign(root, x), scores.dtype)


def with_opposite(scores: np.ndarray, name: str, is_probability: np.ndarray | bool) -> np.ndarray:
    """Two columns from the one score (rows,) of the second of two classes.

    LOGISTIC and PROBIT apply to s and -s. Otherwise a score that counts as a probability p stands beside 1 - p, another
    one, s, beside -s, whatever the transform.
    """
    if name in ("LOGISTIC", "PROBIT"):
        second = transformed(np.stack([scores, scores], axis=1), name)[:, 1]
        first = 1 - second if name == "LOGISTIC" else -second
    else:
        first, second = np.where(is_probability, 1 - scores, -scores), scores
    return np.stack([first, second], axis=1).astype(scores.dtype)


def through_transform(g: Expression, y: Expression, name: str) -> Expression:
    """The gradient of ``transformed``'s argument from the gradient ``g`` of its result ``y``."""
    if name == "PROBIT":  # 1 over the density of the normal distribution
        return g * emit("Exp", y * y * 0.5) * math.sqrt(2 * math.pi)
    if name == "NONE" or y.shape[1] == 1:
        return g
    return g * y * (1.0 - y) if name == "LOGISTIC" else softmax_gradient(g, y, 1, 0)


def through_opposite(g: Expression, y: Expression, name: str) -> Expression:
    """The gradient (rows, 1) of ``with_opposite``'s argument."""
    first, second = emit("Split", g, outputs=2, axis=1, num_outputs=2)
    difference: Expression = second - first
    if name not in ("LOGISTIC", "PROBIT"):
        return difference
    _, answer = emit("Split", y, outputs=2, axis=1, num_outputs=2)
    return difference * answer * (1.0 - answer) if name == "LOGISTIC" else through_transform(difference, answer, name)
