"""Optimizers move parameters as their rules and PyTorch's say, and refuse what makes no sense."""

from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.support.interpret import interpret
from tests.support.update_rules import RULES
from tests.training.small import classifier, clusters
from toolkit.compiler.program import Program
from toolkit.errors import TrainingError

# ours, then the name and the settings of the same in torch.optim
OPTIMIZERS = {
    "sgd": (tk.optimizers.SGD(0.1), "SGD", {"lr": 0.1}),
    "momentum": (tk.optimizers.SGD(0.1, 0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "dampening": (tk.optimizers.SGD(0.1, 0.9, 0.3), "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "nesterov": (tk.optimizers.SGD(0.1, 0.9, nesterov=True), "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "nesterov with decay": (
        tk.optimizers.SGD(0.1, 0.9, weight_decay=0.02, nesterov=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.02, "nesterov": True},
    ),
    "sgd with decay": (tk.optimizers.SGD(0.1, weight_decay=0.1), "SGD", {"lr": 0.1, "weight_decay": 0.1}),
    "adam": (tk.optimizers.Adam(), "Adam", {}),
    "adam with decay": (
        tk.optimizers.Adam(0.01, (0.8, 0.95), 1e-6, 0.1),
        "Adam",
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    ),
    "adamw": (tk.optimizers.AdamW(0.01), "AdamW", {"lr": 0.01}),
    "adamw with decay": (tk.optimizers.AdamW(0.01, weight_decay=0.3), "AdamW", {"lr": 0.01, "weight_decay": 0.3}),
}


def cross_entropy_gradients(parameters, x, labels):
    """The gradients of ``classifier``'s mean cross-entropy, by hand."""
    w1, b1, w2, b2 = parameters
    hidden = np.tanh(x @ w1.T + b1)
    scores = np.exp(hidden @ w2.T + b2)
    upper = (scores / scores.sum(1, keepdims=True) - np.eye(len(b2))[labels]) / len(x)
    lower = upper @ w2 * (1 - hidden**2)
    return lower.T @ x, lower.sum(0), upper.T @ hidden, upper.sum(0)


def moved_by_rule(name, settings, start, batches):
    rule = RULES[name](**settings)
    parameters, slots = [item.astype(np.float64) for item in start], [dict[str, Any]() for _ in start]
    for number, (x, labels) in enumerate(batches, 1):
        grads = cross_entropy_gradients(parameters, x, labels)
        parameters = [rule(p, g, kept, number) for p, g, kept in zip(parameters, grads, slots, strict=True)]
    return parameters


def moved_by_torch(name, settings, start, batches):
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs the extra torch")
    w1, b1, w2, b2 = tensors = [torch.tensor(item, requires_grad=True) for item in start]
    theirs = getattr(torch.optim, name)(tensors, **settings)
    for x, labels in batches:
        theirs.zero_grad()
        scores = torch.tanh(torch.tensor(x) @ w1.T + b1) @ w2.T + b2
        torch.nn.functional.cross_entropy(scores, torch.tensor(labels)).backward()
        theirs.step()
    return [item.detach().numpy() for item in tensors]


@pytest.mark.parametrize("judge", [moved_by_rule, moved_by_torch])
@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_are_those_of_the_judge(name, backend, judge):
    optimizer, kind, settings = OPTIMIZERS[name]
    network, (x, labels) = classifier(), clusters(100)
    batches = [(x[at : at + 10], labels[at : at + 10]) for at in range(0, 100, 10)]
    expected = judge(kind, settings, [item.array.copy() for item in network.parameters.values()], batches)
    trainer = tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=optimizer, backend=backend)
    for batch in batches:
        trainer.train_minibatch(*batch)
    for (key, item), array in zip(network.parameters.items(), expected, strict=True):
        np.testing.assert_allclose(item.array, array, rtol=2e-4, atol=2e-5, err_msg=key)


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


@pytest.mark.parametrize(
    "optimizer",
    [
        tk.optimizers.SGD(0.1, momentum=0.9, dampening=0.3, weight_decay=1e-3),
        tk.optimizers.Adam(1e-2, weight_decay=0.1),
        tk.optimizers.AdamW(3e-4),
    ],
)
def test_a_graph_computes_the_same_scalars(optimizer):
    program = Program()
    rate = program.constant(np.asarray(np.float32(optimizer.learning_rate), np.float64))
    for step in (1, 2, 1000):
        numbers = optimizer.expressions(rate, program.constant(np.asarray(float(step))))
        wanted = [item.variable for item in numbers if not isinstance(item, float)]
        found = iter(interpret(program, {}, wanted))
        made = [item if isinstance(item, float) else next(found) for item in numbers]
        np.testing.assert_allclose(np.asarray(made, np.float32), optimizer.scalars(step), rtol=1e-7)
