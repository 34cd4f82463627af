"""Tree ensembles: random trees of all comparisons, with weights for one class or several, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from tests.support.case import Case, uniform
from tests.support.placed import placed
from toolkit.backends import native
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.registry import numpy_backend

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

FEATURES, TREES = 5, 7
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")


class Grown:
    """The attributes of random trees; ``title`` begins the names of those that say what leaves contribute."""

    def __init__(
        self,
        title: str,
        targets: int,
        *,
        per_leaf: int = 1,
        modes: tuple[str, ...] = MODES,
        seed: int = 0,
        trees: int = TREES,
    ) -> None:
        self._random, self._modes = np.random.default_rng(seed), modes
        names = ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
        self._nodes: dict[str, list[Any]] = {name: [] for name in (*names, "missing_value_tracks_true")}
        self._leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
        self._targets, self._per_leaf = targets, per_leaf
        for tree in range(trees):
            self._count = 0
            self._grow(tree, depth=0)
        self.attributes = {f"nodes_{name}": values for name, values in self._nodes.items()}
        self.attributes |= {f"{title}_{name}": values for name, values in self._leaves.items()}

    def _grow(self, tree: int, depth: int) -> int:
        number, random = self._count, self._random
        self._count += 1
        row = len(self._nodes["treeids"])
        is_leaf = depth == 4 or (depth > 0 and random.random() < 0.3)
        content = {
            "treeids": tree,
            "nodeids": number,
            "featureids": int(random.integers(FEATURES)),
            "modes": "LEAF" if is_leaf else str(random.choice(self._modes)),
            "values": float(random.integers(-3, 4)) / 2,
            "truenodeids": 0,
            "falsenodeids": 0,
            "missing_value_tracks_true": int(random.integers(2)),
        }
        for name, value in content.items():
            self._nodes[name].append(value)
        if is_leaf:
            for target in random.choice(self._targets, self._per_leaf, replace=False):
                found = {"treeids": tree, "nodeids": number, "ids": int(target), "weights": float(random.normal())}
                for name, value in found.items():
                    self._leaves[name].append(value)
        else:
            self._nodes["truenodeids"][row] = self._grow(tree, depth + 1)
            self._nodes["falsenodeids"][row] = self._grow(tree, depth + 1)
        return number


def rows(count: int, dtype: str = "float32") -> np.ndarray:
    """Numbers that often equal a threshold; some are missing."""
    random = np.random.default_rng(1)
    found = random.integers(-4, 5, (count, FEATURES)) / 2
    if dtype.startswith("float"):
        found[random.random(found.shape) < 0.1] = np.nan
    return found.astype(dtype)


def classify(given: np.ndarray, classes: int, version: int = 3, **attributes: Any) -> None:
    labels = [10 * (index + 1) for index in range(classes)]
    whole = {"classlabels_int64s": labels, **attributes}
    check_node("TreeEnsembleClassifier", [given], whole, domain="ai.onnx.ml", version=version, outputs=2)


def regress(given: np.ndarray, **attributes: Any) -> None:
    check_node("TreeEnsembleRegressor", [given], attributes, domain="ai.onnx.ml", version=3)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("per_leaf", [1, 2])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classes_and_transforms(classes: int, per_leaf: int, transform: str) -> None:
    grown = Grown("class", classes, per_leaf=per_leaf)
    classify(rows(40), classes, **grown.attributes, post_transform=transform)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("base", [[], [0.3], [0.3, -0.2]])
def test_two_classes_of_which_trees_speak_for_one(base: list[float], transform: str) -> None:
    grown = Grown("class", 1)
    more: dict[str, Any] = {"base_values": base} if base else {}
    classify(rows(40), 2, **grown.attributes, **more, post_transform=transform)
    grown.attributes["class_weights"] = [abs(item) for item in grown.attributes["class_weights"]]
    classify(rows(40), 2, **grown.attributes, **more, post_transform=transform)


def test_base_values_of_several_classes() -> None:
    grown = Grown("class", 3)
    classify(rows(40), 3, **grown.attributes, base_values=[0.5, 0.0, -2.0])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
@pytest.mark.parametrize("function", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("targets", [1, 3])
def test_regression(targets: int, function: str, dtype: str) -> None:
    grown = Grown("target", targets)
    base = [0.25 * index for index in range(targets)]
    regress(rows(17, dtype), **grown.attributes, n_targets=targets, aggregate_function=function, base_values=base)


@pytest.mark.parametrize("mode", MODES)
def test_every_comparison_alone(mode: str) -> None:
    regress(rows(60), **Grown("target", 1, modes=(mode,), seed=2).attributes)


@pytest.mark.parametrize("per_leaf", [1, 2])
@pytest.mark.parametrize("function", ["MIN", "MAX"])
def test_extremes_of_targets_that_not_all_leaves_have(function: str, per_leaf: int) -> None:
    grown = Grown("target", 4, per_leaf=per_leaf, trees=2)
    regress(rows(17), **grown.attributes, n_targets=4, aggregate_function=function)


@pytest.mark.parametrize("trees", [1, 8, 21])
@pytest.mark.parametrize("classes", [2, 4])
def test_groups_of_trees(classes: int, trees: int) -> None:
    for per_leaf in (1, classes):
        grown = Grown("class", classes, per_leaf=per_leaf, trees=trees)
        for count, dtype in ((1, "float32"), (33, "float64")):
            classify(rows(count, dtype), classes, **grown.attributes)


def test_no_feature_is_asked_for() -> None:
    leaf = {"treeids": [0], "nodeids": [0], "ids": [0]}
    nodes = {"treeids": [0], "nodeids": [0], "featureids": [0], "modes": ["LEAF"], "values": [0.0]}
    nodes |= {"truenodeids": [0], "falsenodeids": [0]}
    attributes = {f"nodes_{name}": value for name, value in nodes.items()}
    regress(rows(3), **attributes, **{f"target_{name}": value for name, value in leaf.items()}, target_weights=[2.5])


def split(mode: int, dtype: str, **attributes: Any) -> dict[str, Any]:
    """Version 5: node 0 leads to node 1 or to a leaf, node 1 to two leaves; the second tree is node 1 alone."""
    return {
        "tree_roots": [0, 1],
        "nodes_featureids": [0, 3],
        "nodes_modes": np.array([mode, 0], np.uint8),
        "nodes_splits": np.array([0.5, -1.0], dtype),
        "nodes_truenodeids": [1, 0],
        "nodes_trueleafs": [0, 1],
        "nodes_falsenodeids": [2, 1],
        "nodes_falseleafs": [1, 1],
        "nodes_missing_value_tracks_true": [1, 0],
        "leaf_targetids": [0, 1, 1],
        "leaf_weights": np.array([0.25, -2.0, 3.0], dtype),
        "n_targets": 2,
        **attributes,
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", range(4))
@pytest.mark.parametrize("mode", range(6))
def test_trees_that_share_nodes(mode: int, function: int, dtype: str) -> None:
    attributes = split(mode, dtype, aggregate_function=function, post_transform=function % 3)
    check_node("TreeEnsemble", [rows(30, dtype)], attributes, domain="ai.onnx.ml", version=5)


LEFT = [
    ("TreeEnsembleRegressor", {**Grown("target", 1).attributes, "post_transform": "PROBIT"}),
    ("TreeEnsembleRegressor", {**Grown("target", 1).attributes, "base_values": [1.0, 2.0]}),
    ("TreeEnsembleRegressor", {**Grown("target", 1).attributes, "nodes_values": [1.0]}),
    ("TreeEnsembleClassifier", {**Grown("class", 2).attributes, "classlabels_strings": ["a", "b"]}),
    ("TreeEnsembleClassifier", {**Grown("class", 1).attributes, "classlabels_int64s": [1]}),
    ("TreeEnsemble", split(6, "float32", membership_values=np.array([1.0, 2.0, np.nan], np.float32))),
]


@pytest.mark.parametrize("row", range(len(LEFT)))
def test_what_is_not_served_is_left(row: int) -> None:
    operator, attributes = LEFT[row]
    version, outputs = (5 if operator == "TreeEnsemble" else 3), (2 if operator.endswith("Classifier") else 1)
    case = Case(operator, [uniform("N", FEATURES)], attributes, version=version, domain="ai.onnx.ml", outputs=outputs)
    assert placed(case, [NativeBackend(), numpy_backend()]) is None
