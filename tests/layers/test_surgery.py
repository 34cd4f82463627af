"""Surgery: cuts, what is dropped and what stays. The graphs are written by hand, so that every name is in sight."""

import numpy as np
import pytest

from toolkit.errors import GraphError
from toolkit.graph import Graph, Leaf, Parameter, Value
from toolkit.graph.surgery import ancestors, head_input, prune, rename_value, value_at


def leaf(op_type, inputs, outputs, path):
    return Leaf(op_type, inputs.split(), outputs.split(), version=17, name=path, path=path)


@pytest.fixture
def graph():
    """x -> body -> (classes, boxes); the weight of one head passes a Reshape; one leaf is dead, one tensor unused."""
    made = Graph("two heads")
    made.inputs["x"] = Value("x", np.dtype(np.float32), ("batch", 4), 0)
    for name in ("classes", "boxes"):
        made.outputs[name] = Value(name, np.dtype(np.float32), ("batch", 3), 0)
    for name in ("w", "w1", "b1", "w2", "shared", "unused"):
        made.parameters[name] = Parameter(name, np.ones((4, 4), np.float32))
    made.inputs["w1"] = Value("w1", np.dtype(np.float32), (4, 4))
    made.leaves = [
        leaf("Reshape", "w1 shared", "w1_flat", "reshape"),
        leaf("MatMul", "x w", "features", "body/matmul"),
        leaf("MatMul", "features features", "attention", "body/attention"),
        leaf("MatMul", "attention w1_flat", "scores", "head/matmul"),
        leaf("Add", "scores b1", "classes", "head/add"),
        leaf("Relu", "scores", "nobody", "dead/relu"),
        leaf("Gemm", "attention w2 shared", "boxes", "regression/gemm"),
    ]
    made.values = {"scores": Value("scores"), "features": Value("features")}
    return made


def test_the_head_begins_at_the_last_linear_layer(graph):
    assert head_input(graph, "classes") == "attention"
    assert head_input(graph, "boxes") == "attention"


def test_a_network_without_linear_layer_asks_for_the_place(graph):
    graph.leaves = [leaf("Relu", "x", "classes", "relu")]
    with pytest.raises(GraphError, match=r"No linear layer .* leads to output 'classes'.*at="):
        head_input(graph, "classes")


@pytest.mark.parametrize(
    ("at", "cut"),
    [
        ("scores", "scores"),
        ("x", "x"),
        ("classes", "classes"),
        ("head/matmul", "attention"),
        ("/head/add", "scores"),
        ("head", "attention"),
        ("body", "x"),
    ],
)
def test_places_are_values_layers_and_scopes(graph, at, cut):
    assert value_at(graph, at, "classes") == cut


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("nowhere", r"no layer or value 'nowhere'.*'head/add'"),
        ("reshape", r"no layer or value 'reshape' that data reaches"),
        ("w1_flat", r"not computed from data through 'w1_flat'"),
        ("boxes", r"'classes' is not computed from data through 'boxes'"),
        ("dead", r"no layer or value"),
    ],
)
def test_places_that_cannot_be_cut_are_named(graph, at, message):
    if at == "dead":
        graph.leaves = [item for item in graph.leaves if item.path != "dead/relu"]
    with pytest.raises(GraphError, match=message):
        value_at(graph, at, "classes")


def test_prune_drops_what_the_edit_made_useless_and_nothing_else(graph):
    live = ancestors(graph, graph.outputs)
    graph.leaves = [item for item in graph.leaves if item.path != "head/add"]
    graph.leaves.append(leaf("Relu", "features", "classes", "new"))
    prune(graph, live)
    assert [item.path for item in graph.leaves] == ["body/matmul", "body/attention", "regression/gemm", "new"]
    assert list(graph.parameters) == ["w", "w2", "shared", "unused"]
    assert list(graph.inputs) == ["x"]
    assert list(graph.values) == ["features"]


def test_prune_keeps_what_was_dead_before(graph):
    graph.leaves.insert(0, leaf("Relu", "x", "dangling", "dead/other"))
    prune(graph, ancestors(graph, graph.outputs))
    assert [item.path for item in graph.leaves][:2] == ["dead/other", "reshape"]
    assert "dead/relu" in [item.path for item in graph.leaves]


def test_rename_reaches_every_mention(graph):
    rename_value(graph, "scores", "logits")
    assert graph.producers()["logits"].path == "head/matmul"
    assert [item.path for item in graph.consumers()["logits"]] == ["head/add", "dead/relu"]
    assert "scores" not in graph.values and graph.values["logits"].name == "logits"
