"""The trainer: steps, epochs, interruption, non-finite losses, partial batches, swapping, checkpoints."""

import os
import signal

import numpy as np
import pytest

import toolkit as tk
from tests.training.small import classifier, clusters, weights
from toolkit import layers
from toolkit.errors import (
    BackendError,
    GraphError,
    InputError,
    NonFiniteLossError,
    NotDifferentiableError,
    TrainingError,
)
from toolkit.training.interruption import Interruption
from toolkit.training.schedules import one_cycle


def trainer_of(network=None, optimizer=None, **options):
    network = classifier() if network is None else network
    optimizer = tk.optimizers.Adam(0.02) if optimizer is None else optimizer
    options = {"loss": tk.losses.SoftmaxCrossEntropy(), "backend": "numpy", **options}
    return tk.Trainer(network, optimizer=optimizer, **options)


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_training_learns_and_returns_predictions(backend):
    trainer, (x, labels) = trainer_of(backend=backend), clusters()
    before = trainer.evaluate((x, labels))
    expected = trainer.network.run(x[:10])["y"]
    loss, outputs = trainer.train_minibatch(x[:10], labels[:10])
    np.testing.assert_allclose(outputs["y"], expected, rtol=1e-4, atol=1e-5)
    assert isinstance(loss, float)
    history = trainer.fit((x, labels), epochs=10, batch_size=32)
    after = trainer.evaluate(clusters(seed=1))
    assert after["accuracy"] > 0.95 > before["accuracy"]
    assert len(history) == 10 and history["loss"][-1] < history["loss"][0]
    assert trainer.epochs == 10 and trainer.steps == 1 + 10 * 5
    assert "Trained 10 epochs" in str(history)


def test_one_array_and_a_dict_are_the_same():
    x, labels = clusters(8)
    results = [trainer_of().train_minibatch(given, labels)[0] for given in (x, {"x": x})]
    assert results[0] == results[1]


def test_partial_batches_weigh_by_their_items():
    trainer, (x, labels) = trainer_of(), clusters(50)
    whole = trainer.evaluate((x, labels), batch_size=50)
    parts = trainer.evaluate((x, labels), batch_size=16)
    assert parts == pytest.approx(whole, rel=1e-5)
    history = trainer.fit((x, labels), batch_size=16, shuffle=False)
    assert history.epochs[0].steps == 4


def test_the_gradient_of_a_partial_batch_is_a_mean_over_its_own_items():
    trainer, (x, labels) = trainer_of(), clusters(8)
    trainer.train_minibatch(x, labels)
    twice = trainer.gradients(np.concatenate([x[:3], x[:3]]), np.concatenate([labels[:3], labels[:3]]))
    for name, grad in trainer.gradients(x[:3], labels[:3]).items():
        np.testing.assert_allclose(grad, twice[name], rtol=1e-4, atol=1e-6)


def test_gradients_update_nothing():
    trainer, (x, labels) = trainer_of(), clusters(8)
    before = weights(trainer.network)
    trainer.gradients(x, labels)
    trainer.evaluate((x, labels))
    assert same(before, weights(trainer.network))


def test_runs_repeat_by_seed():
    def trained(seed):
        trainer = trainer_of(classifier(layers.Dropout(0.2)), seed=seed)
        trainer.fit(clusters(), epochs=2, batch_size=16)
        return weights(trainer.network)

    assert same(trained(1), trained(1))
    assert not same(trained(1), trained(2))


def test_frozen_parameters_stay_and_have_no_gradient():
    trainer, data = trainer_of(), clusters(32)
    trainer.network.select("linear1").freeze()
    before = weights(trainer.network)
    assert list(trainer.gradients(*data)) == ["linear2/weight", "linear2/bias"]
    trainer.fit(data, epochs=2, batch_size=8)
    after = weights(trainer.network)
    assert {name for name in after if not np.array_equal(before[name], after[name])} == {
        "linear2/weight",
        "linear2/bias",
    }


def test_unfreezing_between_steps_keeps_the_state_of_the_others():
    trainer, (x, labels) = trainer_of(), clusters(32)
    frozen = trainer.network.select("linear1").freeze()
    trainer.train_minibatch(x, labels)
    before, state = weights(trainer.network), trainer._session.state()
    frozen.unfreeze()
    trainer.gradients(x, labels)
    trainer.train_minibatch(x, labels)
    assert not np.array_equal(before["linear1/weight"], trainer.network.parameters["linear1/weight"].array)
    moment = trainer._session.state()["first_moment/linear2/bias"]
    grad_part = moment - 0.9 * state["first_moment/linear2/bias"]
    assert np.abs(grad_part).max() < np.abs(moment).max() * 10
    assert not np.allclose(moment, grad_part)


def test_nothing_to_train_is_named():
    trainer = trainer_of()
    trainer.network.select("*").freeze()
    with pytest.raises(NotDifferentiableError, match="Nothing to train"):
        trainer.train_minibatch(*clusters(4))


def test_a_run_that_only_makes_it_worse_ends_as_it_began():
    x, labels = clusters(60)
    trainer = trainer_of(optimizer=tk.optimizers.Adam(0.05))
    wrong = (x, (labels + 1) % 3)  # the better the training, the worse here
    before = trainer.evaluate(wrong)
    history = trainer.fit((x, labels), epochs=4, validation=wrong, batch_size=16, monitor="loss")
    assert history.best_epoch == 0
    assert "as they are" in history.message
    assert trainer.evaluate(wrong) == pytest.approx(before, rel=1e-5)
    assert history["validation loss"][3] > before["loss"]


def test_validation_decides_which_epoch_is_kept():
    data = clusters(60)
    trainer = trainer_of(optimizer=tk.optimizers.SGD(0.05))
    history = trainer.fit(data, epochs=3, validation=data, batch_size=16, monitor="loss")
    best = int(np.argmin(history["validation loss"]))
    assert history.best_epoch == best + 1
    assert trainer.evaluate(data)["loss"] == pytest.approx(history["validation loss"][best], rel=1e-5)


def test_without_keep_best_the_last_epoch_stays():
    x, labels = clusters(60)
    trainer = trainer_of(optimizer=tk.optimizers.Adam(0.05))
    wrong = (x, (labels + 1) % 3)
    history = trainer.fit((x, labels), epochs=3, validation=wrong, batch_size=16, keep_best=False)
    assert history.best_epoch == 3
    assert trainer.evaluate(wrong)["loss"] == pytest.approx(history["validation loss"][2], rel=1e-5)


def test_accuracy_can_be_monitored_and_unknown_figures_are_named():
    data = clusters(40)
    trainer = trainer_of()
    history = trainer.fit(data, epochs=2, validation=data)
    assert trainer.evaluate(data)["accuracy"] >= max(history["validation accuracy"])
    with pytest.raises(TrainingError, match=r"monitor must be one of the figures \['loss', 'accuracy'\], got 'f1'"):
        trainer_of().fit(data, monitor="f1")


def test_metrics_of_ones_own():
    def first_class(output, labels):
        return float((labels == 0).sum()), len(labels)

    x, labels = clusters(50)
    figures = trainer_of().evaluate((x, labels), batch_size=16, metrics={"zeros": first_class})
    assert figures["zeros"] == pytest.approx((labels == 0).mean())
    assert list(figures) == ["loss", "zeros"]


def test_a_schedule_moves_the_rate_and_gives_it_back():
    rates = []
    optimizer = tk.optimizers.SGD(0.1)
    spy = optimizer.scalars
    optimizer.scalars = lambda *given: rates.append(optimizer.learning_rate) or spy(*given)
    trainer_of(optimizer=optimizer).fit(clusters(50), epochs=2, batch_size=10, schedule=one_cycle(0.5))
    rates = rates[-10:]  # compiling asks for the scalars too
    assert rates == pytest.approx([0.01, 0.03, 0.05, 0.07, 0.09, 0.09, 0.07, 0.05, 0.03, 0.01])
    assert optimizer.learning_rate == 0.1


def test_what_a_schedule_needs_is_named():
    with pytest.raises(InputError, match="A schedule requires data of known length"):
        trainer_of().fit([clusters(10)], schedule=one_cycle())
    with pytest.raises(TrainingError, match=r"warm_up requires a share between 0 and 1, got 1"):
        one_cycle(1)


class TestInterruption:
    def batches(self, at, x, labels):
        for step in range(1, 8):
            if step == at:
                os.kill(os.getpid(), signal.SIGINT)
            yield x, labels

    @pytest.fixture(autouse=True)
    def default_handler(self):
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, previous)

    def test_ctrl_c_ends_after_the_step_under_way(self):
        trainer = trainer_of()
        history = trainer.fit(self.batches(3, *clusters(20)), epochs=5)
        assert history.interrupted and history.stopped_at == (1, 3) and trainer.steps == 3
        assert not history.epochs[0].complete
        assert history.message == "Interrupted in epoch 1 after step 3: kept the weights of epoch 1."
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_ctrl_c_keeps_the_best_weights(self):
        batches = self.batches

        class Data:
            epochs = 0

            def __iter__(self):
                self.epochs += 1
                yield from batches(2 if self.epochs == 3 else 0, *clusters(30))

        held_out = clusters(30)
        trainer = trainer_of()
        history = trainer.fit(Data(), epochs=9, validation=held_out, monitor="loss")
        assert history.interrupted and history.stopped_at == (3, 2)
        assert history.best_epoch == 2 and len(history) == 3
        assert trainer.evaluate(held_out)["loss"] == pytest.approx(history["validation loss"][1], rel=1e-5)

    def test_an_interruption_from_the_data_is_one_too(self):
        def data():
            yield clusters(10)
            raise KeyboardInterrupt

        history = trainer_of().fit(data(), epochs=2)
        assert history.interrupted and history.stopped_at == (1, 1)

    def test_a_second_ctrl_c_interrupts_at_once(self):
        with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            assert interruption.requested
            os.kill(os.getpid(), signal.SIGINT)


class TestNonFiniteLoss:
    def test_it_names_step_and_layer_and_updates_nothing(self):
        trainer, (x, labels) = trainer_of(), clusters(8)
        trainer.train_minibatch(x, labels)
        before, state = weights(trainer.network), trainer._session.state()
        poisoned = x.copy()
        poisoned[3, 2] = np.nan
        with pytest.raises(NonFiniteLossError, match=r"Step 2 \(epoch 1\): .*'linear1/Gemm'"):
            trainer.train_minibatch(poisoned, labels)
        assert same(before, weights(trainer.network)) and same(state, trainer._session.state())
        assert trainer.steps == 1
        trainer.train_minibatch(x, labels)
        assert all(np.isfinite(array).all() for array in weights(trainer.network).values())

    def test_labels_are_checked_however_alike_the_batches_are(self):
        trainer, (x, labels) = trainer_of(), clusters(8)
        for _ in range(2):
            trainer.train_minibatch(x, labels)
            for wrong in (-1, 1000):
                with pytest.raises(InputError, match=f"labels must lie in .* got {wrong} at item 2"):
                    trainer.train_minibatch(x, np.where(np.arange(8) == 2, wrong, labels))
        with pytest.raises(InputError, match="8 items and 7 labels"):
            trainer.train_minibatch(x, labels[:7])
        assert trainer.steps == 2

    def test_it_ends_a_fit(self):
        x, labels = clusters(40)
        x[35] = np.inf
        trainer = trainer_of()
        with pytest.raises(NonFiniteLossError, match=r"Step 5 \(epoch 1\)"):
            trainer.fit((x, labels), batch_size=8, shuffle=False)
        assert trainer.steps == 4
        assert all(np.isfinite(array).all() for array in weights(trainer.network).values())


class TestSwap:
    def test_a_network_of_the_same_interface_goes_on(self):
        trainer, (x, labels) = trainer_of(), clusters(40)
        trainer.fit((x, labels), epochs=2)
        first, before = trainer.network, weights(trainer.network)
        wider = [layers.Linear(40), layers.ReLU(), layers.Linear(3)]
        trainer.network = layers.Sequential(wider).network((6,), input_name="x", output_name="y")
        trainer.fit((x, labels), epochs=5)
        assert trainer.evaluate((x, labels))["accuracy"] > 0.9
        assert same(before, weights(first))

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (classifier(classes=4), r"needs the outputs 'y' float32 \(batch, 3\), got 'y' float32 \(batch, 4\)"),
            (classifier(features=5), r"needs the inputs 'x' float32 \(batch, 6\)"),
            (layers.Sequential([layers.Linear(3)]).network((6,), input_name="z"), r"got 'z' float32"),
        ],
    )
    def test_another_interface_is_refused(self, other, message):
        trainer = trainer_of()
        mine = trainer.network
        with pytest.raises(GraphError, match=message):
            trainer.network = other
        assert trainer.network is mine

    def test_something_else_is_refused(self):
        with pytest.raises(InputError, match="A trainer takes a Network, got str"):
            trainer_of().network = "model.onnx"


class TestCheckpoint:
    def test_a_resumed_run_is_the_unbroken_one(self, tmp_path):
        data, path = clusters(60), tmp_path / "run.checkpoint"
        unbroken = trainer_of(classifier(layers.Dropout(0.3)), seed=3)
        unbroken.fit(data, epochs=4, batch_size=16, keep_best=False)
        first = trainer_of(classifier(layers.Dropout(0.3)), seed=3)
        first.fit(data, epochs=2, batch_size=16, keep_best=False, checkpoint=path)
        second = trainer_of(classifier(layers.Dropout(0.3), seed=8), seed=7)
        second.load_checkpoint(path)
        assert (second.steps, second.epochs, second.seed) == (8, 2, 3)
        second.fit(data, epochs=2, batch_size=16, keep_best=False)
        assert same(weights(unbroken.network), weights(second.network))

    def test_another_network_is_refused(self, tmp_path):
        trainer_of().save_checkpoint(tmp_path / "small")
        other = trainer_of(classifier(classes=4))
        before = weights(other.network)
        with pytest.raises(TrainingError, match=r"belongs to another network: 2 parameters differ.*'linear2/weight'"):
            other.load_checkpoint(tmp_path / "small")
        assert same(before, weights(other.network))


def test_a_class_in_place_of_a_loss_is_named():
    with pytest.raises(TrainingError, match=r"Trainer requires a loss of tk\.losses"):
        tk.Trainer(classifier(), loss=tk.losses.MeanSquaredError, optimizer=tk.optimizers.SGD(0.1))
    with pytest.raises(TrainingError, match=r"got 0\.1"):
        tk.Trainer(classifier(), loss=tk.losses.MeanSquaredError(), optimizer=0.1)


@pytest.mark.parametrize(
    ("backend", "loss_backend", "expected"),
    [("cpu", None, "cpu"), ("cpu", "numpy", "numpy"), ("numpy", None, "numpy"), ("numpy", ["cpu", "numpy"], "cpu")],
)
def test_the_loss_may_live_on_another_backend(backend, loss_backend, expected):
    x, target = clusters(8)[0], np.zeros((8, 3))
    trainers = [
        trainer_of(loss=tk.losses.MeanSquaredError(), backend=backend, loss_backend=loss_backend),
        trainer_of(loss=tk.losses.MeanSquaredError()),
    ]
    losses = [[trainer.train_minibatch(x, target)[0] for _ in range(3)] for trainer in trainers]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    steps = trainers[0]._session.explain().steps
    assert {step.backend for step in steps if (step.role, step.operator) == ("loss", "Sub")} == {expected}
    assert {step.backend for step in steps if step.role == "forward"} == {backend}


def test_a_precision_that_no_backend_offers_is_refused():
    with pytest.raises(BackendError, match=r"precision must be one of .*, got 'float8'"):
        trainer_of(precision="float8")


def test_batch_statistics_are_learnt_in_training_form():
    network = layers.Sequential([layers.Linear(8), layers.BatchNormalization(momentum=0.5), layers.Linear(3)]).network(
        (6,)
    )
    before = weights(network)
    trainer_of(network).fit(clusters(60), epochs=3)
    after = weights(network)
    for name in ("running_mean", "running_var", "scale"):
        assert not np.allclose(before[f"batch_normalization1/{name}"], after[f"batch_normalization1/{name}"])
