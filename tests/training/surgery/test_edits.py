"""Edits in place: dropout, un-folded BatchNormalization, tied weights, further heads; judged by onnxruntime."""

import numpy as np
import pytest

import toolkit as tk
from exporters import diff, save
from tests.training.surgery.small import classifier, judge, random, reloaded, require_equal
from toolkit import surgery
from toolkit.errors import GraphError

LABELS = [0, 1, 2, 0, 1]


def trained(network, x, steps=3, **options):
    trainer = tk.Trainer(
        network,
        loss=tk.losses.SoftmaxCrossEntropy(output="y"),
        optimizer=tk.optimizers.Adam(1e-2),
        backend="numpy",
        **options,
    )
    for _ in range(steps):
        trainer.train_minibatch(x, LABELS)
    return trainer


@pytest.mark.parametrize("opset", [9, 21])
def test_dropout_acts_in_training_and_is_the_whole_difference(opset, tmp_path):
    network, x = classifier(opset)
    network = reloaded(network, tmp_path / "base.onnx")
    y = network.run(x)["y"]
    assert surgery.insert_dropout(network, "relu*", "tanh*", ratio=0.5) is network and network.revision == 1
    np.testing.assert_array_equal(require_equal(network, tmp_path / "new.onnx", {"x": x})["y"], y)
    changes = diff(tmp_path / "base.onnx", tmp_path / "new.onnx")
    held = [("initializer", "relu1/Relu/ratio"), ("initializer", "tanh1/Tanh/ratio")] if opset > 11 else []
    assert sorted((change.kind, change.name) for change in changes) == sorted(
        [*held, *[("node", name) for path in ("relu1/Relu", "tanh1/Tanh") for name in (path, f"{path}/Dropout")]]
    )
    context = network.context(5, training=True, backend="numpy")
    first, second = (context.forward({"x": x})["y"] for _ in range(2))
    assert abs(first - second).max() > 0


@pytest.mark.parametrize(
    ("patterns", "options", "message"),
    [
        (["relu1"], {"ratio": 1.0}, r"a ratio in \[0, 1\), got 1\.0"),
        (["linear1/weight"], {}, r"requires layers, but \['linear1/weight'\] names parameters alone"),
    ],
)
def test_dropout_that_cannot_be(patterns, options, message):
    network, _ = classifier()
    with pytest.raises(GraphError, match=message):
        surgery.insert_dropout(network, *patterns, **options)


def test_dropout_needs_data_and_a_newer_opset():
    network, _ = classifier()
    network.graph.leaves.insert(0, tk.Leaf("Identity", ["linear1/bias"], ["b"], version=21, path="constant"))
    with pytest.raises(GraphError, match=r"Identity 'constant' cannot be followed by Dropout: .* does not depend"):
        surgery.insert_dropout(network, "constant")
    network.opsets[""] = 6
    with pytest.raises(GraphError, match=r"insert_dropout needs opset 7, .* opset 6"):
        surgery.insert_dropout(network, "relu1")
    with pytest.raises(GraphError, match=r"unfold_batch_normalization needs opset 7, .* opset 6"):
        surgery.unfold_batch_normalization(network, "linear1", data=random(1, 4, 6, 6))


def test_unfolding_changes_no_output_and_learns(tmp_path):
    network, x = classifier(opset=9)
    network = reloaded(network, tmp_path / "base.onnx")
    y = network.run(x)["y"]
    surgery.unfold_batch_normalization(network, "convolution*", "linear1", data=[x[:3], {"x": x[3:]}])
    np.testing.assert_allclose(require_equal(network, tmp_path / "new.onnx", {"x": x})["y"], y, rtol=1e-4, atol=1e-5)
    changes = diff(tmp_path / "base.onnx", tmp_path / "new.onnx")
    assert {(change.kind, change.detail) for change in changes} == {
        ("initializer", "added"),
        ("node", "added"),
        ("node", "output"),
    }
    assert len([change for change in changes if change.detail == "added"]) == 3 * (4 + 1)
    mean = network.parameters["linear1/Gemm/running_mean"]
    assert mean.role and not mean.requires_grad
    inner = surgery.extract(network, ["x"], [network.graph.leaves[0].outputs[0]]).run(x)
    (values,) = inner.values()
    np.testing.assert_allclose(
        network.parameters["convolution1/Conv/running_var"].array, values.var((0, 2, 3)), rtol=1e-4
    )
    # With the statistics of the batch, which are those of the data, it still is the identity.
    network.select("*").unfreeze_statistics()
    forward = network.context(5, training=True, backend="numpy").forward({"x": x})["y"]
    np.testing.assert_allclose(forward, y, rtol=1e-3, atol=1e-4)
    before = network.parameters["convolution1/Conv/scale"].array
    trained(network, x)
    assert abs(network.parameters["convolution1/Conv/scale"].array - before).max() > 0
    np.testing.assert_allclose(
        judge(network, tmp_path / "t.onnx", {"x": x})["y"], network.run(x)["y"], rtol=1e-4, atol=1e-5
    )


def test_unfolding_finds_layers_by_the_names_of_their_weights():
    network, x = classifier()
    with pytest.raises(GraphError, match=r"No convolution is named like one that holds a BatchNormalization"):
        surgery.unfold_batch_normalization(network, data=x)
    with pytest.raises(GraphError, match=r"none can have held .* takes Conv, ConvTranspose, Gemm, got \['Relu'\]"):
        surgery.unfold_batch_normalization(network, "relu1", data=x)
    with pytest.raises(GraphError, match=r"requires data, got no batch"):
        surgery.unfold_batch_normalization(network, "linear1", data=[])
    item = network.graph.parameters.pop("convolution1/weight")
    item.name = network.graph.leaves[0].inputs[1] = "onnx::Conv_12"
    network.graph.parameters["onnx::Conv_12"] = item
    surgery.unfold_batch_normalization(network, data=x)
    assert [leaf.op_type for leaf in network.graph.leaves][:3] == ["Conv", "BatchNormalization", "Relu"]


def two_branches():
    """y = linear(tanh(linear(x))) + linear(tanh(linear(x))), all of 4 features."""
    branches = {
        name: tk.layers.Sequential([tk.layers.Linear(4), tk.layers.Tanh()]).network((4,), input_name="x", seed=seed)
        for seed, name in enumerate(("a", "b"))
    }
    return surgery.side_by_side(branches, shared_inputs=["x"])


def test_tied_weights_are_one(tmp_path):
    network, x = two_branches(), random(5, 4)
    apart = network.run(x)
    assert abs(apart["a/output"] - apart["b/output"]).max() > 0.01
    context = network.context(5, training=True, backend="numpy")
    g = {name: np.ones((5, 4), np.float32) for name in network.outputs}
    surgery.tie(network, "a/linear1/weight", "b/linear1/weight")
    surgery.tie(network, "a/linear1/bias", "b/linear1/bias")
    assert list(network.parameters) == ["a/linear1/weight", "a/linear1/bias"]
    outputs = require_equal(network, tmp_path / "tied.onnx", {"x": x})
    np.testing.assert_array_equal(outputs["a/output"], outputs["b/output"])
    context = network.context(5, training=True, backend="numpy")
    context.forward({"x": x})
    both = context.backward(g)["parameters"]["a/linear1/weight"]
    context.forward({"x": x})
    one = context.backward({"a/output": g["a/output"]})["parameters"]["a/linear1/weight"]
    np.testing.assert_allclose(both, 2 * one, rtol=1e-5)


def test_a_weight_is_tied_to_its_transpose(tmp_path):
    body = [tk.layers.Linear(6), tk.layers.Linear(4)]
    network, x = tk.layers.Sequential(body).network((4,), input_name="x"), random(5, 4)
    surgery.tie(network, "linear1/weight", "linear2/weight", transposed=True)
    assert "linear2/weight" not in network.parameters
    y = require_equal(network, tmp_path / "n.onnx", {"x": x})["output"]
    w = network.parameters["linear1/weight"].array
    np.testing.assert_allclose(y, x @ w.T @ w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["linear1/weight", "nothing"], r"tie requires parameters .* such as 'convolution1/weight', .* got 'nothing'"),
        (["linear1/weight", "linear2/weight"], r"float32 \(16, 128\), got 'linear2/weight' float32 \(3, 16\)"),
        (["linear1/bias", "linear1/bias"], r"'linear1/bias' can be shared by another parameter"),
    ],
)
def test_weights_that_cannot_be_tied(names, message):
    network, _ = classifier()
    with pytest.raises(GraphError, match=message):
        surgery.tie(network, *names)


def test_a_head_more_is_an_output_more(tmp_path):
    network, x = classifier()
    network = reloaded(network, tmp_path / "base.onnx")
    y = network.run(x)["y"]
    head = tk.layers.Sequential([tk.layers.Linear(2), tk.layers.Softmax()], name="colour")
    surgery.append_head(network, head, "tanh1", "colours", classes=["red", "green"])
    outputs = require_equal(network, tmp_path / "two.onnx", {"x": x})
    np.testing.assert_array_equal(outputs["y"], y)
    assert outputs["colours"].shape == (5, 2) and network.outputs["colours"].shape == ("batch", 2)
    changes = {(change.kind, change.detail) for change in diff(tmp_path / "base.onnx", tmp_path / "two.onnx")}
    kinds = {"initializer", "node", "output", "value_info"}
    assert changes == {*((kind, "added") for kind in kinds), ("model", "metadata_props")}
    assert surgery.class_names(reloaded(network, tmp_path / "two.onnx")) == ["red", "green"]


def test_heads_that_cannot_be_appended():
    network, _ = classifier()
    with pytest.raises(GraphError, match=r"a name for its output that nothing has yet, got 'y'"):
        surgery.append_head(network, tk.layers.Linear(2), "tanh1", "y")
    with pytest.raises(GraphError, match=r"append_head\(at='nowhere'\): the network has no such layer"):
        surgery.append_head(network, tk.layers.Linear(2), "nowhere", "z")
    with pytest.raises(GraphError, match=r"Output 'z' has 2 classes, got 3 names"):
        surgery.append_head(network, tk.layers.Linear(2), "tanh1/Tanh", "z", classes=["a", "b", "c"])
    assert list(network.outputs) == ["y"] and network.metadata == {}


def test_edits_see_the_network_without_its_adapters(tmp_path):
    network, x = classifier()
    save(network, tmp_path / "base.onnx")
    adapter = tk.adapters.lora(network, "*", rank=2)
    surgery.insert_dropout(network, "linear1")
    surgery.unfold_batch_normalization(network, "convolution1", data=x)
    tk.replace_head(network, tk.layers.Linear(3))
    trained(network, x)
    require_equal(network, tmp_path / "n.onnx", {"x": x})
    adapter.disable()
    kinds = ["Conv", "BatchNormalization", "Relu", "Conv", "Flatten", "Gemm", "Dropout", "Tanh", "Gemm"]
    assert [leaf.op_type for leaf in network.graph.leaves] == kinds
