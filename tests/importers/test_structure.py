"""What the importer works out: order, paths, batch axes, and files that take liberties."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from exporters import to_proto
from importers import load
from importers.onnx.paths import NodeNames, leaf_paths
from tests.importers.small import SHARED, assert_round_trip, info, linear, model_of, needs_shared
from toolkit.errors import ModelError
from toolkit.graph import Leaf, Scope


def test_unsorted_nodes_run_in_order_and_are_saved_as_they_were(tmp_path):
    model = linear()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([nodes[2], nodes[0], nodes[1]])
    network = assert_round_trip(model, tmp_path)
    assert [leaf.op_type for leaf in network.graph.leaves] == ["MatMul", "Add", "Relu"]
    network.graph.leaves.insert(1, Leaf("Identity", ["h"], ["h2"], version=17, path="new"))
    assert [node.op_type for node in to_proto(network).graph.node] == ["Relu", "MatMul", "Identity", "Add"]


def test_unsorted_nodes_that_a_body_captures_from(tmp_path):
    body = helper.make_graph([helper.make_node("Neg", ["late"], ["n"])], "body", [], [info("n")])
    nodes = [
        helper.make_node("If", ["cond"], ["y"], then_branch=body, else_branch=body),
        helper.make_node("Abs", ["x"], ["late"]),
    ]
    network = assert_round_trip(model_of(nodes, inputs=[info("x"), info("cond", (), 9)]), tmp_path)
    assert [leaf.op_type for leaf in network.graph.leaves] == ["Abs", "If"]


def test_one_value_as_several_outputs(tmp_path):
    outputs = [info("y"), info("y", None), info("y"), info("y#2")]
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y#2"])]
    network = assert_round_trip(model_of(nodes, outputs=outputs), tmp_path)
    assert list(network.outputs) == ["y", "y#3", "y#4", "y#2"]
    assert [leaf.op_type for leaf in network.graph.leaves] == ["Neg", "Abs", "Identity", "Identity"]


def test_the_last_of_several_constants_counts(tmp_path):
    constants = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array([value], np.float32)))
        for value in (1, 2, 3)
    ]
    nodes = [constants[0], helper.make_node("Add", ["x", "c"], ["y"]), *constants[1:]]
    network = assert_round_trip(model_of(nodes), tmp_path)
    producer = network.graph.producers()["c"]
    assert producer.attributes["value"].tolist() == [3]
    assert network.graph.leaves.index(producer) < network.graph.leaves.index(network.graph.producers()["y"])


@pytest.mark.parametrize(
    ("nodes", "paths"),
    [
        ([("/a/b", "Conv", ""), ("a/c/", "Relu", "")], ["a/b", "a/c"]),
        ([("", "Conv", ""), ("same", "Add", ""), ("same", "Mul", "")], ["Conv_0", "Add_1", "Mul_2"]),
        ([("Add_1", "Neg", ""), ("", "Add", "")], ["Add_1", "Add_1_"]),
        ([("node_conv", "Conv", "['', 'layer1', 'layer1.0.conv', 'conv2d']")], ["layer1/0/conv/node_conv"]),
        ([("relu", "Relu", "['', 'relu']"), ("/a/b", "Relu", "['', 'm', 'f']")], ["relu", "a/b"]),
        ([("n", "Relu", "[" * 100)], ["n"]),
    ],
)
def test_paths(nodes, paths):
    assert leaf_paths([NodeNames(*node) for node in nodes]) == paths


def test_scopes_of_the_container_tree():
    network = load(linear())
    assert list(network.layers.children) == ["layer", "relu"]
    layer = network.layers["layer"]
    assert isinstance(layer, Scope) and [leaf.op_type for leaf in layer.leaves()] == ["MatMul", "Add"]
    assert list(network.select("layer/*").parameters) == ["w", "b"]


def batch_axes(inputs, outputs, **options):
    """Batch axes of inputs and outputs with these shapes."""
    names = {f"i{number}": shape for number, shape in enumerate(inputs)}
    node = helper.make_node("Any", list(names), [f"o{number}" for number in range(len(outputs))], domain="d")
    model = model_of(
        [node],
        inputs=[info(name, shape) for name, shape in names.items()],
        outputs=[info(f"o{number}", shape) for number, shape in enumerate(outputs)],
    )
    network = load(model, **options)
    return (
        [value.batch_axis for value in network.inputs.values()],
        [value.batch_axis for value in network.outputs.values()],
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        ([("n", 3)], [("n", 2), ("m",), (None, 4), (5,), ()], ([0], [0, 0, 0, None, None])),
        ([(1, 3)], [(1, 2), (2, 1)], ([0], [0, None])),
        ([("n",)], [("n",)], ([0], [0])),
        ([(1,)], [(1,)], ([None], [None])),
        ([(100, 256)], [(100, 10), (1,)], ([0], [0, None])),
        ([(16,)], [(16,)], ([0], [0])),
        ([(8, 3), (8,)], [(8, 2)], ([0, 0], [0])),
        ([(8, 3), (4, 3)], [(8, 2)], ([None, None], [None])),
        ([(1, 512), (2, 1, 64)], [(1, 1), (2, 1, 64)], ([0, None], [0, None])),
        ([("batch", "seq"), (2, "batch", 128), ()], [("batch", 1), (2, "batch", 128)], ([0, 1, None], [0, 1])),
        ([("seq", "batch_size", 3)], [("seq", "batch_size")], ([1], [1])),
        ([("n", 3), (2, "n", 4)], [(2, "n", 4)], ([0, 1], [1])),
        ([None], [None], ([None], [None])),
        ([()], [("n", 2)], ([None], [None])),
        ([(0, 4)], [(0,)], ([0], [0])),
    ],
)
def test_batch_axes(inputs, outputs, expected):
    assert batch_axes(inputs, outputs) == expected


def test_chosen_batch_axes():
    assert batch_axes([("t", "n", 3)], [("t", "n")], batch_axis={"i0": 1}) == ([1], [1])
    assert batch_axes([(4, 3)], [(4, 3)], batch_axis={"i0": None}) == ([None], [None])
    assert batch_axes([(4, 3)], [(4, 3)], batch_axis={"o0": 1}) == ([0], [1])
    assert batch_axes([None], [None], batch_axis={"i0": 0}) == ([0], [None])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"nothing": 0}, "batch_axis names 'nothing', but the network's inputs and outputs are 'i0', 'o0'"),
        ({"i0": 2}, r"batch_axis of 'i0' must be None or an axis of float32 \(4, 3\) from 0, got 2"),
        ({"i0": -1}, "must be None or an axis .*, got -1"),
    ],
)
def test_batch_axes_that_cannot_be(chosen, message):
    with pytest.raises(ModelError, match=message):
        batch_axes([(4, 3)], [(4, 3)], batch_axis=chosen)


def test_values_that_are_no_tensors_have_no_batch():
    sequence = helper.make_value_info(
        "x", helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, ["batch", 3]))
    )
    network = load(model_of([helper.make_node("SequenceLength", ["x"], ["y"])], inputs=[sequence]))
    assert network.inputs["x"].batch_axis is None


@needs_shared
@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("mnist_dynamo_rten", {"input": 0}),
        ("silero_vad_ifless_dynamo", {"input": 0, "sr": None, "state": 1}),
        ("gpt2_past_tiny", {"input_ids": 0, "past_0": 1}),
        ("gtcrn_simple", {"mix": 0, "conv_cache": None}),
        ("jax_function", {"in_0": 0}),
    ],
)
def test_batch_axes_of_real_models(name, inputs):
    network = load(SHARED / "assets/models" / name / "model.onnx")
    assert {key: network.inputs[key].batch_axis for key in inputs} == inputs
