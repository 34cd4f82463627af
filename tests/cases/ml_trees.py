"""Cases of ``toolkit.operators.ml.trees``; forests of random shape are in ``tests/operators/test_ml_trees.py``."""

from functools import partial
from typing import Any

import numpy as np

from tests.support.case import Case, integers, uniform, variable

Row = partial(Case, domain="ai.onnx.ml")

# Two trees: x0 <= 0.5 ? (x1 < -0.5 ? 3 : 4) : 2, and x2 <= 0 ? 1 : 2
TREES: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0, 0, 0, 1, 1, 1],
    "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2],
    "nodes_featureids": [0, 1, 0, 0, 0, 2, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_LT", "LEAF", "LEAF", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_values": [0.5, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 3, 0, 0, 0, 1, 0, 0],
    "nodes_falsenodeids": [2, 4, 0, 0, 0, 2, 0, 0],
}
LEAVES = [(0, 2), (0, 3), (0, 4), (1, 1), (1, 2)]
MISSING = variable([[np.nan, 0.0, 1.0], [0.0, np.nan, np.nan], [1.0, -1.0, np.nan]])


def weights(kind: str, ids: list[int], values: list[float]) -> dict[str, Any]:
    """The attributes that give each leaf one weight."""
    return {
        f"{kind}_treeids": [tree for tree, _ in LEAVES],
        f"{kind}_nodeids": [node for _, node in LEAVES],
        f"{kind}_ids": ids,
        f"{kind}_weights": values,
    }


def as_tensors(attributes: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same attributes with some of them as float64 tensors."""
    return {
        f"{name}_as_tensor" if name in names else name: np.array(value, np.float64) if name in names else value
        for name, value in attributes.items()
    }


REGRESSION = {**TREES, **weights("target", [0] * 5, [0.1, 0.2, -0.3, 0.4, 0.35]), "n_targets": 1}
TWO_TARGETS = {**TREES, **weights("target", [0, 1, 0, 1, 0], [0.1, 0.2, -0.3, 0.4, 0.35]), "n_targets": 2}
POSITIVE = {**TREES, **weights("class", [0] * 5, [0.1, 0.2, 0.3, 0.4, 0.35])}
SIGNED = {**TREES, **weights("class", [0] * 5, [0.1, 0.2, -0.3, -0.4, 0.35])}
SECOND = {**TREES, **weights("class", [1] * 5, [0.1, 0.2, -0.3, -0.4, 0.35])}
THREE = {**TREES, **weights("class", [0, 1, 2, 1, 2], [0.1, 0.2, 0.3, 0.4, 0.35])}
BOTH = {
    **TREES,
    "class_treeids": [tree for tree, _ in LEAVES for _ in range(2)],
    "class_nodeids": [node for _, node in LEAVES for _ in range(2)],
    "class_ids": [0, 1] * 5,
    "class_weights": [0.1, 0.4, 0.5, 0.0, 0.2, 0.3, 0.25, 0.25, 0.3, 0.2],
}
INTEGERS, STRINGS = {"classlabels_int64s": [0, 1]}, {"classlabels_strings": ["no", "yes"]}
X = uniform("N", 3)


def classifier(note: str, x: Any = X, version: int = 1, **attributes: Any) -> Case:
    return Row("TreeEnsembleClassifier", [x], attributes, version=version, outputs=2, note=note)


# x0 <= 0 ? (x1 in {1, 3, 40} ? leaf 0 : leaf 1) : (x1 in {2} ? leaf 1 : leaf 2), and a tree that is leaf 0
SPLIT: dict[str, Any] = {
    "tree_roots": [0, 3],
    "nodes_featureids": [0, 1, 1, 0],
    "nodes_modes": np.array([0, 6, 6, 0], np.uint8),
    "nodes_splits": np.array([0, 0, 0, 0], np.float32),
    "nodes_truenodeids": [1, 0, 1, 0],
    "nodes_trueleafs": [0, 1, 1, 1],
    "nodes_falsenodeids": [2, 1, 2, 0],
    "nodes_falseleafs": [0, 1, 1, 1],
    "membership_values": np.array([1, 3, 40, np.nan, 2, np.nan], np.float32),
    "leaf_targetids": [0, 1, 0],
    "leaf_weights": np.array([0.5, -1.0, 2.0], np.float32),
    "n_targets": 2,
}
SETS = variable([[-1.0, 3.0], [0.0, 2.0], [1.0, 2.0], [2.0, 1.0], [-2.0, 40.0]])


def in_type(dtype: str) -> dict[str, Any]:
    """SPLIT with its numbers in another type."""
    names = ("nodes_splits", "membership_values", "leaf_weights")
    return {**SPLIT, **{name: SPLIT[name].astype(dtype) for name in names}}


def by_hand(x: np.ndarray, post_transform: int = 0, **_: Any) -> np.ndarray:
    """SPLIT, row by row; transforms are NONE, SOFTMAX and LOGISTIC."""
    found = np.zeros((len(x), 2), x.dtype)
    for row, (a, b) in zip(found, x, strict=True):
        leaf = (0 if b in (1, 3, 40) else 1) if a <= 0 else (1 if b == 2 else 2)
        row += [[0.5, 0.0], [0.0, -1.0], [2.0, 0.0]][leaf]
        row += [0.5, 0.0]
    powers = np.exp(found)
    return [found, powers / powers.sum(axis=1, keepdims=True), powers / (1 + powers)][post_transform]


CASES = [
    Row("TreeEnsembleRegressor", [X], REGRESSION, version=1),
    Row("TreeEnsembleRegressor", [uniform(3)], REGRESSION, version=1, note="row"),
    Row("TreeEnsembleRegressor", [X], {**REGRESSION, "base_values": [0.5]}, version=3, note="base"),
    Row("TreeEnsembleRegressor", [uniform("N", 3, dtype="float64")], REGRESSION, version=3, note="double"),
    Row(
        "TreeEnsembleRegressor",
        [uniform("N", 3, dtype="float64")],
        as_tensors({**REGRESSION, "base_values": [0.25]}, "nodes_values", "target_weights", "base_values"),
        version=3,
        note="tensors",
    ),
    Row("TreeEnsembleRegressor", [MISSING], REGRESSION, version=3, note="missing"),
    Row(
        "TreeEnsembleRegressor",
        [MISSING],
        {**REGRESSION, "nodes_missing_value_tracks_true": [1, 0, 0, 0, 0, 1, 0, 0]},
        version=3,
        note="missing tracked",
    ),
    *(
        Row(
            "TreeEnsembleRegressor",
            [X],
            {**REGRESSION, "nodes_modes": [mode, mode, *TREES["nodes_modes"][2:]]},
            version=1,
            note=mode,
        )
        for mode in ("BRANCH_GT", "BRANCH_GTE", "BRANCH_EQ", "BRANCH_NEQ")
    ),
    *(
        Row(
            "TreeEnsembleRegressor",
            [X],
            {**attributes, "aggregate_function": name},
            version=version,
            note=f"{name} {note}",
        )
        for name in ("SUM", "AVERAGE", "MIN", "MAX")
        for attributes, version, note in ((REGRESSION, 1, "one"), (TWO_TARGETS, 3, "two"))
    ),
    *(
        Row("TreeEnsembleRegressor", [X], {**TWO_TARGETS, "post_transform": name}, version=1, note=name)
        for name in ("SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
    ),
    classifier("three", classlabels_int64s=[4, 2, 9], **THREE),
    classifier("three strings", classlabels_strings=["a", "b", "c"], base_values=[0.1, 0.4, -0.2], **THREE),
    classifier("integers", integers("N", 3, low=-2, high=3), 3, classlabels_int64s=[4, 2, 9], **THREE),
    classifier("double", uniform("N", 3, dtype="float64"), 3, **STRINGS, **BOTH),
    classifier(
        "tensors",
        uniform("N", 3, dtype="float64"),
        3,
        **INTEGERS,
        **as_tensors(BOTH, "nodes_values", "class_weights"),
    ),
    classifier("one class", classlabels_int64s=[3], **SIGNED),
    *(
        classifier(f"{note} {name} {len(base)} base", **labels, **attributes, base_values=base, post_transform=name)
        for name in ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")
        for note, labels, attributes in (
            ("positive", STRINGS, POSITIVE),
            ("signed", STRINGS, SIGNED),
            ("second", STRINGS, SECOND),
            ("both", INTEGERS, BOTH),
        )
        for base in ([], [0.25], [0.25, -0.5])
    ),
    Row("TreeEnsemble", [SETS], SPLIT, version=5),
    Row("TreeEnsemble", [variable([[-1.0, 3.0], [1.0, 2.0]], "float64")], in_type("float64"), version=5, note="double"),
    Row(
        "TreeEnsemble",
        [variable([[-1, 3], [1, 2]], "float16")],
        in_type("float16"),
        version=5,
        judge=by_hand,
        note="half",
    ),
    *(
        Row("TreeEnsemble", [SETS], {**SPLIT, "aggregate_function": number}, version=5, note=f"aggregate {number}")
        for number in (0, 2, 3)
    ),
    *(
        Row(
            "TreeEnsemble",
            [SETS],
            {**SPLIT, "post_transform": number},
            version=5,
            judge=judge,
            note=f"transform {number}",
        )
        # onnxruntime takes SOFTMAX and LOGISTIC for each other
        for number, judge in ((1, by_hand), (2, by_hand), (3, "onnxruntime"), (4, "onnxruntime"))
    ),
]
