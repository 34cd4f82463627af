"""The static graph: leaves, scopes, reads through bodies, sparse tensors, values for people, the summary."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.errors import GraphError
from toolkit.graph import Graph, Leaf, Network, Parameter, Scope, SparseTensor, Value
from toolkit.graph.layer import reads, scope_tree
from toolkit.graph.parameter import CLOCK

FLOAT = np.dtype(np.float32)


def leaf(path: str, inputs=(), outputs=(), **attributes) -> Leaf:
    return Leaf("Op", list(inputs), list(outputs), attributes, path=path)


def small() -> Graph:
    body = Graph(
        inputs={"i": Value("i")},
        outputs={"o": Value("o"), "outer2": Value("outer2")},
        leaves=[leaf("inner", ["i", "outer", "p"], ["o"])],
        parameters={"p": Parameter("p", np.zeros(1, np.float32))},
    )
    return Graph(
        "g",
        {"x": Value("x", FLOAT, ("n", 3), 0)},
        {"y": Value("y", FLOAT, ("n", 2), 0)},
        [
            leaf("stem/conv", ["x", "w", ""], ["outer"]),
            leaf("stem/act", ["outer"], ["outer2"]),
            leaf("loop", ["x"], ["y"], body=body, bodies=[body]),
        ],
        {
            "w": Parameter("w", np.ones((3, 2), np.float32)),
            "count": Parameter("count", np.array([1])),
        },
        {"outer": Value("outer", FLOAT, ("n", None, 2))},
    )


def test_reads_reach_through_bodies():
    graph = small()
    assert reads(graph.leaves[2]) == ["x", "outer", "outer2"]
    assert [item.path for item in graph.consumers()["outer"]] == ["stem/act", "loop"]
    assert graph.producers()["outer2"].path == "stem/act"
    assert [item.path for item in graph.walk()] == ["stem/conv", "stem/act", "loop", "inner", "inner"]


def test_operator_names():
    assert Leaf("Conv", [], []).operator == "Conv"
    assert repr(Leaf("Fused", [], [], domain="d", path="p")) == "Leaf(d::Fused 'p')"


def test_scopes_hold_leaves_by_path():
    tree = scope_tree(small())
    assert list(tree.children) == ["stem", "loop"]
    stem = tree["stem"]
    assert isinstance(stem, Scope) and [item.path for item in stem.leaves()] == ["stem/conv", "stem/act"]
    assert [item.path for item in tree.leaves()] == ["stem/conv", "stem/act", "loop"]


def test_a_leaf_may_bear_the_name_of_a_scope():
    graph = Graph(leaves=[leaf("a"), leaf("a/b"), leaf("a/c"), leaf("d/e"), leaf("d")])
    assert [item.path for item in scope_tree(graph).leaves()] == ["a", "a/b", "a/c", "d/e", "d"]


def test_values_describe_themselves():
    value = Value("v", FLOAT, ("n", None, 3), 0)
    assert repr(value) == "Value('v', float32 (n, ?, 3))"
    assert value.unit_shape == (None, 3)
    assert Value("v", FLOAT, (2, "n"), 1).unit_shape == (2,)
    assert Value("v", np.dtype(object), None).describe() == "string ?"
    assert Value("v", None, (), kind="sequence").describe() == "sequence of ? ()"
    assert Value("v", FLOAT, (3,)).unit_shape == (3,)


def test_network_views():
    graph = small()
    graph.inputs["w"] = Value("w")
    network = Network(graph, {"": 17})
    assert network.name == "g"
    assert list(network.inputs) == ["x"] and list(network.outputs) == ["y"]
    assert list(network.parameters) == ["w", "count", "loop/body/p"]
    assert network.parameters["loop/body/p"] is graph.leaves[2].attributes["body"].parameters["p"]


@pytest.mark.parametrize(
    ("patterns", "paths", "parameters"),
    [
        (["stem/*"], ["stem/conv", "stem/act"], ["w"]),
        (["stem"], ["stem/conv", "stem/act"], ["w"]),
        (["/stem/"], ["stem/conv", "stem/act"], ["w"]),
        (["w"], [], ["w"]),
        (["loop", "*conv"], ["stem/conv", "loop"], ["w", "loop/body/p"]),
        (["loop/body/*"], [], ["loop/body/p"]),
        (["count"], [], ["count"]),
        (["*"], ["stem/conv", "stem/act", "loop"], ["w", "count", "loop/body/p"]),
    ],
)
def test_selection(patterns, paths, parameters):
    selection = Network(small()).select(*patterns)
    assert [item.path for item in selection] == paths and len(selection) == len(paths)
    assert list(selection.parameters) == parameters


def test_selection_of_nothing():
    with pytest.raises(GraphError, match=r"Nothing matches 'head'. Layers are named like 'stem/conv', .*, parameters"):
        Network(small()).select("stem", "head")


def test_freezing_and_learning_rates():
    network = Network(small())
    selection = network.select("*")
    selection.freeze()
    assert not any(item.requires_grad for item in network.parameters.values())
    selection.unfreeze().learning_rate(0.1)
    assert network.parameters["w"].requires_grad and not network.parameters["count"].requires_grad
    assert network.parameters["w"].learning_rate == 0.1
    assert repr(selection) == "Selection(3 layers, 3 parameters)"


def test_settings_are_unfrozen_only_on_demand():
    network = Network(small())
    network.parameters["w"].role = "the exponent in Op 'stem/conv'"
    selection = network.select("w").freeze()
    assert not selection.unfreeze().parameters["w"].requires_grad
    assert selection.unfreeze(settings=True).parameters["w"].requires_grad


def test_parameters_count_their_writes_and_fetch_late():
    parameter = Parameter("p", np.zeros(2, np.float32))
    before = CLOCK.now
    parameter.assign(np.ones(2, np.float32))
    assert (parameter.version, CLOCK.now) == (1, before + 1)
    fetched = []

    def refresh():
        fetched.append(1)
        return np.full(2, 7, np.float32)

    parameter.written_to(refresh)
    assert parameter.version == 2 and not fetched
    assert parameter.array.tolist() == [7, 7] and parameter.array.tolist() == [7, 7]
    assert fetched == [1] and not parameter.array.flags.writeable
    parameter.requires_grad = False
    assert repr(parameter) == "Parameter('p', float32 (2,), frozen)"


@pytest.mark.parametrize("array", [np.ones(3, np.float32), np.ones(2, np.float64)])
def test_parameters_keep_their_type(array):
    with pytest.raises(
        GraphError, match=r"Parameter 'p' holds float32 \(2,\), got .* Assign an array of the same type"
    ):
        Parameter("p", np.zeros(2, np.float32)).assign(array)


@pytest.mark.parametrize("indices", [np.array([1, 5]), np.array([[0, 1], [1, 2]])])
def test_sparse_tensors(indices):
    sparse = SparseTensor(np.array([3, 4], np.float32), indices, (2, 3))
    assert sparse.positions().tolist() == [1, 5]
    assert sparse.dense().tolist() == [[0, 3, 0], [0, 0, 4]]


def test_summary_counts_each_parameter_once():
    graph = small()
    graph.leaves.append(leaf("head/again", ["w"], ["z"]))
    lines = Network(graph).summary().splitlines()
    assert lines[0] == "input Value('x', float32 (n, 3))"
    assert any(line.split() == ["conv", "Op", "float32", "(n,", "?,", "2)", "6"] for line in lines)
    assert any(line.split() == ["again", "Op"] for line in lines)
    assert lines[-1] == "7 parameters, 6 trainable"
