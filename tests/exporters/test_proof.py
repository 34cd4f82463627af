"""``diff`` names every difference between two models, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters import Change, diff
from tests.importers.small import info, linear, model_of
from toolkit.errors import ModelError


def changed(edit) -> list[tuple[str, str, str]]:
    model = linear(400)
    edit(model)
    return [(change.kind, change.name, change.detail) for change in diff(linear(400), model)]


def replace_weight(model):
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((4, 400), np.float32), "w"))


def replace_type(model):
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((400, 4), np.float32), "w"))


def replace_storage(model):
    tensor = model.graph.initializer[1]
    content = np.array(tensor.float_data, np.float32).tobytes()
    tensor.ClearField("float_data")
    tensor.raw_data = content


def swap_nodes(model):
    nodes = [model.graph.node[1], model.graph.node[0], model.graph.node[2]]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


CASES = {
    "nothing": (lambda model: None, []),
    "values": (replace_weight, [("initializer", "w", "values")]),
    "shape": (replace_type, [("initializer", "w", "storage"), ("initializer", "w", "type")]),
    "storage": (replace_storage, [("initializer", "b", "storage")]),
    "doc": (lambda model: setattr(model.graph.initializer[0], "doc_string", "d"), [("initializer", "w", "storage")]),
    "removed": (lambda model: model.graph.initializer.pop(), [("initializer", "b", "removed")]),
    "added": (
        lambda model: model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.float32), "n")),
        [("initializer", "n", "added")],
    ),
    "node": (lambda model: setattr(model.graph.node[2], "op_type", "Neg"), [("node", "/relu", "op_type")]),
    "new node": (
        lambda model: model.graph.node.append(helper.make_node("Neg", ["y"], ["z"])),
        [("node", "Neg -> z", "added")],
    ),
    "order": (swap_nodes, [("node", "", "order")]),
    "input": (lambda model: model.graph.input[0].CopyFrom(info("x", (1, 4))), [("input", "x", "type")]),
    "value_info": (lambda model: model.graph.value_info.append(info("h")), [("value_info", "h", "added")]),
    "metadata": (
        lambda model: helper.set_model_props(model, {"a": "b"}),
        [("model", "metadata_props", "metadata_props")],
    ),
    "producer": (lambda model: setattr(model, "producer_name", "me"), [("model", "producer_name", "producer_name")]),
    "presence": (lambda model: setattr(model, "domain", ""), [("model", "domain", "domain")]),
    "graph": (lambda model: setattr(model.graph, "doc_string", "d"), [("graph", "doc_string", "doc_string")]),
    "unknown": (
        lambda model: model.graph.node[0].MergeFromString(bytes([0xFA, 0x3F, 1]) + b"a"),
        [("node", "/layer/matmul", "unknown fields")],
    ),
    "unknown in model": (
        lambda model: model.MergeFromString(bytes([0xFA, 0x3F, 1]) + b"a"),
        [("model", "", "unknown fields")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_differences(name):
    edit, expected = CASES[name]
    assert changed(edit) == expected


def test_functions_and_sparse_initializers():
    def model(value: float):
        function = helper.make_function(
            "f", "F", ["a"], ["b"], [helper.make_node("Elu", ["a"], ["b"], alpha=value)], [helper.make_opsetid("", 17)]
        )
        made = model_of([helper.make_node("F", ["x"], ["y"], domain="f")], functions=[function])
        values = numpy_helper.from_array(np.array([value], np.float32), "s")
        made.graph.sparse_initializer.append(
            helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([1])), [3])
        )
        return made

    assert [str(change) for change in diff(model(1), model(2))] == [
        "sparse_initializer 's': values",
        "function 'f::F': node",
    ]


def test_strings_and_equal_names():
    def model(text: str):
        nodes = [helper.make_node("Identity", ["x"], [name], name="same") for name in ("a", "y")]
        return model_of(nodes, initializers=[TensorProto(name="s", data_type=8, dims=[1], string_data=[text.encode()])])

    assert diff(model("a"), model("a")) == []
    assert diff(model("a"), model("b")) == [Change("initializer", "s", "values")]


def test_nan_equals_itself():
    model = model_of(
        [], outputs=[info("x")], initializers=[numpy_helper.from_array(np.array([np.nan], np.float32), "n")]
    )
    assert diff(model, model) == []


def test_unreadable_models(tmp_path):
    with pytest.raises(ModelError, match=r"cannot be opened"):
        diff(linear(), tmp_path / "absent.onnx")


@pytest.mark.parametrize("name", [b"/layer/add", b"h"])
def test_models_with_names_that_are_no_text(name):
    content = linear().SerializeToString()
    broken = content.replace(bytes([len(name)]) + name, bytes([len(name)]) + b"\xff" * len(name))
    if name == b"h":  # the name of a node's output counts where the node has none
        model = linear()
        model.graph.node[0].ClearField("name")
        broken = model.SerializeToString().replace(b"\x01h", b"\x01\xff")
    with pytest.raises(ModelError, match=r"has a name that is not UTF-8 text"):
        diff(broken, content)
