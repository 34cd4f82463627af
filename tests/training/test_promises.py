"""What the design this toolkit descends from set out to do, each promise once and from the outside."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import layers
from toolkit.errors import GraphError

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((32, 6)).astype(np.float32)
LABELS = (X.sum(axis=1) > 0).astype(np.int64)


def classifier(seed=0, width=8, inputs=6):
    return layers.Sequential([layers.Linear(width), layers.Tanh(), layers.Linear(2)]).network((inputs,), seed=seed)


def trainer_of(network, **options):
    return tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.SGD(0.1), **options)


def test_one_network_learns_at_32_and_acts_at_1():
    network = classifier()
    trainer, acting, watching = trainer_of(network), network.context(batch_size=1), network.context(batch_size=4)
    seen = []
    for _ in range(3):
        trainer.train_minibatch(X, LABELS)
        one, four = acting.run(X[:1])["output"], watching.run(X[:4])["output"]
        np.testing.assert_allclose(one, four[:1], rtol=1e-5, atol=1e-6)
        seen.append(one)
    assert len({item.tobytes() for item in seen}) == 3, "the acting context did not see what was learnt"


def test_a_network_belongs_to_no_backend():
    network = classifier()
    found = [network.context(batch_size=32, backend=backend).run(X)["output"] for backend in ("cpu", "numpy")]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_the_loss_lives_on_another_backend_than_the_network():
    losses = []
    for loss_backend in ("cpu", "numpy"):
        trainer = trainer_of(classifier(), backend="cpu", loss_backend=loss_backend)
        losses.append([trainer.train_minibatch(X, LABELS)[0] for _ in range(3)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_network_is_swapped_in_a_running_trainer_and_an_unequal_one_is_refused():
    first, second = classifier(seed=0), classifier(seed=1, width=16)
    trainer = trainer_of(first)
    trainer.train_minibatch(X, LABELS)
    kept = {name: item.array.copy() for name, item in first.parameters.items()}
    with pytest.raises(GraphError, match="needs the inputs 'input'"):
        trainer.network = classifier(inputs=7)
    trainer.network = second
    losses = [trainer.train_minibatch(X, LABELS)[0] for _ in range(20)]
    assert losses[-1] < losses[0]
    for name, array in kept.items():
        np.testing.assert_array_equal(first.parameters[name].array, array)


def test_a_shared_weight_gathers_both_gradients_and_is_updated_once():
    network = layers.Sequential([layers.Linear(6, bias=False), layers.Tanh(), layers.Linear(6, bias=False)]).network(
        (6,), seed=3
    )
    apart = layers.Sequential([layers.Linear(6, bias=False), layers.Tanh(), layers.Linear(6, bias=False)]).network(
        (6,), seed=3
    )
    apart.parameters["linear2/weight"].assign(apart.parameters["linear1/weight"].array)
    network.graph.leaves[2].inputs[1] = "linear1/weight"
    network.graph.parameters.pop("linear2/weight")
    loss, rate = tk.losses.MeanSquaredError(), 0.1
    shared, two = (tk.Trainer(item, loss=loss, optimizer=tk.optimizers.SGD(rate)) for item in (network, apart))
    grads = two.gradients(X, X)
    expected = network.parameters["linear1/weight"].array - rate * sum(grads.values())
    shared.train_minibatch(X, X)
    np.testing.assert_allclose(network.parameters["linear1/weight"].array, expected, rtol=1e-5, atol=1e-6)


def test_gradients_of_a_subset_of_outputs_and_of_a_fan_out():
    assembly = layers.Assembly(seed=5)
    body = assembly.add(layers.Linear(4), assembly.input("x", (6,)), name="body")
    heads = {name: assembly.add(layers.Linear(3), body, name=name) for name in ("a", "b")}
    network = assembly.network({f"{name} out": value for name, value in heads.items()})
    context = network.context(batch_size=32, training=True)
    outputs = context.forward({"x": X})
    ones = {name: np.ones_like(array) for name, array in outputs.items()}
    parts = [context.backward({name: ones[name]})["parameters"] for name in ones]
    both = context.backward(ones)["parameters"]
    assert "b/weight" not in parts[0]
    assert "a/weight" not in parts[1]
    np.testing.assert_allclose(
        both["body/weight"], parts[0]["body/weight"] + parts[1]["body/weight"], rtol=1e-5, atol=1e-5
    )


def test_forward_and_backward_apart_are_the_step_in_one():
    network = classifier()
    context = network.context(batch_size=32, training=True)
    logits = context.forward(X)["output"].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    seed = (probabilities - np.eye(2)[LABELS]) / len(X)
    apart = context.backward({"output": seed.astype(np.float32)})["parameters"]
    trainer = trainer_of(network)
    together = trainer.gradients(X, LABELS)
    assert apart.keys() == together.keys()
    for name, grad in together.items():
        np.testing.assert_allclose(apart[name], grad, rtol=1e-4, atol=1e-6)
    before = {name: item.array.copy() for name, item in network.parameters.items()}
    trainer.train_minibatch(X, LABELS)
    for name, grad in together.items():
        np.testing.assert_allclose(network.parameters[name].array, before[name] - 0.1 * grad, rtol=1e-5, atol=1e-6)
