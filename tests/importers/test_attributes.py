"""Attributes of every kind, bodies, references, and the residues of old files."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from exporters import to_proto
from importers import load
from tests.importers.small import assert_round_trip, info, model_of
from toolkit.errors import ModelError
from toolkit.graph import AttributeReference, Graph, SparseTensor, Value


def body(name: str = "body", output: str = "o"):
    nodes = [helper.make_node("Neg", ["x"], [output])]
    return helper.make_graph(nodes, name, [], [info(output, None)])


def sparse():
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([5], np.float32), "v"), numpy_helper.from_array(np.array([2])), [4]
    )


KINDS = {
    "f": 1.1,
    "i": -(2**63),
    "s": "text",
    "odd": b"\xff\x00",
    "t": numpy_helper.from_array(np.array([1, 2], np.float32), "named"),
    "g": body(),
    "sp": sparse(),
    "tp": helper.make_tensor_type_proto(TensorProto.INT64, ["n", 3, None]),
    "fs": [1.5, float("inf")],
    "is_": [1, 2],
    "ss": ["a", b"\xfe"],
    "ts": [numpy_helper.from_array(np.array([[1]], np.int8)), numpy_helper.from_array(np.array(2.0))],
    "gs": [body("one"), body("two", "p")],
    "sps": [sparse(), sparse()],
    "tps": [helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, None))],
}
VALUES = {"f": float, "i": int, "s": str, "odd": bytes, "t": np.ndarray, "g": Graph, "sp": SparseTensor, "tp": Value}


def custom(**attributes):
    node = helper.make_node("Custom", ["x"], ["y"], domain="my.domain", name="n", **attributes)
    model = model_of([node])
    model.opset_import.append(helper.make_opsetid("my.domain", 3))
    return model


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_attribute(name, tmp_path):
    network = assert_round_trip(custom(**{name: KINDS[name]}), tmp_path)
    value = network.graph.leaves[0].attributes[name]
    assert isinstance(value, VALUES.get(name, list))


def test_all_kinds_at_once(tmp_path):
    leaf = assert_round_trip(custom(**KINDS), tmp_path).graph.leaves[0]
    assert list(leaf.attributes) == sorted(KINDS)
    assert leaf.attributes["i"] == -(2**63)
    assert leaf.attributes["ss"] == ["a", b"\xfe"]
    assert [graph.name for graph in leaf.attributes["gs"]] == ["one", "two"]
    assert leaf.attributes["sp"].dense().tolist() == [0, 0, 5, 0]
    assert (leaf.domain, leaf.version) == ("my.domain", 3)


@pytest.mark.parametrize(
    "kind", [AttributeProto.FLOATS, AttributeProto.INTS, AttributeProto.STRINGS, AttributeProto.GRAPHS]
)
def test_empty_lists_keep_their_type(kind, tmp_path):
    model = custom(i=1)
    model.graph.node[0].attribute.append(AttributeProto(name="empty", type=kind))
    assert assert_round_trip(model, tmp_path).graph.leaves[0].attributes["empty"] == []


def test_residues_of_attributes(tmp_path):
    model = custom(i=1, f=2.0)
    first, second = model.graph.node[0].attribute
    first.doc_string = "why"
    second.ClearField("type")
    model.graph.node[0].attribute.append(AttributeProto(name="absent", type=AttributeProto.INT))
    model.graph.node[0].attribute.append(AttributeProto(name="spelled", type=AttributeProto.INT, i=3, ref_attr_name=""))
    attributes = assert_round_trip(model, tmp_path).graph.leaves[0].attributes
    assert attributes == {"f": 2.0, "i": 1, "absent": 0, "spelled": 3}


def test_changed_attributes_are_written():
    network = load(custom(f=1.0, fs=[1.0], i=1))
    leaf = network.graph.leaves[0]
    leaf.attributes.update(f=2.5, fs=[1, 2.5], i=7, new="added")
    written = {item.name: helper.get_attribute_value(item) for item in to_proto(network).graph.node[0].attribute}
    assert written == {"f": 2.5, "fs": [1.0, 2.5], "i": 7, "new": b"added"}


def branches() -> list:
    then = helper.make_graph([helper.make_node("Neg", ["x"], ["n"])], "then", [], [info("n")])
    other = helper.make_graph(
        [helper.make_node("Add", ["x", "c"], ["a"])],
        "else",
        [],
        [info("a")],
        [numpy_helper.from_array(np.array([1], np.float32), "c")],
    )
    return [helper.make_node("If", ["cond"], ["y"], name="if", then_branch=then, else_branch=other)]


def test_bodies_are_graphs_and_captured_names_stay_names(tmp_path):
    inputs = [info("x"), info("cond", (), TensorProto.BOOL)]
    network = assert_round_trip(model_of(branches(), inputs=inputs), tmp_path)
    leaf = network.graph.leaves[0]
    assert [graph.name for graph in leaf.bodies] == ["then", "else"] or [g.name for g in leaf.bodies] == [
        "else",
        "then",
    ]
    inner = leaf.attributes["else_branch"]
    assert inner.leaves[0].inputs == ["x", "c"]
    assert list(inner.parameters) == ["c"] and not inner.inputs
    assert [leaf.path for leaf in network.graph.consumers()["x"]] == ["if"]


def function_model():
    reference = helper.make_node("Custom", ["a"], ["b"], domain="my.domain")
    reference.attribute.append(AttributeProto(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="slope"))
    function = helper.make_function(
        "my.functions",
        "Twice",
        ["a"],
        ["c"],
        [reference, helper.make_node("LeakyRelu", ["b"], ["c"])],
        [helper.make_opsetid("", 13), helper.make_opsetid("my.domain", 2)],
        attributes=["slope"],
        attribute_protos=[helper.make_attribute("gain", 2.0)],
        doc_string="twice",
    )
    call = helper.make_node("Twice", ["x"], ["y"], domain="my.functions", slope=0.5, overload="")
    model = model_of([call], functions=[function])
    model.opset_import.append(helper.make_opsetid("my.functions", 1))
    return model


def test_functions_with_attribute_references(tmp_path):
    network = assert_round_trip(function_model(), tmp_path)
    graph = network.functions["my.functions", "Twice", ""]
    first, second = graph.leaves
    assert first.attributes["alpha"] == AttributeReference("slope", AttributeProto.FLOAT)
    assert (first.version, second.version) == (2, 13)
    assert graph.attributes == {"slope": None, "gain": 2.0}
    assert list(graph.inputs) == ["a"] and list(graph.outputs) == ["c"]


def test_overloads_are_kept_apart(tmp_path):
    model = function_model()
    second = model.functions.add()
    second.CopyFrom(model.functions[0])
    second.overload = "v2"
    model.graph.node[0].overload = "v2"
    network = assert_round_trip(model, tmp_path)
    assert len(network.functions) == 2
    assert network.graph.leaves[0].overload == "v2"


def test_reference_outside_of_a_function():
    model = custom()
    model.graph.node[0].attribute.append(AttributeProto(name="a", type=AttributeProto.INT, ref_attr_name="b"))
    with pytest.raises(ModelError, match=r"refers to 'b' of a caller, but only nodes of functions have one"):
        load(model)


def test_attribute_without_type_and_value():
    model = custom()
    model.graph.node[0].attribute.append(AttributeProto(name="a"))
    with pytest.raises(ModelError, match=r"Attribute 'a' of Custom 'n' has no type, so exactly one kind .* got 0"):
        load(model)


def test_attribute_given_twice():
    model = custom(i=1)
    model.graph.node[0].attribute.append(helper.make_attribute("i", 2))
    with pytest.raises(ModelError, match=r"has the attribute 'i' twice"):
        load(model)


@pytest.mark.parametrize("value", [{"a": 1}, [1, "a"], None, [None]])
def test_values_that_no_attribute_can_hold(value):
    network = load(custom(i=1))
    network.graph.leaves[0].attributes["bad"] = value
    with pytest.raises(
        ModelError, match=r"Attribute 'bad' of my.domain::Custom 'n' is .*an attribute holds int, float"
    ):
        to_proto(network)


def test_a_type_that_is_spelled_out_as_undefined(tmp_path):
    model = model_of([helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.5)])
    model.graph.node[0].attribute[0].type = AttributeProto.UNDEFINED
    assert assert_round_trip(model, tmp_path).graph.leaves[0].attributes == {"alpha": 0.5}
