"""The eleven activations of recurrent operators: each written into a given array, and its slope.

Recurrent nodes name theirs in an attribute, one per role (``f``, ``g``, ``h``) and direction; ``chosen`` reads it. They
are apart from ``activation`` because they run in place once a step, and some exist nowhere else (Affine, ScaledTanh).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

Function = Callable[[np.ndarray, np.ndarray, float, float], object]  # input, where to write, alpha, beta
Slope = Callable[[np.ndarray, np.ndarray, float, float], Any]  # input, output, alpha, beta


class RecurrentActivation(NamedTuple):
    """One activation; ``alpha`` and ``beta`` are their defaults, ``None`` where it takes none."""

    function: Function
    slope: Slope
    alpha: float | None = None
    beta: float | None = None


def _sigmoid(x: np.ndarray, out: np.ndarray, alpha: float = 0.0, beta: float = 0.0) -> None:
    np.multiply(x, 0.5, out=out)  # by the tangent, which never overflows
    np.tanh(out, out=out)
    np.multiply(out, 0.5, out=out)
    np.add(out, 0.5, out=out)


def _affine(x: np.ndarray, out: np.ndarray, alpha: float, beta: float) -> None:
    np.multiply(x, alpha, out=out)
    np.add(out, beta, out=out)


def _scaled_tanh(x: np.ndarray, out: np.ndarray, alpha: float, beta: float) -> None:
    np.multiply(x, beta, out=out)
    np.tanh(out, out=out)
    np.multiply(out, alpha, out=out)


def _hard_sigmoid(x: np.ndarray, out: np.ndarray, alpha: float, beta: float) -> None:
    _affine(x, out, alpha, beta)
    np.clip(out, 0, 1, out=out)


def _logistic(x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    _sigmoid(x, out)
    return out


ACTIVATIONS: dict[str, RecurrentActivation] = {
    "relu": RecurrentActivation(lambda x, out, a, b: np.maximum(x, 0, out=out), lambda x, y, a, b: x > 0),
    "tanh": RecurrentActivation(lambda x, out, a, b: np.tanh(x, out=out), lambda x, y, a, b: 1 - y * y),
    "sigmoid": RecurrentActivation(_sigmoid, lambda x, y, a, b: y * (1 - y)),
    "affine": RecurrentActivation(_affine, lambda x, y, a, b: a, 1.0, 0.0),
    "leakyrelu": RecurrentActivation(
        lambda x, out, a, b: np.copyto(out, np.where(x >= 0, x, a * x)),
        lambda x, y, a, b: np.where(x >= 0, 1.0, a),
        0.01,
    ),
    "thresholdedrelu": RecurrentActivation(
        lambda x, out, a, b: np.copyto(out, np.where(x >= a, x, 0)), lambda x, y, a, b: x >= a, 1.0
    ),
    "scaledtanh": RecurrentActivation(_scaled_tanh, lambda x, y, a, b: a * b * (1 - np.tanh(b * x) ** 2), 1.0, 1.0),
    "hardsigmoid": RecurrentActivation(_hard_sigmoid, lambda x, y, a, b: np.where((y > 0) & (y < 1), a, 0.0), 0.2, 0.5),
    "elu": RecurrentActivation(
        lambda x, out, a, b: np.copyto(out, np.where(x >= 0, x, a * np.expm1(np.minimum(x, 0)))),
        lambda x, y, a, b: np.where(x >= 0, 1.0, a * np.exp(np.minimum(x, 0))),
        1.0,
    ),
    "softsign": RecurrentActivation(
        lambda x, out, a, b: np.divide(x, 1 + np.abs(x), out=out), lambda x, y, a, b: (1 + np.abs(x)) ** -2.0
    ),
    "softplus": RecurrentActivation(
        lambda x, out, a, b: np.logaddexp(x, x.dtype.type(0), out=out), lambda x, y, a, b: _logistic(x)
    ),
}

Bound = tuple[RecurrentActivation, float, float]


class Role:
    """The activation of one role (``f``, ``g`` or ``h``) in each direction; arrays have the directions first."""

    def __init__(self, bound: Sequence[Bound]) -> None:
        self.bound = tuple(bound)
        self._is_one = all(item == self.bound[0] for item in self.bound)

    def apply(self, x: np.ndarray, out: np.ndarray) -> None:
        """Write the activation of ``x`` into ``out``, which may be ``x``."""
        if self._is_one:
            activation, alpha, beta = self.bound[0]
            activation.function(x, out, alpha, beta)
            return
        for number, (activation, alpha, beta) in enumerate(self.bound):
            activation.function(x[number], out[number], alpha, beta)

    def slope(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The derivative at ``x``, where the activation is ``y``."""
        found = np.empty_like(x)
        for number, (activation, alpha, beta) in enumerate(self.bound):
            found[number] = activation.slope(x[number], y[number], alpha, beta)
        return found


@lru_cache(maxsize=256)
def chosen(
    names: tuple[str, ...], alphas: tuple[float, ...], betas: tuple[float, ...], directions: int, roles: int
) -> tuple[Role, ...]:
    """The roles of a node. ``names`` lists those of the forward direction, then those of the other.

    Alphas and betas are consumed in the order of the names, by the activations that take one; defaults fill the rest.
    Raises ``ValueError`` for an unknown name and for too few of them.
    """
    if len(names) < directions * roles:
        raise ValueError(f"activations must name {roles} for each of {directions} directions, got {list(names)}")
    remaining_alphas, remaining_betas = iter(alphas), iter(betas)
    bound: list[Bound] = []
    for name in names:
        activation = ACTIVATIONS.get(name.lower())
        if activation is None:
            raise ValueError(f"activation {name!r} must be one of {', '.join(ACTIVATIONS)} (in any case)")
        alpha, beta = activation.alpha, activation.beta
        bound.append(
            (
                activation,
                0.0 if alpha is None else next(remaining_alphas, alpha),
                0.0 if beta is None else next(remaining_betas, beta),
            )
        )
    return tuple(Role(bound[role : directions * roles : roles]) for role in range(roles))
