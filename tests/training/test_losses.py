"""Losses: value and gradient are their formula's and PyTorch's, labels are checked, missing items do not count."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.training.small import classifier
from toolkit import layers
from toolkit.errors import GraphError, InputError, ShapeError
from toolkit.layers.definition import Definition
from toolkit.training.labels import class_indices, real_targets
from toolkit.training.losses import Loss

FLOAT = np.dtype(np.float32)
BACKENDS = pytest.mark.parametrize("backend", ["numpy", "cpu"])
X = np.random.default_rng(0).standard_normal((7, 6)).astype(np.float32)
CLASSES = np.random.default_rng(0).integers(0, 3, 7)
TARGETS = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32)
SOME_CLASSES, SOME_TARGETS = CLASSES.copy(), TARGETS.copy()
SOME_CLASSES[2:4] = -100
SOME_TARGETS[0] = SOME_TARGETS[3, 1] = np.nan


def softmax(y):
    powers = np.exp(y)
    return powers / powers.sum(1, keepdims=True)


def picked(log_probabilities, labels):
    """The mean of -log_probabilities[label] over the labels that are classes."""
    real = labels >= 0
    return -log_probabilities[real, labels[real]].mean()


def cross_entropy(y, labels):
    return picked(np.log(softmax(y)), labels)


def torch_cross_entropy(torch, y, labels):
    return torch.nn.functional.cross_entropy(y, torch.tensor(labels))


@dataclass
class Row:
    """A loss behind the layers of ``classifier`` and ``last``, and what it is of the logits y, said twice."""

    last: list[Definition]
    loss: Callable[[], Loss]
    labels: np.ndarray
    formula: Callable[[Any, Any], Any]
    torch_formula: Callable[[Any, Any, Any], Any]


ROWS = {
    "cross-entropy of logits": Row([], tk.losses.SoftmaxCrossEntropy, CLASSES, cross_entropy, torch_cross_entropy),
    "cross-entropy of probabilities": Row(
        [layers.Softmax()],
        lambda: tk.losses.SoftmaxCrossEntropy(probabilities=True),
        CLASSES,
        cross_entropy,
        torch_cross_entropy,
    ),
    "cross-entropy of probabilities that no softmax makes": Row(
        [layers.Sigmoid()],
        lambda: tk.losses.SoftmaxCrossEntropy(probabilities=True),
        CLASSES,
        lambda y, labels: picked(-np.log(1 + np.exp(-y)), labels),
        lambda torch, y, labels: -torch.sigmoid(y).log()[torch.arange(7), torch.tensor(labels)].mean(),
    ),
    "cross-entropy without the ignored class": Row(
        [],
        lambda: tk.losses.SoftmaxCrossEntropy(ignore_index=-100),
        SOME_CLASSES,
        cross_entropy,
        torch_cross_entropy,
    ),
    "negative log-likelihood": Row(
        [layers.LogSoftmax()], tk.losses.NegativeLogLikelihood, CLASSES, cross_entropy, torch_cross_entropy
    ),
    "negative log-likelihood of what is not normalised": Row(
        [],
        tk.losses.NegativeLogLikelihood,
        CLASSES,
        picked,
        lambda torch, y, labels: torch.nn.functional.nll_loss(y, torch.tensor(labels)),
    ),
    "mean squared error": Row(
        [],
        tk.losses.MeanSquaredError,
        TARGETS,
        lambda y, target: ((y - target) ** 2).mean(),
        lambda torch, y, target: torch.nn.functional.mse_loss(y, torch.tensor(target)),
    ),
    "mean squared error without the missing targets": Row(
        [],
        tk.losses.MeanSquaredError,
        SOME_TARGETS,
        lambda y, target: np.nanmean((y - target) ** 2),
        lambda torch, y, target: ((y - torch.tensor(target))[torch.tensor(~np.isnan(target))] ** 2).mean(),
    ),
}
LITERAL = Row(
    [layers.Softmax()],
    tk.losses.SoftmaxCrossEntropy,
    CLASSES,
    lambda y, labels: cross_entropy(softmax(y), labels),
    lambda torch, y, labels: torch_cross_entropy(torch, y.softmax(1), labels),
)


def by_formula(network, row):
    """The loss in float64, and its gradients by central differences."""
    arrays = {name: item.array.astype(np.float64) for name, item in network.parameters.items()}
    w1, b1, w2, b2 = arrays.values()

    def value():
        return row.formula(np.tanh(X @ w1.T + b1) @ w2.T + b2, row.labels)

    def slope(array, place, step=1e-5):
        kept = array[place]
        array[place] = kept + step
        above = value()
        array[place] = kept - step
        below = value()
        array[place] = kept
        return (above - below) / (2 * step)

    grads = {
        name: np.array([slope(array, place) for place in np.ndindex(array.shape)]).reshape(array.shape)
        for name, array in arrays.items()
    }
    return value(), grads


def by_torch(network, row):
    """The loss and its gradients by PyTorch."""
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs the extra torch")
    tensors = {name: torch.tensor(item.array, requires_grad=True) for name, item in network.parameters.items()}
    w1, b1, w2, b2 = tensors.values()
    loss = row.torch_formula(torch, torch.tanh(torch.tensor(X) @ w1.T + b1) @ w2.T + b2, row.labels)
    loss.backward()
    return loss.item(), {name: item.grad.numpy() for name, item in tensors.items()}


JUDGES = pytest.mark.parametrize("judge", [by_formula, by_torch])


def assert_agree(row, backend, judge):
    network = classifier(*row.last)
    expected, expected_grads = judge(network, row)
    trainer = tk.Trainer(network, loss=row.loss(), optimizer=tk.optimizers.SGD(0.1), backend=backend)
    value = trainer.evaluate((X, row.labels), batch_size=len(X))["loss"]
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)
    grads = trainer.gradients(X, row.labels)
    assert list(grads) == list(expected_grads)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected_grads[name], rtol=1e-4, atol=1e-6, err_msg=name)


@BACKENDS
class TestValuesAndGradients:
    @JUDGES
    @pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
    def test_they_are_those_of_the_judge(self, row, backend, judge):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*judges logits.*")
            assert_agree(row, backend, judge)

    @JUDGES
    def test_a_softmax_judged_as_logits_is_judged_literally_and_warned_of(self, backend, judge):
        with pytest.warns(UserWarning, match=r"Say SoftmaxCrossEntropy\(probabilities=True\)") as caught:
            assert_agree(LITERAL, backend, judge)
        assert len(caught) == 1

    def test_a_batch_without_real_items_costs_nothing(self, backend):
        for loss, missing in (
            (tk.losses.SoftmaxCrossEntropy(ignore_index=-1), np.full(7, -1)),
            (tk.losses.MeanSquaredError(), np.full((7, 3), np.nan)),
        ):
            trainer = tk.Trainer(classifier(), loss=loss, optimizer=tk.optimizers.SGD(0.1), backend=backend)
            value, _ = trainer.train_minibatch(X, missing)
            assert value == 0
            assert all((grad == 0).all() for grad in trainer.gradients(X, missing).values())

    @pytest.mark.parametrize("axis", [1, 2, -1])
    def test_classes_on_another_axis(self, backend, axis):
        network = layers.Sequential([layers.Linear(4), layers.Reshape((4, 5))]).network((5, 6))
        random = np.random.default_rng(0)
        x = random.standard_normal((3, 5, 6)).astype(np.float32)
        classes = (3, 4, 5)[axis]
        labels = random.integers(0, classes, (3, 20 // classes))
        loss = tk.losses.SoftmaxCrossEntropy(axis=axis)
        trainer = tk.Trainer(network, loss=loss, optimizer=tk.optimizers.SGD(0.1), backend=backend)
        value = trainer.evaluate((x, labels), batch_size=3)["loss"]
        scores = np.moveaxis(network.run(x)["output"], axis, -1).reshape(-1, classes)
        assert value == pytest.approx(cross_entropy(scores, labels.reshape(-1)), rel=1e-5)


def test_one_of_several_outputs_is_judged():
    network = classifier()
    network.graph.outputs["hidden"] = network.graph.values[network.graph.leaves[1].outputs[0]]
    network.graph.outputs["hidden"].name = network.graph.leaves[1].outputs[0] = "hidden"
    network.graph.leaves[2].inputs[0] = "hidden"
    x = np.ones((2, 6), np.float32)
    with pytest.raises(GraphError, match=r"outputs \['y', 'hidden'\].*output="):
        tk.Trainer(network, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.SGD(0.1))
    loss = tk.losses.MeanSquaredError(output="hidden")
    trainer = tk.Trainer(network, loss=loss, optimizer=tk.optimizers.SGD(0.1), backend="numpy")
    assert trainer.judged_outputs == ("hidden",)
    value, outputs = trainer.train_minibatch(x, np.zeros((2, 16)))
    assert value == pytest.approx(float((outputs["hidden"] ** 2).mean()), rel=1e-5)
    assert outputs["y"].shape == (2, 3)
    assert list(trainer.gradients(x, np.zeros((2, 16)))) == ["linear1/weight", "linear1/bias"]


class TestLabels:
    @pytest.mark.parametrize(
        "labels",
        [[0, 2], (0, 2), np.array([0, 2], np.uint8), np.array([0.0, 2.0]), np.array([0, 2], np.int16)],
    )
    def test_whole_numbers_of_any_type_are_class_indices(self, labels):
        accepted = tk.losses.SoftmaxCrossEntropy().accept(labels, FLOAT, (2, 3))
        assert accepted.dtype == np.int64
        assert accepted.tolist() == [0, 2]

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.eye(3)[:2], r"They look one-hot: pass labels.argmax\(1\)"),
            ([0, 3], r"must lie in \[0, 2\] for an output of 3 classes, got 3 at item 1"),
            ([-1, 0], r"got -1 at item 0.*ignore_index"),
            ([[0], [1]], r"Pass labels.reshape\(\(2,\)\)"),
            ([0, 1, 2], r"The batch has 2 items and 3 labels"),
            (np.zeros((2, 7)), r"Pass one class index per item"),
            ([0.5, 1], r"with fractions or NaN.*MeanSquaredError"),
            (["cat", "dog"], r"Map the names to 0, 1, 2"),
        ],
    )
    def test_what_is_no_class_index_is_named(self, labels, message):
        with pytest.raises(InputError, match=message):
            class_indices("SoftmaxCrossEntropy", labels, (2,), 3, 1, None)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([1, 2], r"shape \(2, 1\), got \(2,\). Pass labels.reshape\(\(2, 1\)\)"),
            ([[1, 2, 3]], r"Pass one target per element of the output"),
            ([["a"], ["b"]], r"labels must be numbers"),
        ],
    )
    def test_what_is_no_target_is_named(self, labels, message):
        with pytest.raises(InputError, match=message):
            real_targets("MeanSquaredError", labels, (2, 1))

    def test_outputs_that_cannot_be_judged_are_named(self):
        loss = tk.losses.SoftmaxCrossEntropy(output="y")
        with pytest.raises(ShapeError, match=r"SoftmaxCrossEntropy\(output='y'\) requires a floating-point output"):
            loss.labels(np.dtype(np.int64), (2, 3))
        with pytest.raises(ShapeError, match=r"requires an output \(batch, ..., classes, ...\)"):
            loss.labels(FLOAT, (2,))
        with pytest.raises(ShapeError, match=r"classes on axis 0"):
            tk.losses.NegativeLogLikelihood(axis=0).labels(FLOAT, (2, 3))
        with pytest.raises(ShapeError, match=r"MeanSquaredError requires a floating-point output"):
            tk.losses.MeanSquaredError().labels(np.dtype(bool), (2,))

    def test_real_items_are_counted(self):
        assert tk.losses.SoftmaxCrossEntropy(ignore_index=1).count(np.array([0, 1, 1, 2])) == 2
        assert tk.losses.MeanSquaredError().count(np.array([[1, np.nan], [2, 3]])) == 3
