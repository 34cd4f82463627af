"""Forests of random shape against onnxruntime and against trees walked by hand; what they refuse; what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cases.ml_trees import BOTH, REGRESSION, SPLIT, STRINGS, THREE
from tests.support.case import Case, variable
from tests.support.judge import assert_same, by_onnxruntime, one_node_model
from toolkit.operators.ml import forest
from toolkit.operators.ml.packing import Packing
from toolkit.operators.ml.tree_masks import masks_of
from toolkit.operators.ml.trees import tree_ensemble, tree_ensemble_classifier, tree_ensemble_regressor

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
NODES = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_modes",
    "nodes_values",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
)


def random_trees(random: np.random.Generator, modes: list[str], trees: int, depth: int) -> dict[str, list[Any]]:
    """Trees over three features; some paths end early."""
    rows: list[list[Any]] = []

    def grow(number: int, first: int, levels: int) -> int:
        place = len(rows)
        node = place - first
        rows.append([number, node, 0, "LEAF", 0.0, 0, 0, 0])
        if levels and random.random() > 0.15:
            threshold = float(random.integers(-3, 4)) / 2
            on_true, on_false = grow(number, first, levels - 1), grow(number, first, levels - 1)
            tracked = int(random.integers(2))
            rows[place] = [
                number,
                node,
                int(random.integers(3)),
                str(random.choice(modes)),
                threshold,
                on_true,
                on_false,
                tracked,
            ]
        return node

    for number in range(trees):
        grow(number, len(rows), depth)
    return dict(zip(NODES, map(list, zip(*rows, strict=True)), strict=True))


def random_weights(
    random: np.random.Generator, nodes: dict[str, list[Any]], kind: str, per_leaf: int, targets: int
) -> Any:
    """``per_leaf`` weights of every leaf, each for another target."""
    leaves = [
        (tree, node)
        for tree, node, mode in zip(nodes["nodes_treeids"], nodes["nodes_nodeids"], nodes["nodes_modes"], strict=True)
        if mode == "LEAF"
    ]
    rows = [(*leaf, int(target)) for leaf in leaves for target in random.permutation(targets)[:per_leaf]]
    return {
        f"{kind}_treeids": [row[0] for row in rows],
        f"{kind}_nodeids": [row[1] for row in rows],
        f"{kind}_ids": [row[2] for row in rows],
        f"{kind}_weights": random.normal(size=len(rows)).astype(np.float32).tolist(),
    }


def random_rows(random: np.random.Generator, dtype: str, count: int = 50) -> np.ndarray:
    """Values that often meet a threshold; a fifth is missing where the type has NaN."""
    x = (random.integers(-4, 5, (count, 3)) / 2).astype(dtype)
    if x.dtype.kind == "f":
        x[random.random(x.shape) < 0.2] = np.nan
    return x


def assert_judged(operator: str, x: np.ndarray, attributes: dict[str, Any], outputs: int, version: int = 3) -> None:
    case = Case(operator, [variable(x, x.dtype.name)], attributes, version, "ai.onnx.ml", outputs)
    result = case.record.reference(x, **attributes)
    expected = by_onnxruntime(one_node_model(case, [x], 1), {"x0": x})
    for ours, theirs in zip(result if outputs > 1 else (result,), expected, strict=True):
        assert_same(ours, theirs, 1e-5, operator)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mode", [*MODES, "mixed"])
def test_regressor_on_random_forests(mode: str, seed: int) -> None:
    random = np.random.default_rng([seed, 1])
    nodes = random_trees(random, list(MODES) if mode == "mixed" else [mode], 1 + seed, 5)
    targets = 1 + seed % 4
    attributes = {
        **nodes,
        **random_weights(random, nodes, "target", targets, targets),
        "n_targets": targets,
        "aggregate_function": ("SUM", "AVERAGE", "MIN", "MAX")[seed % 4],
        "base_values": [] if seed % 3 else random.normal(size=targets).tolist(),
    }
    assert_judged("TreeEnsembleRegressor", random_rows(random, ("float32", "float64")[seed % 2]), attributes, 1)


@pytest.mark.parametrize("seed", range(24))
def test_classifier_on_random_forests(seed: int) -> None:
    random = np.random.default_rng([seed, 2])
    nodes = random_trees(random, list(MODES), 1 + seed % 7, 5)
    classes = 2 + seed % 4
    sole = {"class_ids": [seed % 2] * nodes["nodes_modes"].count("LEAF")} if classes == 2 and seed % 3 else {}
    attributes = {
        **nodes,
        **random_weights(random, nodes, "class", 1 if sole or seed % 2 else classes, classes),
        **sole,
        "classlabels_strings": [f"class {number}" for number in range(classes)],
        "post_transform": ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")[seed // 4 % 4],
    }
    x = random_rows(random, ("float32", "float64", "int64", "int32")[seed % 4])
    assert_judged("TreeEnsembleClassifier", x, attributes, 2)


@pytest.mark.parametrize("mode", [*MODES, "mixed"])
def test_all_comparisons_at_once_find_the_leaves_of_a_descent(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(4):
        random = np.random.default_rng([seed, 3])
        nodes = random_trees(random, list(MODES) if mode == "mixed" else [mode], 1 + 3 * seed, 6)
        weights = random_weights(random, nodes, "target", 1, 1)
        x = random_rows(random, "float32", 9)
        at_once = tree_ensemble_regressor(x, **nodes, **weights)
        with monkeypatch.context() as patched:
            patched.setattr(forest, "AT_ONCE", 0)
            np.testing.assert_array_equal(at_once, tree_ensemble_regressor(x, **nodes, **weights))


def test_shared_nodes_and_large_trees_are_descended() -> None:
    shared = np.array([2, 1, 3, 2, 2, 2, 3, 3])  # both ways of node 0 lead on to leaf 2
    none = np.zeros(2, np.int64)
    assert masks_of(none, shared, np.array([0]), 2) is None
    chain = 64  # 65 leaves
    children = np.arange(2 * (2 * chain + 1)) // 2
    children[0 : 2 * chain : 2], children[1 : 2 * chain : 2] = (
        np.arange(1, chain + 1),
        np.arange(chain + 1, 2 * chain + 1),
    )
    assert masks_of(np.zeros(chain, np.int64), children, np.array([0]), chain) is None
    assert masks_of(np.zeros(chain, np.int64), children, np.array([1]), chain) is not None


def test_paths_of_very_different_length() -> None:
    """A chain of sixty nodes: most rows end early, few go down."""
    count = 60
    nodes = {
        "nodes_treeids": [0] * (2 * count + 1),
        "nodes_nodeids": list(range(2 * count + 1)),
        "nodes_featureids": [0] * (2 * count + 1),
        "nodes_modes": ["BRANCH_LEQ"] * count + ["LEAF"] * (count + 1),
        "nodes_values": [float(number) for number in range(count)] + [0.0] * (count + 1),
        "nodes_truenodeids": list(range(count, 2 * count)) + [0] * (count + 1),
        "nodes_falsenodeids": [*range(1, count), 2 * count] + [0] * (count + 1),
        "target_treeids": [0] * (count + 1),
        "target_nodeids": list(range(count, 2 * count + 1)),
        "target_ids": [0] * (count + 1),
        "target_weights": [float(number) for number in range(count + 1)],
        "n_targets": 1,
    }
    x = np.linspace(-5, 70, 4000, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(tree_ensemble_regressor(x, **nodes), np.clip(np.ceil(x), 0, count))


def test_thresholds_at_the_ends_of_the_number_line() -> None:
    x = np.array([[-np.inf, 0, 0], [-0.0, 0, 0], [0.0, 0, 0], [1e-45, 0, 0], [np.inf, 0, 0]], np.float32)
    for mode, compare in (("BRANCH_LT", np.less), ("BRANCH_GTE", np.greater_equal), ("BRANCH_GT", np.greater)):
        for threshold in (-np.inf, 0.0, np.inf, np.nan):
            nodes = {**REGRESSION, "nodes_modes": [mode, "LEAF", "LEAF"]}
            nodes |= {name: nodes[name][:1] + nodes[name][5:7] for name in NODES[:7] if name != "nodes_modes"}
            nodes |= {"nodes_treeids": [0] * 3, "nodes_nodeids": [0, 1, 2], "nodes_values": [threshold, 0.0, 0.0]}
            nodes |= {"nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "target_ids": [0, 0]}
            nodes |= {"target_treeids": [0, 0], "target_nodeids": [1, 2], "target_weights": [1.0, 2.0]}
            expected = np.where(compare(x[:, :1], np.float32(threshold)), 1, 2)
            np.testing.assert_array_equal(tree_ensemble_regressor(x, **nodes), expected, f"{mode} {threshold}")


@pytest.mark.parametrize("seed", range(8))
def test_sets_of_members(seed: int) -> None:
    """Version 5: one node per tree with a set of any size, and what to do with a missing value."""
    random = np.random.default_rng([seed, 3])
    trees, dtype = 6, np.dtype(("float32", "float64")[seed % 2])
    sets = [
        np.unique(random.integers(-5, 200 if seed % 3 else 20, 1 + 9 * number)).astype(dtype) for number in range(trees)
    ]
    tracks = random.integers(0, 2, trees)
    weight = random.normal(size=2 * trees).astype(dtype)
    attributes = {
        "tree_roots": list(range(trees)),
        "nodes_featureids": [number % 3 for number in range(trees)],
        "nodes_modes": np.full(trees, 6, np.uint8),
        "nodes_splits": np.zeros(trees, dtype),
        "nodes_truenodeids": list(range(0, 2 * trees, 2)),
        "nodes_falsenodeids": list(range(1, 2 * trees, 2)),
        "nodes_trueleafs": [1] * trees,
        "nodes_falseleafs": [1] * trees,
        "nodes_missing_value_tracks_true": tracks.tolist(),
        "membership_values": np.concatenate([np.append(values, np.nan) for values in sets]).astype(dtype),
        "leaf_targetids": [0] * (2 * trees),
        "leaf_weights": weight,
        "n_targets": 1,
    }
    x = random.integers(-10, 60, (80, 3)).astype(dtype) + random.choice([0, 0.5], (80, 3), p=[0.9, 0.1]).astype(dtype)
    x[random.random(x.shape) < 0.1] = np.nan
    expected = np.zeros((80, 1))
    for number, values in enumerate(sets):
        column = x[:, number % 3]
        holds = np.isin(column, values) | (np.isnan(column) & bool(tracks[number]))
        expected[:, 0] += np.where(holds, weight[2 * number], weight[2 * number + 1])
    np.testing.assert_allclose(tree_ensemble(x, **attributes), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nodes_truenodeids": [0, *REGRESSION["nodes_truenodeids"][1:]]}, "lead back to themselves"),
        ({"nodes_falsenodeids": [9, *REGRESSION["nodes_falsenodeids"][1:]]}, "tree 0 has no node 9"),
        ({"nodes_nodeids": [0] * 8}, "must be listed once"),
        ({"nodes_modes": ["BRANCH_NEVER"] * 8}, "nodes_modes must be 8 of .* with \\['BRANCH_NEVER'\\]"),
        ({"nodes_values": [0.0]}, "nodes_values must have 8 elements, got 1"),
        ({"nodes_featureids": [-1] * 8}, "feature numbers must not be negative"),
        ({"nodes_featureids": [3] * 8}, "the trees need 4 features, got 3"),
        ({"nodes_featureids": [0]}, "nodes_featureids must have 8 elements, got 1"),
        ({"target_ids": [0, 0, 0, 0, 1]}, "targets must lie in \\[0, 0\\], got 0 to 1"),
        ({"target_weights": [1.0]}, "there must be 5 weights"),
        ({"target_treeids": [1]}, "1 trees and 5 nodes must be as many"),
        ({"base_values": [1.0, 2.0]}, "base_values must have one element for each of 1 targets, got 2"),
        ({"base_values": [1.0], "base_values_as_tensor": np.ones(1)}, "must not both be given"),
        ({"n_targets": -1}, "n_targets must be positive"),
        ({"aggregate_function": "MEDIAN"}, "aggregate_function must be one of AVERAGE, SUM, MIN, MAX"),
        ({"post_transform": "SQUARE"}, "post_transform must be one of"),
    ],
)
def test_regressor_refuses(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tree_ensemble_regressor(np.zeros((2, 3), np.float32), **{**REGRESSION, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nodes_modes": np.full(4, 7, np.uint8)}, "nodes_modes must lie in \\[0, 6\\], got 7 to 7"),
        ({"nodes_splits": np.zeros(3, np.float32)}, "nodes_splits must have 4 elements, got 3"),
        ({"nodes_truenodeids": [1, 0, 3, 0]}, "children must be one of 4 nodes or 3 leaves, got up to 3"),
        ({"nodes_falsenodeids": [0, 1, 2, 0]}, "lead back to themselves"),
        ({"tree_roots": [0, 7]}, "root nodes must lie in \\[0, 6\\], got 0 to 7"),
        ({"membership_values": None}, "membership_values must hold a set for each of 2 nodes"),
        ({"leaf_targetids": [0]}, "leaf_targetids must have 3 elements"),
        ({"aggregate_function": 4}, "aggregate_function=4 .* must be listed"),
    ],
)
def test_ensemble_refuses(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tree_ensemble(np.zeros((2, 3), np.float32), **{**SPLIT, **changed})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({**BOTH}, "exactly one of the classlabels attributes"),
        ({**BOTH, **STRINGS, "classlabels_int64s": [1, 2]}, "exactly one of the classlabels attributes"),
        ({**THREE, "classlabels_int64s": [1, 2, 3], "base_values": [1.0]}, "each of 3 classes, got 1"),
    ],
)
def test_classifier_refuses(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tree_ensemble_classifier(np.zeros((2, 3), np.float32), **attributes)


def test_input_must_be_rows() -> None:
    with pytest.raises(ValueError, match=r"must be \(rows, features\) or one row, got the shape \(2, 3, 1\)"):
        tree_ensemble_regressor(np.zeros((2, 3, 1), np.float32), **REGRESSION)


def test_no_rows() -> None:
    label, scores = tree_ensemble_classifier(np.zeros((0, 3), np.float32), **BOTH, **STRINGS)
    assert label.shape == (0,) and scores.shape == (0, 2)


def test_attributes_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(forest, "_refuse_cycles", lambda *_: calls.append(1))
    own = {name: list(value) if isinstance(value, list) else value for name, value in REGRESSION.items()}
    for _ in range(3):
        tree_ensemble_regressor(np.zeros((2, 3), np.float32), **own)
    assert len(calls) == 1
    own["nodes_values"] = [value + 1 for value in own["nodes_values"]]
    tree_ensemble_regressor(np.zeros((2, 3), np.float32), **own)
    assert len(calls) == 2


def test_packing_forgets_what_was_used_longest_ago() -> None:
    calls = []
    pack = Packing(lambda item, number: calls.append(number) or len(item), limit=2)
    first, second, third = [1], [1, 2], [1, 2, 3]
    assert [pack(item, 1000) for item in (first, second, first, third, first)] == [1, 2, 1, 3, 1]
    assert len(calls) == 3
    pack(second, 1000)
    assert len(calls) == 4
