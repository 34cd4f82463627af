"""The attributes of tree operators as a forest and its leaf weights: the form of versions 1 and 3, and that of 5.

Versions 1 and 3 list inner nodes and leaves together, numbered within their tree, and weights that name tree and node;
version 3 can give numbers as tensors, for float64. In version 5 inner nodes and leaves are lists of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.operators.ml.forest import LEQ, MODES, Forest, grow
from toolkit.operators.ml.leaf_weights import LeafWeights, leaf_weights
from toolkit.operators.ml.packing import Packing

Integers = Sequence[int] | None
Numbers = Sequence[float] | np.ndarray | None
Ensemble = tuple[Forest, LeafWeights]

NODE_ATTRIBUTES = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
)

SPLIT_ATTRIBUTES = (
    "tree_roots",
    "nodes_featureids",
    "nodes_modes",
    "nodes_splits",
    "nodes_truenodeids",
    "nodes_trueleafs",
    "nodes_falsenodeids",
    "nodes_falseleafs",
    "nodes_missing_value_tracks_true",
    "membership_values",
    "leaf_targetids",
    "leaf_weights",
)


def either(values: Numbers, tensor: np.ndarray | None, name: str) -> Numbers:
    """What an attribute or its ``_as_tensor`` form gives. Raises ``ValueError`` when both do."""
    if tensor is None or not np.size(tensor):
        return values
    if values is not None and len(values):
        raise ValueError(f"{name} and {name}_as_tensor must not both be given")
    return tensor


def listed_ensemble(
    dtype: np.dtype,
    targets: int,
    weights: Sequence[Any],
    thresholds: Numbers,
    attributes: Mapping[str, Any],
) -> Ensemble:
    """Versions 1 and 3; ``weights`` are the attributes of tree, node, target and weight."""
    nodes = [attributes.get(name) for name in NODE_ATTRIBUTES]
    return LISTED(dtype, targets, *weights, thresholds, *nodes)


def _integers(values: Integers | np.ndarray, count: int | None = None, name: str = "") -> np.ndarray:
    found = np.asarray([] if values is None else values, np.int64).reshape(-1)
    if count is not None and found.size != count:
        raise ValueError(f"{name} must have {count} elements, got {found.size}")
    return found


def _listed(
    dtype: np.dtype,
    targets: int,
    weight_trees: Integers,
    weight_nodes: Integers,
    weight_targets: Integers,
    weight_values: Numbers,
    thresholds: Numbers,
    *attributes: Any,
) -> Ensemble:
    nodes = dict(zip(NODE_ATTRIBUTES, attributes, strict=True))
    trees = _integers(nodes["nodes_treeids"])
    count = len(trees)
    numbers, features, on_true, on_false = (
        _integers(nodes[name], count, name)
        for name in ("nodes_nodeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids")
    )
    modes = _modes(nodes["nodes_modes"], count)
    values = np.asarray([] if thresholds is None else thresholds, dtype).reshape(-1)
    if values.size != count:
        raise ValueError(f"nodes_values must have {count} elements, got {values.size}")
    tracked = _flags(nodes["nodes_missing_value_tracks_true"], count)
    places = _Places(trees, numbers)
    is_inner = modes >= 0
    inner, renumbered = int(is_inner.sum()), np.empty(count, np.int64)
    renumbered[is_inner], renumbered[~is_inner] = np.arange(inner), np.arange(inner, count)
    _, roots = np.unique(trees, return_index=True)
    forest = grow(
        modes[is_inner],
        features[is_inner],
        values[is_inner],
        renumbered[places.find(trees[is_inner], on_true[is_inner])],
        renumbered[places.find(trees[is_inner], on_false[is_inner])],
        tracked[is_inner],
        renumbered[np.sort(roots)],
        count - inner,
    )
    owners = renumbered[places.find(_integers(weight_trees), _integers(weight_nodes))]
    target = _integers(weight_targets, len(owners), "the targets of weights")
    weight = np.asarray([] if weight_values is None else weight_values, dtype).reshape(-1)
    if weight.size != len(owners):
        raise ValueError(f"there must be {len(owners)} weights, as many as targets, got {weight.size}")
    at_leaf = owners >= inner  # weights of inner nodes are never asked for
    return forest, leaf_weights(owners[at_leaf] - inner, target[at_leaf], weight[at_leaf], count - inner, targets)


class _Places:
    """Where the node of a tree stands in the list."""

    def __init__(self, trees: np.ndarray, numbers: np.ndarray) -> None:
        self._lowest = int(numbers.min(initial=0))
        self._base = int(numbers.max(initial=0)) - self._lowest + 1
        keys = self._key(trees, numbers)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        if (self._keys[1:] == self._keys[:-1]).any():
            raise ValueError("a node must be listed once: two of nodes_nodeids in one tree are the same")

    def _key(self, trees: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return np.asarray(trees * self._base + numbers - self._lowest)

    def find(self, trees: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Positions of the nodes. Raises ``ValueError`` for one that does not exist."""
        if trees.shape != numbers.shape:
            raise ValueError(f"{len(trees)} trees and {len(numbers)} nodes must be as many")
        outside = (numbers < self._lowest) | (numbers >= self._lowest + self._base)
        keys = self._key(trees, numbers)
        near = np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))
        wrong = outside if not len(self._keys) else outside | (self._keys[near] != keys)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise ValueError(f"tree {trees[at]} has no node {numbers[at]}")
        return self._order[near] if len(self._keys) else near


def _modes(names: Sequence[str] | None, count: int) -> np.ndarray:
    """Indices into ``MODES``, -1 for a leaf."""
    kinds = {name: number for number, name in enumerate(MODES)} | {"LEAF": -1}
    unknown = sorted(set(names or ()) - set(kinds))
    if unknown or len(names or ()) != count:
        raise ValueError(f"nodes_modes must be {count} of {', '.join(kinds)}, got {len(names or ())} with {unknown}")
    return np.array([kinds[name] for name in names or ()], np.int64)


def _flags(values: Integers, count: int) -> np.ndarray:
    """Truth values, false where the list is too short: it may be left out."""
    found = np.zeros(count, bool)
    given = _integers(values)[:count]
    found[: len(given)] = given == 1
    return found


def _split(
    dtype: np.dtype,
    targets: int,
    tree_roots: Integers,
    nodes_featureids: Integers,
    nodes_modes: np.ndarray,
    nodes_splits: np.ndarray,
    nodes_truenodeids: Integers,
    nodes_trueleafs: Integers,
    nodes_falsenodeids: Integers,
    nodes_falseleafs: Integers,
    nodes_missing_value_tracks_true: Integers,
    membership_values: np.ndarray | None,
    leaf_targetids: Integers,
    leaf_weight: np.ndarray,
) -> Ensemble:
    features = _integers(nodes_featureids)
    count, weight = len(features), np.asarray(leaf_weight, dtype).reshape(-1)
    modes = _integers(nodes_modes, count, "nodes_modes")
    if count and not LEQ <= modes.min() <= modes.max() < len(MODES):
        raise ValueError(f"nodes_modes must lie in [0, {len(MODES) - 1}], got {modes.min()} to {modes.max()}")
    splits = np.asarray(nodes_splits, dtype).reshape(-1)
    if splits.size != count:
        raise ValueError(f"nodes_splits must have {count} elements, got {splits.size}")
    on_true, on_false = (
        _children(nodes, leaves, count, len(weight))
        for nodes, leaves in ((nodes_truenodeids, nodes_trueleafs), (nodes_falsenodeids, nodes_falseleafs))
    )
    forest = grow(
        modes,
        features,
        splits,
        on_true,
        on_false,
        _flags(nodes_missing_value_tracks_true, count),
        _integers(tree_roots),
        len(weight),
        membership_values,
    )
    target = _integers(leaf_targetids, len(weight), "leaf_targetids")
    return forest, leaf_weights(np.arange(len(weight)), target, weight, len(weight), targets)


def _children(nodes: Integers, leaves: Integers, count: int, leaf_count: int) -> np.ndarray:
    number, is_leaf = _integers(nodes, count, "child nodes"), _integers(leaves, count, "leaf flags") != 0
    if number.size and (number.min() < 0 or (number >= np.where(is_leaf, leaf_count, count)).any()):
        raise ValueError(f"children must be one of {count} nodes or {leaf_count} leaves, got up to {number.max()}")
    return np.where(is_leaf, number + count, number)


LISTED: Packing[Ensemble] = Packing(_listed)
SPLIT: Packing[Ensemble] = Packing(_split)
