"""Declared types, their residues, and everything a model says beside its graph."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, TypeProto, ValueInfoProto, helper

from exporters import to_proto
from importers import load
from tests.importers.small import assert_round_trip, info, linear, model_of
from toolkit.errors import ModelError


def tensor_type(shape=("batch", 4)) -> TypeProto:
    return helper.make_tensor_type_proto(TensorProto.FLOAT, shape)


def denoted() -> TypeProto:
    proto = tensor_type()
    proto.denotation = "IMAGE"
    proto.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    return proto


def odd_dims() -> TypeProto:
    proto = tensor_type((None, 3))
    proto.tensor_type.shape.dim[0].dim_param = ""
    proto.tensor_type.shape.dim.add().dim_value = -1
    return proto


def bare() -> TypeProto:
    proto = TypeProto()
    proto.tensor_type.SetInParent()
    return proto


def undefined() -> TypeProto:
    proto = bare()
    proto.tensor_type.elem_type = 0
    return proto


def opaque() -> TypeProto:
    proto = TypeProto()
    proto.opaque_type.domain = "d"
    proto.opaque_type.name = "n"
    return proto


TYPES = {
    "scalar": (tensor_type(()), "tensor", ()),
    "unknown rank": (tensor_type(None), "tensor", None),
    "denoted": (denoted(), "tensor", ("batch", 4)),
    "odd dims": (odd_dims(), "tensor", (None, 3, None)),
    "bare": (bare(), "tensor", None),
    "undefined": (undefined(), "tensor", None),
    "empty": (TypeProto(), "tensor", None),
    "sequence": (helper.make_sequence_type_proto(tensor_type()), "sequence", ("batch", 4)),
    "optional": (helper.make_optional_type_proto(tensor_type()), "optional", ("batch", 4)),
    "nested": (
        helper.make_optional_type_proto(helper.make_sequence_type_proto(tensor_type())),
        "optional",
        ("batch", 4),
    ),
    "map": (helper.make_map_type_proto(TensorProto.STRING, tensor_type()), "map", ("batch", 4)),
    "map by int": (helper.make_map_type_proto(TensorProto.INT64, tensor_type()), "map", ("batch", 4)),
    "sparse": (helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [3]), "sparse_tensor", (3,)),
    "opaque": (opaque(), "opaque", None),
}


@pytest.mark.parametrize("name", TYPES)
def test_every_type(name, tmp_path):
    proto, kind, shape = TYPES[name]
    value = helper.make_value_info("x", proto)
    model = model_of([helper.make_node("Identity", ["x"], ["y"])], inputs=[value])
    loaded = assert_round_trip(model, tmp_path).inputs["x"]
    assert (loaded.kind, loaded.shape) == (kind, shape)


def test_output_without_a_type(tmp_path):
    model = model_of([helper.make_node("Identity", ["x"], ["y"])], outputs=[ValueInfoProto(name="y")])
    value = assert_round_trip(model, tmp_path).outputs["y"]
    assert value.dtype is None and value.shape is None


def test_a_changed_type_replaces_the_record(tmp_path):
    model = model_of(
        [helper.make_node("Identity", ["x"], ["y"])], inputs=[helper.make_value_info("x", denoted(), "doc")]
    )
    network = assert_round_trip(model, tmp_path)
    network.inputs["x"].shape = (None, 5)
    from_network = load_again(network)
    assert from_network.inputs["x"].shape == (None, 5)


def load_again(network):
    return load(to_proto(network))


def test_everything_beside_the_graph(tmp_path):
    model = linear()
    model.producer_name, model.producer_version, model.domain = "me", "1.2", "org.me"
    model.model_version, model.doc_string = 7, "a model"
    helper.set_model_props(model, {"author": "someone", "licence": "MIT"})
    model.graph.doc_string = "a graph"
    model.graph.metadata_props.add(key="g", value="h")
    model.graph.quantization_annotation.add(tensor_name="w").quant_parameter_tensor_names.add(key="SCALE", value="s")
    model.graph.node[0].doc_string = "a node"
    model.graph.node[0].metadata_props.add(key="source", value="line 3")
    model.graph.node[1].device_configurations.add(configuration_id="one")
    model.graph.value_info.extend([info("h"), info("s")])
    model.graph.input[0].doc_string = "pixels"
    model.training_info.add().algorithm.CopyFrom(model.graph)
    model.configuration.add(name="one", num_devices=2)
    network = assert_round_trip(model, tmp_path)
    assert network.metadata == {"author": "someone", "licence": "MIT"}
    assert list(network.graph.values) == ["h", "s"]
    assert network.opsets == {"": 17}


def test_unknown_fields_survive(tmp_path):
    unknown = bytes([0xFA, 0x3F, 3]) + b"abc"  # field 1023
    model = linear()
    for message in (model, model.graph, model.graph.node[0], model.graph.initializer[0], model.graph.input[0]):
        message.MergeFromString(unknown)
    assert assert_round_trip(model, tmp_path)
    assert model.SerializeToString().count(unknown) == 5


def test_defaults_that_are_spelled_out(tmp_path):
    model = linear()
    model.graph.node[0].name = ""
    model.graph.node[0].domain = ""
    model.graph.name = ""
    model.producer_name = ""
    model.opset_import[0].domain = ""
    assert_round_trip(model, tmp_path)
    model.graph.node[0].ClearField("name")
    model.opset_import[0].ClearField("domain")
    model.graph.ClearField("name")
    assert_round_trip(model, tmp_path)


def test_metadata_that_a_dictionary_cannot_say(tmp_path):
    model = linear()
    model.metadata_props.add(key="a", value="1")
    model.metadata_props.add(key="a", value="2")
    model.metadata_props.add(key="b")
    network = assert_round_trip(model, tmp_path)
    assert network.metadata == {"a": "2", "b": ""}
    network.metadata["c"] = "3"
    assert load_again(network).metadata == {"a": "2", "b": "", "c": "3"}


def test_values_declared_more_than_once(tmp_path):
    model = linear()
    model.graph.value_info.extend([info("h", (1,)), info("h", (2,)), info("s"), info("h", (3,))])
    assert assert_round_trip(model, tmp_path).graph.values["h"].shape == (1,)


def test_initializers_that_are_inputs_too(tmp_path):
    model = linear()
    model.graph.input.append(info("w", (4, 4)))
    network = assert_round_trip(model, tmp_path)
    assert list(network.inputs) == ["x"]
    assert list(network.graph.inputs) == ["x", "w"]
    assert network.parameters["w"].requires_grad


def test_the_alias_of_the_default_domain(tmp_path):
    model = linear()
    model.opset_import[0].domain = "ai.onnx"
    model.graph.node[0].domain = "ai.onnx"
    network = assert_round_trip(model, tmp_path)
    assert network.opsets == {"": 17}
    assert {leaf.domain for leaf in network.graph.leaves} == {""}


def test_domains_that_nobody_imports(tmp_path):
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0])
    assert assert_round_trip(model_of([node]), tmp_path).graph.leaves[0].version >= 3
    foreign = helper.make_node("Any", ["x"], ["y"], domain="some.where")
    assert assert_round_trip(model_of([foreign]), tmp_path).graph.leaves[0].version == 1


def test_files_from_before_opsets(tmp_path):
    model = linear()
    model.ir_version = 2
    model.ClearField("opset_import")
    assert assert_round_trip(model, tmp_path).opsets == {"": 1}


def test_unknown_element_type():
    value = helper.make_value_info("x", helper.make_tensor_type_proto(99, [1]))
    with pytest.raises(ModelError, match="input 'x' has element type 99, which is none of ONNX's"):
        load(model_of([helper.make_node("Identity", ["x"], ["y"])], inputs=[value]))


def test_types_nested_too_deep():
    proto = tensor_type()
    for _ in range(35):
        proto = helper.make_sequence_type_proto(proto)
    with pytest.raises(ModelError, match="nested deeper than 32 levels"):
        load(model_of([helper.make_node("Identity", ["x"], ["y"])], inputs=[helper.make_value_info("x", proto)]))


def test_weights_that_are_used_are_trainable_by_type():
    model = linear()
    network = load(model)
    assert all(parameter.requires_grad for parameter in network.parameters.values())
    assert network.parameters["w"].dtype == np.float32
