"""Optimizers follow PyTorch's, step for step, and refuse what makes no sense."""

import numpy as np
import pytest

import toolkit as tk
from tests.training.small import classifier, clusters
from toolkit.errors import TrainingError

torch = pytest.importorskip("torch", reason="PyTorch is the judge of this file and is not installed")

PAIRS = {
    "sgd": (tk.optimizers.SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "momentum": (tk.optimizers.SGD(0.1, 0.9), lambda p: torch.optim.SGD(p, 0.1, 0.9)),
    "dampening": (tk.optimizers.SGD(0.1, 0.9, 0.3), lambda p: torch.optim.SGD(p, 0.1, 0.9, 0.3)),
    "nesterov": (
        tk.optimizers.SGD(0.1, 0.9, weight_decay=0.02, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.02, nesterov=True),
    ),
    "sgd with decay": (tk.optimizers.SGD(0.1, weight_decay=0.1), lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.1)),
    "adam": (tk.optimizers.Adam(), torch.optim.Adam),
    "adam with decay": (
        tk.optimizers.Adam(0.01, (0.8, 0.95), 1e-6, 0.1),
        lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-6, 0.1),
    ),
    "adamw": (tk.optimizers.AdamW(0.01), lambda p: torch.optim.AdamW(p, 0.01)),
    "adamw with decay": (
        tk.optimizers.AdamW(0.01, weight_decay=0.3),
        lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.3),
    ),
}


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("name", PAIRS)
def test_ten_steps_agree_with_pytorch(name, backend):
    mine, make_theirs = PAIRS[name]
    network = classifier()
    tensors = {key: torch.tensor(item.array, requires_grad=True) for key, item in network.parameters.items()}
    w1, b1, w2, b2 = tensors.values()
    theirs = make_theirs(list(tensors.values()))
    trainer = tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=mine, backend=backend)
    x, labels = clusters(100)
    for start in range(0, 100, 10):
        rows = slice(start, start + 10)
        trainer.train_minibatch(x[rows], labels[rows])
        theirs.zero_grad()
        scores = torch.tanh(torch.tensor(x[rows]) @ w1.T + b1) @ w2.T + b2
        torch.nn.functional.cross_entropy(scores, torch.tensor(labels[rows])).backward()
        theirs.step()
    for key, tensor in tensors.items():
        expected = tensor.detach().numpy()
        np.testing.assert_allclose(network.parameters[key].array, expected, rtol=2e-4, atol=2e-5, err_msg=key)


def test_a_new_learning_rate_holds_from_the_next_step():
    network = classifier()
    optimizer = tk.optimizers.SGD(0.1)
    trainer = tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=optimizer, backend="numpy")
    x, labels = clusters(8)
    trainer.train_minibatch(x, labels)
    before = {name: item.array.copy() for name, item in network.parameters.items()}
    optimizer.learning_rate = 0.0
    trainer.train_minibatch(x, labels)
    assert all(np.array_equal(item.array, before[name]) for name, item in network.parameters.items())


def test_a_multiplier_scales_the_rate_of_a_selection():
    def moved(multiplier):
        network = classifier()
        network.select("linear1").learning_rate(multiplier)
        before = {name: item.array.copy() for name, item in network.parameters.items()}
        loss, optimizer = tk.losses.SoftmaxCrossEntropy(), tk.optimizers.SGD(0.1)
        tk.Trainer(network, loss=loss, optimizer=optimizer, backend="numpy").train_minibatch(*clusters(8))
        return {name: item.array - before[name] for name, item in network.parameters.items()}

    once, thrice = moved(1.0), moved(3.0)
    np.testing.assert_allclose(thrice["linear1/weight"], 3 * once["linear1/weight"], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(thrice["linear2/weight"], once["linear2/weight"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tk.optimizers.SGD(-0.1), r"SGD: learning_rate requires 0 or more, got -0.1"),
        (lambda: tk.optimizers.SGD(float("nan")), r"learning_rate requires a finite number, got nan"),
        (lambda: tk.optimizers.SGD("fast"), r"learning_rate requires a finite number, got 'fast'"),
        (lambda: tk.optimizers.SGD(0.1, momentum=-1), r"momentum requires 0 or more"),
        (lambda: tk.optimizers.SGD(0.1, nesterov=True), r"nesterov requires a momentum above 0"),
        (lambda: tk.optimizers.SGD(0.1, 0.9, 0.1, nesterov=True), r"no dampening, got momentum=0.9 and dampening=0.1"),
        (lambda: tk.optimizers.Adam(betas=(0.9, 1.0)), r"Adam: betas requires two numbers in \[0, 1\)"),
        (lambda: tk.optimizers.AdamW(epsilon=-1e-8), r"AdamW: epsilon requires 0 or more"),
        (lambda: tk.optimizers.AdamW(weight_decay=-1), r"AdamW: weight_decay requires 0 or more"),
    ],
)
def test_what_makes_no_sense_is_named(make, message):
    with pytest.raises(TrainingError, match=message):
        make()
