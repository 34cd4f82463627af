"""The main job on real files and real data: fine-tuning on MNIST, and a new head for KMNIST, judged by onnxruntime."""

import gzip
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import toolkit as tk
from exporters import diff, save
from importers import load
from toolkit import layers
from toolkit.training.schedules import one_cycle

ASSETS = Path(__file__).parents[3] / "shared" / "assets"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ASSETS.exists(), reason="needs the assets beside the repository (../shared/assets)"),
]


def normalised(images):
    return ((images.reshape(-1, 1, 28, 28) / 255 - 0.1307) / 0.3081).astype(np.float32)


def raw(images):
    return images.reshape(-1, 1, 28, 28).astype(np.float32)


def unit(images):
    return raw(images) / np.float32(255)


def mnist(part, prepare=normalised):
    def read(kind, header):
        with gzip.open(ASSETS / "data" / "mnist" / f"{part}-{kind}-ubyte.gz") as file:
            return np.frombuffer(file.read(), np.uint8, offset=header)

    return prepare(read("images-idx3", 16)), read("labels-idx1", 8)


def kmnist():
    folder = ASSETS / "data" / "kmnist_test"
    images = np.load(folder / "kmnist-test-imgs.npz")["arr_0"]
    return normalised(images), np.load(folder / "kmnist-test-labels.npz")["arr_0"]


def judged(path, x, labels):
    """Accuracy of the file in onnxruntime, one image at a time where its batch is frozen; and the predictions."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    scores = np.concatenate([session.run(None, {name: x[row : row + 1]})[0] for row in range(len(x))])
    return float((scores.argmax(1) == labels).mean()), scores


def test_a_model_frozen_at_batch_1_is_fine_tuned_at_64(tmp_path):
    network = load(str(ASSETS / "models" / "mnist_dynamo_rten" / "model.onnx"))
    test = mnist("t10k")
    trainer = tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(0.05))
    before = trainer.evaluate(test, batch_size=500)["accuracy"]
    trainer.fit(mnist("train"), epochs=2, batch_size=64, schedule=one_cycle())
    after = trainer.evaluate(test, batch_size=500)["accuracy"]
    assert before < 0.8
    assert after >= 0.98
    save(network, tmp_path / "tuned.onnx")
    accuracy, scores = judged(tmp_path / "tuned.onnx", *test)
    assert accuracy >= 0.98
    mine = network.run({"input": test[0][:2000]})["logits"]
    assert np.abs(mine - scores[:2000]).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "prepare", "loss", "rate"),
    [
        ("mnist8_cntk", raw, tk.losses.SoftmaxCrossEntropy(), 1e-4),
        ("mnist_cnn_torch11", raw, tk.losses.NegativeLogLikelihood(), 2e-5),
        ("mnist_burn", normalised, tk.losses.NegativeLogLikelihood(), 1e-4),
        ("selfattn_mnist", unit, tk.losses.SoftmaxCrossEntropy(probabilities=True), 3e-4),
        ("mnist_mlp_onnxmlir", normalised, tk.losses.SoftmaxCrossEntropy(probabilities=True), 1e-3),
    ],
)
def test_fine_tuning_a_good_model_leaves_it_no_worse(name, prepare, loss, rate, tmp_path):
    original = ASSETS / "models" / name / "model.onnx"
    network = load(original)
    (source, value), output = next(iter(network.inputs.items())), next(iter(network.outputs))
    (train, train_labels), (test, test_labels) = mnist("train", prepare), mnist("t10k", prepare)
    train, test = (x.reshape(-1, *value.unit_shape) for x in (train, test))
    trainer = tk.Trainer(network, loss=loss, optimizer=tk.optimizers.Adam(rate))
    before = trainer.evaluate((test, test_labels), batch_size=500)["accuracy"]
    chosen_by = train[-5000:], train_labels[-5000:]
    history = trainer.fit((train[:10000], train_labels[:10000]), validation=chosen_by)
    after = trainer.evaluate((test, test_labels), batch_size=500)["accuracy"]
    assert after >= before - 0.001  # one test image in a thousand: validation images chose the weights, not these
    save(network, tmp_path / "tuned.onnx")
    changed = {change.name for change in diff(original, tmp_path / "tuned.onnx")}
    trained = {key for key, item in network.parameters.items() if item.requires_grad}
    assert changed == (trained if history.best_epoch else set())
    _, scores = judged(tmp_path / "tuned.onnx", test[:500], test_labels[:500])
    assert np.abs(network.run({source: test[:500]})[output] - scores).max() < 1e-4 * max(1, np.abs(scores).max())


def test_a_new_head_on_a_frozen_body_reads_another_script(tmp_path):
    network = load(str(ASSETS / "models" / "mnist8_cntk" / "model.onnx"))
    x, labels = kmnist()
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:8000], order[8000:]
    network.select("*").freeze()
    body = {name: item.array for name, item in network.parameters.items()}
    tk.replace_head(network, layers.Sequential([layers.Linear(256), layers.ReLU(), layers.Linear(10)]))
    trainer = tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(1e-3))
    trainer.fit((x[train], labels[train]), epochs=6, batch_size=64)
    kept = {name: item.array for name, item in network.parameters.items() if name in body}
    assert kept and all(np.array_equal(array, body[name]) for name, array in kept.items())
    save(network, tmp_path / "kmnist.onnx")
    accuracy, _ = judged(tmp_path / "kmnist.onnx", x[test], labels[test])
    assert accuracy >= 0.90
