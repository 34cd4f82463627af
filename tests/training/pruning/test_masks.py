"""Unstructured pruning: what was pruned stays zero while the rest learns, and the file differs by numbers alone."""

import numpy as np
import pytest

import toolkit as tk
from exporters import diff, save
from importers import load
from tests.training.quantisation.small import images, judged, operators, residual
from toolkit import pruning
from toolkit.errors import GraphError, InputError, TrainingError

WEIGHTS = ["w1", "w2", "w3", "w4", "w5"]


def trainer(network, optimizer):
    loss = tk.losses.SoftmaxCrossEntropy(probabilities=True)
    return tk.Trainer(network, loss=loss, optimizer=optimizer, threads=1)


def test_the_smallest_of_all_weights_go():
    network = residual()
    magnitudes = np.concatenate([np.abs(network.parameters[name].array).reshape(-1) for name in WEIGHTS])
    made = pruning.prune(network, share=0.6)
    assert list(made.masks) == WEIGHTS
    report = made.report
    assert report.share == pytest.approx(0.6, abs=1e-3) and report.sizes["w4"] == 1536
    assert report.zeros["w4"] > 0.6 * 1536 > report.zeros["w5"]  # whose numbers are larger
    threshold = np.sort(magnitudes)[round(0.6 * magnitudes.size)]
    for name in WEIGHTS:
        weight = network.parameters[name].array
        np.testing.assert_array_equal(made.masks[name].array == 1, np.abs(weight) >= threshold)
    assert "all  " in str(report) and "60.0% zero" in str(report)


def test_each_layer_by_itself_and_by_pattern():
    made = pruning.prune(residual(), "second", "hidden", share=0.25, scope="layer")
    assert {name: made.report.zeros[name] for name in made.masks} == {"w3": 16, "w4": 384}
    assert pruning.sparsity(made.network, "first").share == 0


@pytest.mark.parametrize(
    "optimizer", [tk.optimizers.SGD(0.05, momentum=0.9), tk.optimizers.AdamW(0.01)], ids=["SGD", "AdamW"]
)
def test_pruned_weights_stay_zero_while_the_others_learn(optimizer, tmp_path):
    network, x = residual(), images(10)
    save(network, tmp_path / "before.onnx")
    before = {name: item.array for name, item in network.parameters.items()}
    made = pruning.prune(network, share=0.5)
    zeros = {name: mask.array == 0 for name, mask in made.masks.items()}
    trained = trainer(network, optimizer)
    losses = [trained.train_minibatch(x, np.arange(10) % 5)[0] for _ in range(12)]
    assert losses[-1] < losses[0]
    y = network.run(x)["y"]
    np.testing.assert_allclose(judged(network, tmp_path / "masked.onnx", {"x": x})["y"], y, rtol=1e-3, atol=1e-5)
    assert made.finish() is network and operators(network) == operators(residual())
    for name, zero in zeros.items():
        weight = network.parameters[name].array
        assert (weight[zero] == 0).all() and (weight[~zero] != before[name][~zero]).any()
    np.testing.assert_allclose(network.run(x)["y"], y, rtol=1e-4, atol=1e-6)
    save(network, tmp_path / "after.onnx")
    changes = diff(tmp_path / "before.onnx", tmp_path / "after.onnx")
    assert {change.kind for change in changes} == {"initializer"} and {change.detail for change in changes} == {
        "values"
    }
    assert pruning.sparsity(load(str(tmp_path / "after.onnx"))).share >= 0.5


def test_gradual_pruning_follows_its_schedule():
    network, x = residual(), images(6)
    made = pruning.prune(network, share=0)
    assert made.report.share == 0
    data = made.during([(x, np.arange(6) % 5)] * 3, pruning.Gradual(0.8, end=4, every=2))
    seen, before = [], None
    for _ in range(2):
        for _ in data:
            seen.append(round(made.report.share, 3))
            masks = np.concatenate([mask.array.reshape(-1) for mask in made.masks.values()])
            assert before is None or (masks <= before).all()
            before = masks
    assert seen == [0, 0, 0.7, 0.7, 0.8, 0.8]
    trainer(network, tk.optimizers.SGD(0.01)).fit(data, epochs=1, progress=False)
    assert made.report.share == pytest.approx(0.8, abs=1e-3)


def test_the_cubic_schedule():
    schedule = pruning.Gradual(0.9, end=110, begin=10, initial=0.1, every=10)
    assert schedule.share(9) is None and schedule.share(111) is None and schedule.share(15) is None
    shares = [schedule.share(step) for step in range(10, 120, 10)]
    np.testing.assert_allclose(shares, [0.9 - 0.8 * (1 - part) ** 3 for part in np.linspace(0, 1, 11)])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pruning.prune(residual(), share=1.0), InputError, r"must lie in \[0, 1\), got 1\.0"),
        (lambda: pruning.prune(residual(), scope="net"), InputError, r"scope= one of global, layer, got 'net'"),
        (lambda: pruning.prune(residual(), "pool"), GraphError, r"\['pool'\] names no weight of Conv"),
        (lambda: pruning.prune(pruning.prune(residual()).network), GraphError, r"'w1' has a mask already"),
        (lambda: [made := pruning.prune(residual()), made.finish(), made.finish()], GraphError, "taken out before"),
        (lambda: pruning.Gradual(0.2, end=5, initial=0.3), TrainingError, r"got initial=0\.3 and final=0\.2"),
        (lambda: pruning.Gradual(0.2, end=5, begin=6), TrainingError, r"0 <= begin <= end, .* got begin=6"),
    ],
)
def test_what_cannot_be(make, error, message):
    with pytest.raises(error, match=message):
        make()
