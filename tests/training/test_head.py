"""Head replacement on networks of every make; the exported result is judged by onnxruntime."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import toolkit as tk
from exporters import save
from importers import load
from tests.training.small import classifier, weights
from toolkit import layers
from toolkit.errors import GraphError, ShapeError

MODELS = Path(__file__).parents[3] / "shared" / "assets" / "models"
ASSETS = {
    "mnist_burn": 1,
    "mnist8_cntk": 1,
    "mnist_dynamo_rten": 1,
    "mnist_cnn_torch11": 4,
    "mnist_mlp_onnxmlir": 1,
    "selfattn_mnist": 1,
}


def session_of(network, path):
    save(network, path)
    onnx.checker.check_model(str(path), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_the_last_linear_layer_and_what_follows_make_way(tmp_path):
    network = classifier(layers.LogSoftmax())
    body = {name: array for name, array in weights(network).items() if name.startswith("linear1/")}
    assert tk.replace_head(network, layers.Linear(5)) is network
    assert network.revision == 1
    assert [leaf.op_type for leaf in network.graph.leaves] == ["Gemm", "Tanh", "Gemm"]
    assert list(network.parameters) == ["linear1/weight", "linear1/bias", "head/weight", "head/bias"]
    assert all(np.array_equal(network.parameters[name].array, array) for name, array in body.items())
    assert network.outputs["y"].shape == ("batch", 5)
    x = np.ones((3, 6), np.float32)
    (expected,) = session_of(network, tmp_path / "new.onnx").run(None, {"x": x})
    assert expected.shape == (3, 5)
    np.testing.assert_allclose(network.run(x)["y"], expected, rtol=1e-5, atol=1e-5)


def test_a_network_that_ran_before_runs_with_its_new_head():
    network, x = classifier(), np.ones((3, 6), np.float32)
    assert network.run(x)["y"].shape == (3, 3)
    tk.replace_head(network, layers.Linear(5))
    assert network.run(x)["y"].shape == (3, 5)


def test_a_trainer_goes_on_with_the_new_head():
    network, x = classifier(), np.ones((3, 6), np.float32)
    loss, optimizer = tk.losses.SoftmaxCrossEntropy(), tk.optimizers.Adam()
    trainer = tk.Trainer(network, loss=loss, optimizer=optimizer, backend="numpy")
    trainer.train_minibatch(x, [0, 1, 2])
    tk.replace_head(network, layers.Linear(5))
    _, outputs = trainer.train_minibatch(x, [0, 1, 4])
    assert outputs["y"].shape == (3, 5)
    assert trainer.evaluate((x, [0, 1, 4])).keys() == {"loss", "accuracy"}


@pytest.mark.parametrize(
    ("at", "operators"),
    [
        ("linear2", ["Gemm", "Tanh", "Gemm"]),
        ("tanh1", ["Gemm", "Gemm"]),
        ("x", ["Gemm"]),
        ("y", ["Gemm", "Tanh", "Gemm", "LogSoftmax", "Gemm"]),
    ],
)
def test_the_cut_can_be_chosen(at, operators, tmp_path):
    network = classifier(layers.LogSoftmax())
    tk.replace_head(network, layers.Linear(4), at=at)
    assert [leaf.op_type for leaf in network.graph.leaves] == operators
    (y,) = session_of(network, tmp_path / "new.onnx").run(None, {"x": np.ones((2, 6), np.float32)})
    assert y.shape == (2, 4)


def test_a_head_can_be_replaced_again_and_again():
    network = classifier()
    for classes in (4, 5, 6):
        tk.replace_head(network, layers.Sequential([layers.Linear(8), layers.ReLU(), layers.Linear(classes)]))
    assert network.outputs["y"].shape == ("batch", 6)
    assert network.run(np.ones((2, 6), np.float32))["y"].shape == (2, 6)
    assert len(network.graph.leaves) == 2 + 2 * 3 - 1 + 2


def test_the_seed_decides_the_fresh_weights():
    first, again, other = (tk.replace_head(classifier(), layers.Linear(5), seed=seed) for seed in (1, 1, 2))
    arrays = [network.parameters["head/weight"].array for network in (first, again, other)]
    assert np.array_equal(arrays[0], arrays[1]) and not np.array_equal(arrays[0], arrays[2])


def test_a_head_that_does_not_fit_leaves_the_network_as_it_was():
    network = classifier()
    leaves, names = list(network.graph.leaves), list(network.parameters)
    with pytest.raises(ShapeError, match=r"Convolution 'head/convolution1' requires"):
        tk.replace_head(network, layers.Sequential([layers.Linear(4), layers.Convolution(3, 3)]))
    assert network.graph.leaves == leaves and list(network.parameters) == names and network.revision == 0


def test_what_cannot_be_replaced_is_named():
    with pytest.raises(GraphError, match=r"replace_head\(output='z'\): the network has the outputs \['y'\]"):
        tk.replace_head(classifier(), layers.Linear(4), output="z")
    swapped = layers.Sequential([layers.Linear(4)]).network((5,))
    swapped.graph.leaves.insert(0, _transpose())
    swapped.graph.leaves[1].inputs[0] = "turned"
    with pytest.raises(GraphError, match=r"cannot begin at 'turned': its shape \(5, 1\) at batch size 1"):
        tk.replace_head(swapped, layers.Linear(4), at="turned")


def _transpose():
    from_builder = layers.Sequential([layers.ReLU()]).network((5,)).graph.leaves[0]
    from_builder.op_type, from_builder.attributes, from_builder.outputs = "Transpose", {"perm": [1, 0]}, ["turned"]
    return from_builder


@pytest.mark.parametrize("name", ASSETS)
def test_models_of_every_make_get_a_new_head(name, tmp_path):
    path = MODELS / name / "model.onnx"
    if not path.exists():
        pytest.skip("needs the assets beside the repository (../shared/assets)")
    network = load(str(path))
    before = {item: parameter.array for item, parameter in network.parameters.items()}
    (output,) = network.outputs
    tk.replace_head(network, layers.Sequential([layers.Linear(7), layers.Sigmoid()], name="ours"))
    assert all(parameter.array is before[item] for item, parameter in network.parameters.items() if item in before)
    assert {item for item in network.parameters if item not in before} == {"ours/linear1/weight", "ours/linear1/bias"}
    batch = ASSETS[name]
    ((key, value),) = network.inputs.items()
    x = np.random.default_rng(0).standard_normal((batch, *value.unit_shape)).astype(np.float32)
    (expected,) = session_of(network, tmp_path / "new.onnx").run(None, {key: x})
    assert expected.shape == (batch, 7)
    np.testing.assert_allclose(network.run({key: x})[output], expected, rtol=1e-4, atol=1e-5)
    wider = np.concatenate([x, x[::-1], x])
    computed = network.run({key: wider})[output]
    np.testing.assert_allclose(computed[:batch], expected, rtol=1e-4, atol=1e-5)
    assert computed.shape == (3 * batch, 7)
