"""Cases of ``toolkit.operators.standard.inverted_residual``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cases.activation import naive_activation
from tests.cases.convolution import naive_convolution
from tests.support.case import Case, Given, uniform

POINTWISE: dict[str, Any] = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1}


def judge(x: Any, *others: Any, strides: Any, pads: Any, activations: Any, **numbers: Any) -> np.ndarray:
    """The three convolutions, by their definition."""
    given = (*others, None, None)[:7]
    middle = {"strides": strides, "pads": pads, "dilations": [1, 1], "group": given[2].shape[0]}
    y = x
    for index, geometry in enumerate((POINTWISE, middle, POINTWISE)):
        weight, bias = given[2 * index : 2 * index + 2]
        if weight is None:
            continue
        y = naive_convolution(y, weight, **geometry)
        if bias is not None:
            y += bias.reshape(-1, 1, 1)
        if index == 2 and given[6] is not None:
            y += given[6]
        alpha, beta = (numbers[name][index] for name in ("activation_alpha", "activation_beta"))
        y = naive_activation(y, activation=activations[index], activation_alpha=alpha, activation_beta=beta)
    return y.astype(x.dtype)


def row(note: str, inputs: list[Given | None], activations: list[str], **geometry: Any) -> Case:
    numbers = {"activation_alpha": [0.1, -0.4, 0.0], "activation_beta": [0.0, 0.9, 0.0]}
    attributes = {"strides": [1, 1], "pads": [1, 1, 1, 1], "activations": activations, **numbers, **geometry}
    return Case("InvertedResidual", inputs, attributes, version=1, domain="toolkit", judge=judge, note=note)


def small(*shape: int) -> Given:
    """A weight with which sums stay small."""
    return uniform(*shape, low=-0.4, high=0.4)


CASES = [
    row(
        "everything",
        [
            uniform("N", 3, 4, 3),
            *(small(4, 3, 1, 1), uniform(4)),
            *(small(4, 1, 3, 3), uniform(4)),
            *(small(2, 4, 1, 1), uniform(2)),
            uniform("N", 2, 4, 3),
        ],
        ["Silu", "HardSwish", "Sigmoid"],
    ),
    row(
        "nothing to widen, no biases",
        [uniform("N", 3, 5, 4), None, None, small(3, 1, 3, 2), None, small(2, 3, 1, 1)],
        ["", "Tanh", ""],
        strides=[2, 1],
        pads=[1, 0, 0, 1],
    ),
    row(
        "whole vectors",
        [uniform("N", 8, 5, 4), small(16, 8, 1, 1), uniform(16), small(16, 1, 3, 3), None, small(24, 16, 1, 1)],
        ["LeakyRelu", "Clip", ""],
        strides=[2, 2],
    ),
]
