"""Parts of networks, and networks of parts; judged by onnxruntime."""

import numpy as np
import pytest

import toolkit as tk
from exporters import diff
from importers import load
from tests.training.adapters.small import parse
from tests.training.surgery.small import classifier, random, reloaded, require_equal
from toolkit import layers, surgery
from toolkit.errors import GraphError


def test_a_part_is_a_network_over_the_same_parameters(tmp_path):
    network, x = classifier()
    network = reloaded(network, tmp_path / "base.onnx")
    middle = network.graph.leaves[4].outputs[0]
    body, head = surgery.extract(network, ["x"], [middle]), surgery.extract(network, [middle], ["y"])
    assert body.outputs[middle].shape == ("batch", 16) and head.inputs[middle].batch_axis == 0
    features = require_equal(body, tmp_path / "body.onnx", {"x": x})[middle]
    y = require_equal(head, tmp_path / "head.onnx", {middle: features})["y"]
    np.testing.assert_allclose(y, network.run(x)["y"], rtol=1e-5, atol=1e-6)
    assert head.run({middle: features[:2]})["y"].shape == (2, 3)
    assert {change.detail for change in diff(tmp_path / "base.onnx", tmp_path / "body.onnx")} == {"removed", "added"}
    assert body.parameters["convolution1/weight"] is network.parameters["convolution1/weight"]
    assert list(head.parameters) == ["linear2/weight", "linear2/bias"]


def test_shapes_of_cuts_are_told_by_binding():
    text = """g (float[N, T, 4] x, float[N, T, 4] z) => (float[N, T, 4] y) {
        a = Add (x, z) t = Transpose <perm = [1, 0, 2]> (a) c = Concat <axis = 1> (a, a)
        u = Transpose <perm = [1, 0, 2]> (t) s = ReduceMean <axes = [1], keepdims = 0> (c) y = Identity (u)
    }"""
    made = surgery.extract(parse(text), ["x", "z"], ["t", "c", "s"])
    shapes = {name: (value.shape, value.batch_axis) for name, value in made.outputs.items()}
    assert shapes == {"t": (("T", "N", 4), 1), "c": (("N", None, 4), 0), "s": (("N", 4), 0)}


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["x"], ["nothing"], r"as outputs different values that the network computes .* got \['nothing'\]"),
        (["linear1/weight"], ["y"], r"as inputs different values"),
        ([], ["y"], r"as inputs different values"),
        (["x", "z"], ["b"], r"reads \['z'\]\. Leave them out of inputs="),
        (["x"], ["y"], r"also reads the inputs \['z'\]\. Add them to inputs="),
    ],
)
def test_parts_that_cannot_be_taken(inputs, outputs, message):
    network = parse(
        "g (float[N, 4] x, float[N, 4] z) => (float[N, 4] y, float[N, 4] b) { b = Relu (x) y = Add (b, z) }"
    )
    with pytest.raises(GraphError, match=message):
        surgery.extract(network, inputs, outputs)


def encoder(width=5, **options):
    return layers.Sequential([layers.Linear(width), layers.Tanh()]).network((4,), output_name="code", **options)


def decoder(width=5, **options):
    return layers.Sequential([layers.Linear(3)]).network((width,), input_name="code", output_name="y", **options)


def test_one_network_behind_the_other(tmp_path):
    first, second, x = encoder(), decoder(seed=1), random(6, 4)
    surgery.name_classes(second, ["a", "b", "c"])
    made = surgery.connect(first, second, prefixes=("encoder/", "decoder/"), keep=["code"])
    assert list(made.inputs) == ["encoder/input"] and list(made.outputs) == ["encoder/code", "decoder/y"]
    outputs = require_equal(made, tmp_path / "both.onnx", {"encoder/input": x})
    np.testing.assert_allclose(outputs["decoder/y"], second.run(first.run(x)["code"])["y"], rtol=1e-5, atol=1e-6)
    assert surgery.class_names(load(str(tmp_path / "both.onnx")), "decoder/y") == ["a", "b", "c"]
    made.parameters["encoder/linear1/weight"].assign(made.parameters["encoder/linear1/weight"].array * 2)
    assert not np.array_equal(made.parameters["encoder/linear1/weight"].array, first.parameters["linear1/weight"].array)
    made.select("decoder").freeze()
    assert [name for name, item in made.parameters.items() if item.requires_grad] == [
        "encoder/linear1/weight",
        "encoder/linear1/bias",
    ]


def test_networks_from_files_with_control_flow_are_joined(tmp_path):
    text = """g (float[N, 4] x, bool flag) => (float[N, 4] y) {
        h = Relu (x)
        y = If (flag) <then_branch = a () => (float[N, 4] p) { p = Neg (h) },
                       else_branch = b () => (float[N, 4] q) { q = Add (h, w) }>
    }"""
    parts = {name: parse(text, w=random(4, seed=seed)) for seed, name in enumerate(("left", "right"))}
    made, x = surgery.side_by_side(parts, shared_inputs=["x", "flag"]), random(3, 4)
    assert list(made.inputs) == ["x", "flag"] and list(made.parameters) == ["left/w", "right/w"]
    for flag in (True, False):
        outputs = require_equal(made, tmp_path / "both.onnx", {"x": x, "flag": np.array(flag)})
        for name, part in parts.items():
            expected = part.run({"x": x, "flag": np.array(flag)})["y"]
            np.testing.assert_array_equal(outputs[f"{name}/y"], expected)
    surgery.tie(made, "left/w", "right/w")
    outputs = require_equal(made, tmp_path / "tied.onnx", {"x": x, "flag": np.array(False)})
    np.testing.assert_array_equal(outputs["left/y"], outputs["right/y"])


def test_batches_of_other_names_become_one():
    made = surgery.connect(encoder(batch="N"), decoder(batch="items"), prefixes=("", "second/"))
    assert made.outputs["second/y"].shape == ("N", 3)


@pytest.mark.parametrize(
    ("first", "second", "options", "message"),
    [
        (
            encoder,
            decoder,
            {"wires": {"y": "code"}},
            r"outputs of the first network \['code'\] to .*, got \{'y': 'code'\}",
        ),
        (encoder, lambda: decoder(6), {}, r"Input 'code' requires float32 \(batch, 6\), got float32 \(batch, 5\)"),
        (encoder, decoder, {}, r"Both networks have something called 'linear1/weight'"),
        (
            encoder,
            lambda: parse("g (float[N, 5] code) => (float[N] y) { y = ReduceMean <axes = [1], keepdims = 0> (code) }"),
            {},
            r"ReduceMean 'ReduceMean_0' is written in opset 17, and means something else in opset 21",
        ),
    ],
)
def test_networks_that_cannot_be_joined(first, second, options, message):
    with pytest.raises(GraphError, match=message):
        surgery.connect(first(), second(), **options)


def test_shared_inputs_must_be_there_and_alike():
    with pytest.raises(GraphError, match=r"shared_inputs names 'z', which is an input of none"):
        surgery.side_by_side({"a": encoder()}, shared_inputs=["z"])
    one = layers.Sequential([layers.ReLU()]).network((4,), input_name="x")
    other = layers.Sequential([layers.ReLU()]).network((5,), input_name="x")
    with pytest.raises(GraphError, match=r"Input 'x' requires float32 \(batch, 5\), got float32 \(batch, 4\)"):
        surgery.side_by_side({"a": one, "b": other}, shared_inputs=["x"])


def test_functions_of_two_networks_do_not_mix():
    made = [encoder(), decoder()]
    for network in made:
        network.functions["local", "f", ""] = tk.Graph("f")
    with pytest.raises(GraphError, match=r"Both networks define a function local::f"):
        surgery.connect(*made, prefixes=("a/", "b/"))
