"""Losses: value and gradient are PyTorch's, labels are checked and converted, missing items do not count."""

import warnings

import numpy as np
import pytest

import toolkit as tk
from tests.training.small import classifier
from toolkit import layers
from toolkit.errors import GraphError, InputError, ShapeError
from toolkit.training.labels import class_indices, real_targets

torch = pytest.importorskip("torch", reason="PyTorch is the judge of this file and is not installed")

FLOAT = np.dtype(np.float32)
BACKENDS = ["numpy", "cpu"]


def judged(network, loss, x, labels, backend):
    """The loss and the gradients of all parameters, by the toolkit."""
    trainer = tk.Trainer(network, loss=loss, optimizer=tk.optimizers.SGD(0.1), backend=backend)
    return trainer.evaluate((x, labels), batch_size=len(x))["loss"], trainer.gradients(x, labels)


def by_torch(network, x, last):
    """The same for ``classifier``; ``last`` turns its logits into the loss."""
    tensors = {name: torch.tensor(item.array, requires_grad=True) for name, item in network.parameters.items()}
    w1, b1, w2, b2 = tensors.values()
    loss = last(torch.tanh(torch.tensor(x) @ w1.T + b1) @ w2.T + b2)
    loss.backward()
    return loss.item(), {name: item.grad.numpy() for name, item in tensors.items()}


def assert_agree(network, loss, x, labels, last, backend):
    value, grads = judged(network, loss, x, labels, backend)
    expected, expected_grads = by_torch(network, x, last)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert list(grads) == list(expected_grads)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected_grads[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    return random.standard_normal((7, 6)).astype(np.float32), random.integers(0, 3, 7)


@pytest.mark.parametrize("backend", BACKENDS)
class TestValuesAndGradients:
    def test_softmax_cross_entropy(self, batch, backend):
        x, labels = batch
        last = lambda y: torch.nn.functional.cross_entropy(y, torch.tensor(labels))  # noqa: E731
        assert_agree(classifier(), tk.losses.SoftmaxCrossEntropy(), x, labels, last, backend)

    def test_softmax_cross_entropy_of_probabilities(self, batch, backend):
        x, labels = batch
        loss = tk.losses.SoftmaxCrossEntropy(probabilities=True)
        last = lambda y: torch.nn.functional.cross_entropy(y, torch.tensor(labels))  # noqa: E731
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_agree(classifier(layers.Softmax()), loss, x, labels, last, backend)

    def test_probabilities_that_no_softmax_makes(self, batch, backend):
        x, labels = batch
        loss = tk.losses.SoftmaxCrossEntropy(probabilities=True)
        last = lambda y: -torch.sigmoid(y).log()[torch.arange(7), torch.tensor(labels)].mean()  # noqa: E731
        assert_agree(classifier(layers.Sigmoid()), loss, x, labels, last, backend)

    def test_a_softmax_judged_as_logits_is_judged_literally_and_warned_of(self, batch, backend):
        x, labels = batch
        last = lambda y: torch.nn.functional.cross_entropy(y.softmax(1), torch.tensor(labels))  # noqa: E731
        with pytest.warns(UserWarning, match=r"Say SoftmaxCrossEntropy\(probabilities=True\)") as caught:
            assert_agree(classifier(layers.Softmax()), tk.losses.SoftmaxCrossEntropy(), x, labels, last, backend)
        assert len(caught) == 1

    def test_negative_log_likelihood(self, batch, backend):
        x, labels = batch
        last = lambda y: torch.nn.functional.cross_entropy(y, torch.tensor(labels))  # noqa: E731
        assert_agree(classifier(layers.LogSoftmax()), tk.losses.NegativeLogLikelihood(), x, labels, last, backend)

    def test_negative_log_likelihood_is_literal_where_nothing_is_normalised(self, batch, backend):
        x, labels = batch
        last = lambda y: torch.nn.functional.nll_loss(y, torch.tensor(labels))  # noqa: E731
        assert_agree(classifier(), tk.losses.NegativeLogLikelihood(), x, labels, last, backend)

    def test_mean_squared_error(self, batch, backend):
        x, _ = batch
        target = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32)
        last = lambda y: torch.nn.functional.mse_loss(y, torch.tensor(target))  # noqa: E731
        assert_agree(classifier(), tk.losses.MeanSquaredError(), x, target, last, backend)

    def test_a_missing_target_counts_neither_in_sum_nor_number(self, batch, backend):
        x, _ = batch
        target = np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32)
        target[0] = target[3, 1] = np.nan
        real = torch.tensor(~np.isnan(target))
        last = lambda y: ((y - torch.tensor(target))[real] ** 2).mean()  # noqa: E731
        assert_agree(classifier(), tk.losses.MeanSquaredError(), x, target, last, backend)

    def test_an_ignored_class_counts_neither_in_sum_nor_number(self, batch, backend):
        x, labels = batch
        labels[2:4] = -100
        last = lambda y: torch.nn.functional.cross_entropy(y, torch.tensor(labels))  # noqa: E731
        assert_agree(classifier(), tk.losses.SoftmaxCrossEntropy(ignore_index=-100), x, labels, last, backend)

    def test_a_batch_without_real_items_costs_nothing(self, batch, backend):
        x, _ = batch
        for loss, missing in (
            (tk.losses.SoftmaxCrossEntropy(ignore_index=-1), np.full(7, -1)),
            (tk.losses.MeanSquaredError(), np.full((7, 3), np.nan)),
        ):
            trainer = tk.Trainer(classifier(), loss=loss, optimizer=tk.optimizers.SGD(0.1), backend=backend)
            value, _ = trainer.train_minibatch(x, missing)
            assert value == 0
            assert all((grad == 0).all() for grad in trainer.gradients(x, missing).values())

    @pytest.mark.parametrize("axis", [1, 2, -1])
    def test_classes_on_another_axis(self, backend, axis):
        network = layers.Sequential([layers.Linear(4), layers.Reshape((4, 5))]).network((5, 6))
        random = np.random.default_rng(0)
        x = random.standard_normal((3, 5, 6)).astype(np.float32)
        classes = (3, 4, 5)[axis]
        labels = random.integers(0, classes, (3, 20 // classes))
        value, _ = judged(network, tk.losses.SoftmaxCrossEntropy(axis=axis), x, labels, backend)
        scores = torch.tensor(network.run(x)["output"]).movedim(axis, 1)
        assert value == pytest.approx(torch.nn.functional.cross_entropy(scores, torch.tensor(labels)).item(), rel=1e-5)


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
    assert trainer.judged_output == "hidden"
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
