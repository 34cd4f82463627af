"""TreeEnsembleClassifier, TreeEnsembleRegressor (versions 1 and 3) and TreeEnsemble (version 5).

Trees compare and add in float32, in float64 where the input is. ``binary_scores`` follows onnxruntime, because the
specification does not say how two classes get their scores from trees that speak for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from toolkit.operators.ml.class_labels import classified, one_of
from toolkit.operators.ml.leaf_weights import AGGREGATES, aggregate
from toolkit.operators.ml.post_transform import NAMES, transformed, with_opposite
from toolkit.operators.ml.rows import DOMAIN, FLOAT, Types, as_rows, first, narrowed, row_shape
from toolkit.operators.ml.tree_attributes import SPLIT, SPLIT_ATTRIBUTES, Ensemble, either, listed_ensemble
from toolkit.operators.precision import in_float32
from toolkit.operators.record import TensorType, not_differentiable, operator

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
CONSTANT = not_differentiable("piecewise constant", slope_is_zero=True)


def prepared(x: np.ndarray) -> tuple[np.ndarray, np.dtype]:
    """Rows in the type that trees compare in, and that type."""
    rows = as_rows(x)
    return (rows, DOUBLE) if rows.dtype == DOUBLE else (narrowed(rows), SINGLE)


def prepared_type(dtype: np.dtype) -> np.dtype:
    """The type that trees compare inputs of a type in."""
    return DOUBLE if dtype == DOUBLE else SINGLE


def base_of(attributes: Mapping[str, Any], dtype: np.dtype) -> np.ndarray:
    """The base values of an ensemble; empty where it has none."""
    found = either(attributes.get("base_values"), attributes.get("base_values_as_tensor"), "base_values")
    return np.asarray([] if found is None else found, dtype).reshape(-1)


def _listed(dtype: np.dtype, targets: int, title: str, attributes: Mapping[str, Any]) -> Ensemble:
    """``title`` begins the names of the attributes that say what leaves contribute."""
    weights = either(
        attributes.get(f"{title}_weights"), attributes.get(f"{title}_weights_as_tensor"), f"{title}_weights"
    )
    thresholds = either(attributes.get("nodes_values"), attributes.get("nodes_values_as_tensor"), "nodes_values")
    owners = [attributes.get(f"{title}_{name}") for name in ("treeids", "nodeids", "ids")]
    return listed_ensemble(dtype, targets, [*owners, weights], thresholds, attributes)


def regression(dtype: np.dtype, attributes: Mapping[str, Any]) -> Ensemble:
    """The forest of a TreeEnsembleRegressor, and what its leaves contribute to each target."""
    targets = _targets(attributes.get("n_targets"), attributes.get("target_ids"))
    return _listed(dtype, targets, "target", attributes)


def classification(dtype: np.dtype, attributes: Mapping[str, Any]) -> Ensemble:
    """The same of a TreeEnsembleClassifier, for each class."""
    return _listed(dtype, len(one_of(attributes, "classlabels_strings", "classlabels_int64s")), "class", attributes)


def regressor(dtype: np.dtype, **attributes: Any) -> Callable[[np.ndarray], np.ndarray]:
    """TreeEnsembleRegressor on rows of ``dtype``: what the leaves of all trees add up to, with the base values."""
    forest, leaf = regression(dtype, attributes)
    targets, base = leaf.targets, base_of(attributes, dtype)
    function, post_transform = attributes.get("aggregate_function", "SUM"), attributes.get("post_transform", "NONE")
    if base.size not in (0, targets):
        raise ValueError(f"base_values must have one element for each of {targets} targets, got {base.size}")

    def scored(rows: np.ndarray) -> np.ndarray:
        scores = np.empty((len(rows), targets), dtype)
        for part, leaves in forest.leaves(rows):
            scores[part] = aggregate(leaf, leaves, function)
        return narrowed(transformed(scores + base if base.size else scores, post_transform))

    return scored


def tree_ensemble_regressor(x: np.ndarray, **attributes: Any) -> np.ndarray:
    """(rows, targets)."""
    rows, dtype = prepared(x)
    return regressor(dtype, **attributes)(rows)


def _targets(n_targets: int | None, target_ids: Any) -> int:
    found = int(n_targets) if n_targets else max(target_ids or [0]) + 1
    if found < 1:
        raise ValueError(f"n_targets must be positive, got {found}")
    return found


def _infer_regressor(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    targets = _targets(attributes.get("n_targets"), attributes.get("target_ids"))
    return [(FLOAT, (row_shape(first(types)[1])[0], targets))]


def classifier(dtype: np.dtype, **attributes: Any) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """TreeEnsembleClassifier on rows of ``dtype``: labels, and scores (rows, classes)."""
    labels = one_of(attributes, "classlabels_strings", "classlabels_int64s")
    forest, leaf = classification(dtype, attributes)
    base, post_transform = base_of(attributes, dtype), attributes.get("post_transform", "NONE")
    if base.size > max(len(labels), 1) or (len(labels) > 2 and base.size not in (0, len(labels))):
        raise ValueError(f"base_values must have one element for each of {len(labels)} classes, got {base.size}")

    def decided(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, given = np.empty((len(rows), len(labels)), dtype), np.ones((len(rows), len(labels)), bool)
        for part, leaves in forest.leaves(rows):
            scores[part] = leaf.total(leaves)
            if len(labels) == 2 or not base.size:
                given[part] = leaf.is_given(leaves)
        if len(labels) == 2:
            chosen, scores = binary_scores(scores, given, base, leaf.is_sole, leaf.is_positive, post_transform)
            return labels[chosen], narrowed(scores)
        if base.size:
            scores = scores + base
        if len(labels) == 1:
            chosen = np.array([0, 1]).astype(labels.dtype)[(scores[:, 0] > 0).astype(np.int64)]  # as onnxruntime does
        else:
            chosen = labels[np.where(given, scores, -np.inf).argmax(axis=1)]
        return chosen, narrowed(transformed(scores, post_transform))

    return decided


def tree_ensemble_classifier(x: np.ndarray, **attributes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores (rows, classes)."""
    rows, dtype = prepared(x)
    return classifier(dtype, **attributes)(rows)


def binary_scores(
    scores: np.ndarray, given: np.ndarray, base: np.ndarray, is_sole: bool, is_positive: bool, post_transform: str
) -> tuple[np.ndarray, np.ndarray]:
    """The class, 0 or 1, and the scores (rows, 2) of two classes, as onnxruntime decides them.

    - The score that decides is that of the second class, or of the first in rows where no leaf speaks for the second.
    - It must be above 0 for the second class to win; above 0.5 if all weights are for one class and none is negative.
    - In rows where no leaf speaks for the second class, the deciding score s stands for it: the scores are 1 - s and s
      where it counts as a probability, else -s and s.
    - Two base values, where a leaf speaks for the second class, make the scores -s and s with s the score of the first
      class and the second base value; a single base value is added to the first class.
    """
    has_first, has_second = given[:, 0], given[:, 1]
    low, high = scores[:, 0], scores[:, 1]
    if base.size == 2:
        low, high = np.where(has_second, -(low + base[1]), low + base[0]), np.where(has_second, low, high) + base[1]
    elif base.size == 1:
        low = low + base[0]
    deciding = np.where(has_second, high, np.where(has_first, low, 0))
    chosen = (deciding > (0.5 if is_sole and is_positive else 0)).astype(np.int64)
    pair = np.stack([np.where(has_first, low, 0), np.where(has_second, high, 0)], axis=1)
    found = transformed(pair, post_transform)
    is_single = ~has_second & (base.size < 2)
    if is_single.any():
        opposite = with_opposite(pair[:, 0], post_transform, is_sole & is_positive)
        found = np.where(is_single[:, None], opposite, found)
    return chosen, found


def _infer_classifier(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    labels = one_of(attributes, "classlabels_strings", "classlabels_int64s")
    return classified(row_shape(first(types)[1])[0], labels, len(labels))


def split_ensemble(dtype: np.dtype, attributes: Mapping[str, Any]) -> Ensemble:
    """The forest of a TreeEnsemble, and what its leaves contribute to each target."""
    targets = _targets(attributes.get("n_targets"), attributes.get("leaf_targetids"))
    return SPLIT(dtype, targets, *map(attributes.get, SPLIT_ATTRIBUTES))


@in_float32
def tree_ensemble(
    x: np.ndarray, *, aggregate_function: int = 1, post_transform: int = 0, **attributes: Any
) -> np.ndarray:
    """(rows, targets) in the type of the input."""
    rows, dtype = prepared(x)
    forest, leaf = split_ensemble(dtype, attributes)
    if not 0 <= aggregate_function < len(AGGREGATES) or not 0 <= post_transform < len(NAMES):
        raise ValueError(f"aggregate_function={aggregate_function} and post_transform={post_transform} must be listed")
    scores = np.empty((len(rows), leaf.targets), dtype)
    for part, leaves in forest.leaves(rows):
        scores[part] = aggregate(leaf, leaves, AGGREGATES[aggregate_function])
    return transformed(scores, NAMES[post_transform])


def _infer_ensemble(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    dtype, shape = first(types)
    targets = _targets(attributes.get("n_targets"), attributes.get("leaf_targetids"))
    return [(dtype, (row_shape(shape)[0], targets))]


for _since in (1, 3):
    operator(
        "TreeEnsembleRegressor",
        domain=DOMAIN,
        since=_since,
        reference=tree_ensemble_regressor,
        gradient=CONSTANT,
        infer=_infer_regressor,
        host_only="its trees are descended there",
    )
    operator(
        "TreeEnsembleClassifier",
        domain=DOMAIN,
        since=_since,
        reference=tree_ensemble_classifier,
        gradient=CONSTANT,
        infer=_infer_classifier,
        host_only="its trees are descended there",
    )
operator(
    "TreeEnsemble",
    domain=DOMAIN,
    since=5,
    reference=tree_ensemble,
    gradient=CONSTANT,
    infer=_infer_ensemble,
    host_only="its trees are descended there",
)
