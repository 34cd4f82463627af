"""What leaves contribute to each target, and how the contributions of all trees are put together.

Leaves with weights for several targets are rows of a table; where there are several targets and each leaf speaks for
one, which is what boosted trees look like, leaves are two vectors instead. SUM adds the trees in their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")  # TreeEnsemble numbers them in this order


@dataclass(frozen=True, slots=True)
class LeafTable:
    """``weight`` (leaves, targets), and which of them the model gives; see ``LeafVector`` for the rest."""

    weight: np.ndarray
    given: np.ndarray
    is_full: bool
    is_sole: bool
    is_positive: bool

    @property
    def targets(self) -> int:
        return self.weight.shape[1]

    def total(self, leaves: np.ndarray) -> np.ndarray:
        """The sum over the trees of ``leaves`` (trees, rows), per row and target."""
        return np.asarray(self.weight.take(leaves, axis=0).sum(axis=0))

    def extreme(self, leaves: np.ndarray, function: np.ufunc, start: float) -> np.ndarray:
        """The smallest or largest given weight, ``start`` where there is none."""
        return np.asarray(function.reduce(np.where(self.given, self.weight, start).take(leaves, axis=0), axis=0))

    def is_given(self, leaves: np.ndarray) -> np.ndarray:
        """Whether any of a row's leaves has a weight for the target."""
        if self.is_full and len(leaves):
            return np.ones((leaves.shape[1], self.targets), bool)
        return np.asarray(self.given.take(leaves, axis=0).any(axis=0))


@dataclass(frozen=True, slots=True)
class LeafVector:
    """One ``weight`` and one ``target`` per leaf; ``given`` is false for leaves without any.

    ``is_sole`` says that all weights are for the same target, ``is_positive`` that none is negative.
    """

    weight: np.ndarray
    target: np.ndarray
    given: np.ndarray
    targets: int
    is_sole: bool
    is_positive: bool

    def total(self, leaves: np.ndarray) -> np.ndarray:
        """As ``LeafTable.total``."""
        return self._counted(leaves, self.weight).astype(self.weight.dtype)

    def extreme(self, leaves: np.ndarray, function: np.ufunc, start: float) -> np.ndarray:
        """As ``LeafTable.extreme``."""
        weight = np.where(self.given, self.weight, self.weight.dtype.type(start))
        found = np.full(leaves.shape[1] * self.targets, start, self.weight.dtype)
        function.at(found, self._places(leaves), weight.take(leaves))
        return found.reshape(-1, self.targets)

    def is_given(self, leaves: np.ndarray) -> np.ndarray:
        """As ``LeafTable.is_given``."""
        return self._counted(leaves, self.given) > 0

    def _places(self, leaves: np.ndarray) -> np.ndarray:
        return np.asarray(self.target.take(leaves) + np.arange(leaves.shape[1]) * self.targets)

    def _counted(self, leaves: np.ndarray, weight: np.ndarray) -> np.ndarray:
        size, places = leaves.shape[1] * self.targets, self._places(leaves)
        found = np.bincount(places.reshape(-1), weight.take(leaves).reshape(-1), minlength=size)
        return found.reshape(-1, self.targets)


LeafWeights = LeafTable | LeafVector


def leaf_weights(leaf: np.ndarray, target: np.ndarray, weight: np.ndarray, leaves: int, targets: int) -> LeafWeights:
    """From parallel vectors that name leaf, target and weight. Raises ``ValueError`` for a target out of range."""
    if target.size and not 0 <= target.min() <= target.max() < targets:
        raise ValueError(f"targets must lie in [0, {targets - 1}], got {target.min()} to {target.max()}")
    is_sole = bool(target.size) and bool((target == target[0]).all())
    is_positive = bool((weight >= 0).all())
    if targets > 1 and np.bincount(leaf, minlength=leaves).max(initial=0) <= 1:
        values, targeted, given = np.zeros(leaves, weight.dtype), np.zeros(leaves, np.int64), np.zeros(leaves, bool)
        values[leaf], targeted[leaf], given[leaf] = weight, target, True
        return LeafVector(values, targeted, given, targets, is_sole, is_positive)
    table, given = np.zeros((leaves, targets), weight.dtype), np.zeros((leaves, targets), bool)
    np.add.at(table, (leaf, target), weight)
    given[leaf, target] = True
    return LeafTable(table, given, bool(given.all()), is_sole, is_positive)


def aggregate(weights: LeafWeights, leaves: np.ndarray, function: str) -> np.ndarray:
    """(rows, targets) from the leaves (trees, rows); a target that no leaf has a weight for gets 0."""
    if function == "SUM":
        return weights.total(leaves)
    if function == "AVERAGE":
        return weights.total(leaves) / weights.weight.dtype.type(max(len(leaves), 1))
    if function not in AGGREGATES:
        raise ValueError(f"aggregate_function must be one of {', '.join(AGGREGATES)}, got {function!r}")
    ufunc, start = (np.minimum, np.inf) if function == "MIN" else (np.maximum, -np.inf)
    if not len(leaves):
        return weights.total(leaves)
    return np.where(weights.is_given(leaves), weights.extreme(leaves, ufunc, start), 0)
