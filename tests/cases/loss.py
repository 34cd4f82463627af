"""Cases of ``toolkit.operators.standard.loss``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, integers, uniform
from tests.support.numeric import numeric_gradients

LABELS = integers("N", 2, low=0, high=4)
WEIGHT = uniform(4, low=0.5)


def log_probabilities(*shape: Any) -> Given:
    """Log-softmax over axis 1 of random scores."""
    given = uniform(*shape)

    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        x = given.make(random, batch)
        return np.asarray(x - np.log(np.exp(x).sum(axis=1, keepdims=True)), x.dtype)

    return Given(make)


def naive(scores: Any, labels: Any, weight: Any, reduction: str, ignore_index: int | None) -> Any:
    """Label by label."""
    losses, counts = np.zeros(labels.shape), np.zeros(labels.shape)
    for at in np.ndindex(*labels.shape):
        label, column = labels[at], scores[(at[0], slice(None), *at[1:])]
        if label != ignore_index:
            counts[at] = 1.0 if weight is None else weight[label]
            losses[at] = counts[at] * (np.log(np.exp(column).sum()) - column[label])
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / counts.sum()}[reduction]


def judge_gradient(
    g: Any, log_probability: Any, labels: Any, weight: Any = None, *, reduction: str, ignore_index: int | None = None
) -> Any:
    """By brute force at the log-probabilities, which are scores of themselves."""
    return numeric_gradients(lambda x: naive(x, labels, weight, reduction, ignore_index), [log_probability], g)[0]


def gradient(reduction: str, *weight: Given, ignore_index: int | None = None) -> Case:
    """The fused gradient."""
    g = uniform("N", 2) if reduction == "none" else uniform()
    ignored = {} if ignore_index is None else {"ignore_index": ignore_index}
    return Case(
        "SoftmaxCrossEntropyGradient",
        [g, log_probabilities("N", 4, 2), LABELS, *weight],
        {"reduction": reduction, **ignored},
        version=1,
        domain="toolkit",
        tolerance=1e-4,
        judge=judge_gradient,
        note=f"{reduction}{' weighted' if weight else ''}",
    )


def loss(name: str, version: int, *weight: Given, outputs: int = 1, **attributes: Any) -> Case:
    """A loss of scores per position."""
    scores = log_probabilities("N", 4, 2) if name.startswith("Negative") else uniform("N", 4, 2)
    note = " ".join([*(f"{key} {value}" for key, value in attributes.items()), *(["weighted"] if weight else [])])
    return Case(
        name,
        [scores, LABELS, *weight],
        attributes,
        version=version,
        outputs=outputs,
        differentiable=[0],
        note=f"{note} {outputs}",
    )


CASES = [
    *(
        loss(name, version, *weight, reduction=reduction)
        for name in ("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
        for version, weight, reduction in (
            (12, (), "mean"),
            (12, (WEIGHT,), "mean"),
            (13, (), "sum"),
            (13, (WEIGHT,), "none"),
        )
    ),
    loss("NegativeLogLikelihoodLoss", 13, WEIGHT, ignore_index=2, reduction="sum"),
    loss("NegativeLogLikelihoodLoss", 13, ignore_index=2, reduction="none"),
    loss("SoftmaxCrossEntropyLoss", 13, WEIGHT, ignore_index=2, reduction="sum"),
    loss("SoftmaxCrossEntropyLoss", 13, outputs=2),
    loss("SoftmaxCrossEntropyLoss", 12, outputs=2, reduction="none"),
    Case(
        "SoftmaxCrossEntropyLoss",
        [uniform("N", 5), integers("N", low=0, high=5, dtype="int32")],
        differentiable=[0],
        note="classes only",
    ),
    gradient("mean"),
    gradient("mean", WEIGHT),
    gradient("sum", WEIGHT, ignore_index=1),
    gradient("none", ignore_index=0),
]
