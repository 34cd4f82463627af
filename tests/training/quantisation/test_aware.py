"""Quantisation-aware training: networks learn with their grids, and recover what quantising alone has lost."""

import numpy as np
import pytest

import toolkit as tk
from exporters import save
from tests.training.quantisation.small import images, judged, residual
from toolkit import layers, quantisation
from toolkit.errors import TrainingError


def trainer(network, rate=1e-3, probabilities=False):
    return tk.Trainer(
        network,
        loss=tk.losses.SoftmaxCrossEntropy(probabilities=probabilities),
        optimizer=tk.optimizers.Adam(rate),
        straight_through=True,
        threads=1,
    )


@pytest.fixture(scope="module")
def digits():
    """A trained network for scikit-learn's digits, what it learnt from, and what it is judged by."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn (extra test)")
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    body = [layers.Convolution(6, 3, pads=1), layers.ReLU(), layers.Flatten(), layers.Linear(12), layers.ReLU()]
    network = layers.Sequential([*body, layers.Linear(10)]).network(
        (1, 8, 8), input_name="x", output_name="y", opset=17
    )
    trainer(network, 3e-3).fit((x[:1000], y[:1000]), epochs=12, progress=False)
    _make_uneven(network)
    batches = [(x[start : start + 50], y[start : start + 50]) for start in range(0, 1000, 50)]
    return network, batches, (x[1000:], y[1000:])


def _make_uneven(network, factor=6):
    """Let one unit be much larger than the others and what reads it smaller: the outputs stay, the grids suffer."""
    first, last = (leaf for leaf in network.graph.leaves if leaf.op_type == "Gemm")
    for leaf, part, axis in ((first, factor, 0), (last, 1 / factor, 1)):
        weight = network.parameters[leaf.inputs[1]]
        changed = weight.array.copy()
        axis = axis if leaf.attributes.get("transB", 0) else 1 - axis
        changed[(slice(None),) * axis + (0,)] *= part
        weight.assign(changed)
    bias = network.parameters[first.inputs[2]]
    bias.assign(bias.array * np.where(np.arange(bias.size) == 0, factor, 1).astype(np.float32))


def accuracy(network, path, held_out):
    """By onnxruntime."""
    return (judged(network, path, {"x": held_out[0]})["y"].argmax(1) == held_out[1]).mean()


@pytest.mark.parametrize("learn_steps", [False, True])
def test_training_recovers_what_few_bits_have_lost(digits, learn_steps, tmp_path):
    network, batches, held_out = digits
    options = {"weights": "int4", "activations": "uint4", "per_channel": False}
    x = np.concatenate([item[0] for item in batches[:5]])
    exact = accuracy(network, tmp_path / "float.onnx", held_out)
    at_once = accuracy(quantisation.quantise(network, x, **options), tmp_path / "q.onnx", held_out)
    before = {name: item.array for name, item in network.parameters.items()}
    aware = quantisation.prepare(network, x, learn_steps=learn_steps, **options)
    steps = {name: item.array for name, item in aware.network.parameters.items() if name.endswith("scale")}
    made = trainer(aware.network, 2e-3)
    made.fit(aware.observing(batches, steps=30), epochs=6, progress=False, keep_best=False)
    found = accuracy(aware.convert(), tmp_path / "aware.onnx", held_out)
    assert at_once < exact - 0.02
    assert found > at_once + 0.5 * (exact - at_once)
    assert any(not np.array_equal(aware.network.parameters[name].array, array) for name, array in steps.items())
    assert all(item.array is before[name] for name, item in network.parameters.items())
    assert not made.shortfalls


def test_what_is_converted_computes_what_was_trained(tmp_path):
    aware, x = quantisation.prepare(residual(), images(32)), images(9, seed=3)
    made = trainer(aware.network, probabilities=True)
    for _ in range(3):
        aware.observe(x)
        made.train_minibatch(x, np.arange(9) % 5)
    converted = aware.convert()
    y = aware.network.run(x)["y"]
    np.testing.assert_allclose(converted.run(x)["y"], y, atol=0.03)  # biases are int32 now
    np.testing.assert_allclose(judged(converted, tmp_path / "q.onnx", {"x": x})["y"], y, atol=0.03)
    assert "w1" not in converted.parameters and "w1" in aware.network.parameters
    assert aware.layers[0] == "first" and not aware.left_out


def test_observing_moves_ranges_for_the_first_steps_only():
    aware, x = quantisation.prepare(residual(), images(4)), images(8, seed=2) * 10

    def scales():
        return {name: float(aware.network.parameters[f"{name}/scale"].array) for name in ("x", "r1", "k2")}

    start = scales()
    data = aware.observing([(x, np.zeros(8, np.int64))] * 3, steps=2)
    seen = [scales() for _ in data]
    assert start["x"] < seen[0]["x"] < seen[1]["x"] == seen[2]["x"]
    assert all(item["k2"] <= 6 / 255 + 1e-9 for item in seen)  # the Clip lets no more through
    list(data)
    assert scales() == seen[2]


def test_weights_that_grow_get_a_wider_grid():
    aware = quantisation.prepare(residual(), images(4), weights="int4")
    weight, scale = aware.network.parameters["w3"], aware.network.parameters["w3/scale"]
    before = scale.array
    weight.assign(weight.array * 2)
    aware.observe(images(2))
    np.testing.assert_allclose(scale.array, before * 2, rtol=1e-6)


def test_learnt_steps_are_left_alone_and_have_to_stay_positive():
    aware = quantisation.prepare(residual(), images(4), learn_steps=True)
    scale = aware.network.parameters["r1/scale"]
    before = scale.array
    aware.observe(images(4) * 9)
    assert scale.array is before and scale.requires_grad
    assert not any(item.requires_grad for name, item in aware.convert().parameters.items() if name.endswith("scale"))
    scale.assign(np.float32(-0.1))
    with pytest.raises(
        TrainingError, match=r"step sizes 'r1/scale' must be above 0, training has brought one to -0\.1"
    ):
        aware.convert()


def test_bytes_can_be_saved_before_they_are_converted(tmp_path):
    aware, x = quantisation.prepare(residual(), images(16)), images(4, seed=1)
    save(aware.network, tmp_path / "aware.onnx")
    expected = judged(aware.network, tmp_path / "aware.onnx", {"x": x}, optimised=False)["y"]
    np.testing.assert_allclose(aware.network.run(x)["y"], expected, atol=0.03)
