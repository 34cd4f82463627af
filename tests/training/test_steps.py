"""What a step may do beside moving weights: gather batches, scale the loss, average; and the formulas of schedules."""

import math

import numpy as np
import pytest

import toolkit as tk
from tests.training.small import classifier, clusters
from toolkit.errors import InputError, NonFiniteLossError, TrainingError
from toolkit.training import schedules
from toolkit.training.loss_scale import DynamicLossScale
from toolkit.training.schedules import Progress


def trainer_of(optimizer=None, **options):
    options = {"backend": "cpu", "loss": tk.losses.SoftmaxCrossEntropy(), **options}
    return tk.Trainer(classifier(), optimizer=optimizer or tk.optimizers.SGD(0.1, 0.9), **options)


def weights(trainer):
    return [item.array.copy() for item in trainer.network.parameters.values()]


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_batches_that_accumulate_equal_one_large_batch(backend):
    x, labels = clusters(50)
    labels[40:47] = -1  # a batch of few real items
    loss = tk.losses.SoftmaxCrossEntropy(ignore_index=-1)
    large, small = (trainer_of(backend=backend, loss=loss, **given) for given in ({}, {"accumulate": 3}))
    for _ in range(3):
        large.train_minibatch(x, labels)
        for at in (slice(0, 20), slice(20, 40), slice(40, 50)):
            small.train_minibatch(x[at], labels[at])
    assert small.steps == large.steps == 3
    for one, other in zip(weights(large), weights(small), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_what_is_left_of_an_epoch_is_updated_by():
    trainer = trainer_of(accumulate=4)
    trainer.fit(clusters(50), epochs=2, batch_size=10, progress=False)
    assert trainer.steps == 4


def test_a_scaled_loss_moves_nothing_otherwise():
    plain, scaled = trainer_of(), trainer_of(loss_scale=DynamicLossScale(1024.0, interval=3))
    x, labels = clusters(20)
    for _ in range(4):
        assert plain.train_minibatch(x, labels)[0] == pytest.approx(scaled.train_minibatch(x, labels)[0], rel=1e-5)
    assert scaled.loss_scale.value == 2048
    for one, other in zip(weights(plain), weights(scaled), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    grads = zip(plain.gradients(x, labels).values(), scaled.gradients(x, labels).values(), strict=True)
    for one, other in grads:
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_a_step_that_overflows_is_skipped_and_halves_the_scale():
    trainer = trainer_of(loss_scale=DynamicLossScale(3e38, backoff=1e-30))
    x, labels = clusters(20)
    before = weights(trainer)
    trainer.train_minibatch(x * 1e3, labels)
    assert (trainer.steps, trainer.loss_scale.skipped) == (0, 1)
    assert all(np.array_equal(one, other) for one, other in zip(before, weights(trainer), strict=True))
    trainer.train_minibatch(x, labels)
    assert trainer.steps == 1


def test_a_scale_of_one_leaves_overflow_to_the_guard():
    x, labels = clusters(20)
    with pytest.raises(NonFiniteLossError, match="Nothing was updated"):
        trainer_of(loss_scale=DynamicLossScale(1.0)).train_minibatch(np.full_like(x, np.nan), labels)


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("kind", ["exponential", "stochastic"])
def test_averaged_weights_are_swapped_in_and_out(kind, backend):
    exponential = kind == "exponential"
    average = tk.optimizers.ExponentialAverage(0.8) if exponential else tk.optimizers.StochasticAverage(3, 2)
    trainer = trainer_of(tk.optimizers.chain(tk.optimizers.Adam(0.05), average), backend=backend)
    twin, expected, count = trainer_of(tk.optimizers.Adam(0.05), backend=backend), None, 0
    x, labels = clusters(20)
    for step in range(1, 9):
        for one in (trainer, twin):
            one.train_minibatch(x, labels)
        now = [item.astype(np.float64) for item in weights(twin)]
        due = 0.2 if exponential and step > 1 else 1.0
        if not exponential and step >= 3:
            count += step % 2
            due = step % 2 / count
        expected = [a + (w - a) * due for a, w in zip(expected or now, now, strict=True)]
    with trainer.averaged():
        for one, other in zip(weights(trainer), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        trainer.evaluate((x, labels))
    for one in (trainer, twin):
        one.train_minibatch(x, labels)
    assert all(np.array_equal(one, other) for one, other in zip(weights(trainer), weights(twin), strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: trainer_of().averaged().__enter__(),
            r"There are no averaged weights: chain tk.optimizers.Exponential",
        ),
        (lambda: trainer_of(accumulate=0), r"accumulate requires a count of batches from 1, got 0"),
        (lambda: DynamicLossScale(0.5), r"requires an initial scale of 1 or more, .* got 0.5"),
        (lambda: schedules.step(0), r"step: size requires more than 0, got 0"),
        (lambda: schedules.exp(0.9, per="year"), r"exp: per requires 'step' or 'epoch', got 'year'"),
        (lambda: schedules.one_cycle(shape="round"), r"one_cycle: shape requires 'linear' or 'cosine', got 'round'"),
        (lambda: schedules.ReduceOnPlateau(1.5), r"factor requires a number between 0 and 1, got 1.5"),
        (lambda: schedules.ReduceOnPlateau(mode="best"), r"mode requires 'min' or 'max', got 'best'"),
        (lambda: schedules.ReduceOnPlateau(monitor="f1").after_epoch({"loss": 1.0}), r"'f1' is not among \['loss'\]"),
    ],
)
def test_what_makes_no_sense_is_named(call, message):
    with pytest.raises(TrainingError, match=message):
        call()


# schedules: a row is what is tested, its formula, and PyTorch's scheduler with its settings where it has one
SCHEDULES = {
    "fixed": (schedules.fixed(), lambda t: 1.0, None),
    "step": (schedules.step(7, 0.5), lambda t: 0.5 ** (t // 7), ("StepLR", {"step_size": 7, "gamma": 0.5})),
    "multistep": (
        schedules.multistep([5, 20], 0.1),
        lambda t: 0.1 ** ((t >= 5) + (t >= 20)),
        ("MultiStepLR", {"milestones": [5, 20], "gamma": 0.1}),
    ),
    "exp": (schedules.exp(0.9), lambda t: 0.9**t, ("ExponentialLR", {"gamma": 0.9})),
    "inv": (schedules.inv(0.1, 0.75), lambda t: (1 + 0.1 * t) ** -0.75, None),
    "poly": (schedules.poly(2.0), lambda t: (1 - t / 50) ** 2, ("PolynomialLR", {"total_iters": 50, "power": 2.0})),
    "sigmoid": (schedules.sigmoid(-0.2, 20), lambda t: 1 / (1 + math.exp(0.2 * (t - 20))), None),
    "cosine": (
        schedules.cosine(end=0.1),
        lambda t: 0.1 + 0.9 * (1 + math.cos(math.pi * t / 50)) / 2,
        ("CosineAnnealingLR", {"T_max": 50, "eta_min": 0.1}),
    ),
    "restarts": (
        schedules.cosine(10, 2.0),
        lambda t: (1 + math.cos(math.pi * (t / 10 if t < 10 else (t - 10) / 20 if t < 30 else (t - 30) / 40))) / 2,
        ("CosineAnnealingWarmRestarts", {"T_0": 10, "T_mult": 2}),
    ),
    "warm-up": (
        schedules.warm_up(10, schedules.exp(0.9)),
        lambda t: (t + 1) / 10 if t < 10 else 0.9 ** (t - 10),
        None,
    ),
    "one cycle": (
        schedules.one_cycle(0.3, shape="cosine", start=0.04, end=0.0),
        lambda t: (
            0.04 + 0.96 * (1 - math.cos(math.pi * (t + 0.5) / 15)) / 2
            if t < 15
            else (1 + math.cos(math.pi * (t + 0.5 - 15) / 35)) / 2
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_its_formula(name):
    schedule, formula, _ = SCHEDULES[name]
    for step in range(50):
        assert schedule(Progress(step, 0, 50, 1)) == pytest.approx(formula(step), rel=1e-12, abs=1e-12), step


@pytest.mark.parametrize("name", [name for name, row in SCHEDULES.items() if row[2]])
def test_a_schedule_is_pytorchs(name):
    torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs the extra torch")
    schedule, _, (kind, settings) = SCHEDULES[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = getattr(torch.optim.lr_scheduler, kind)(optimizer, **settings)
    for step in range(50):
        assert schedule(Progress(step, 0, 50, 1)) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-9), step
        optimizer.step()
        theirs.step()


def test_epochs_may_count_and_length_must_be_known():
    assert schedules.step(2, 0.5, per="epoch")(Progress(1000, 4)) == 0.25
    with pytest.raises(InputError, match="A schedule requires data of known length"):
        schedules.poly()(Progress(3))


def test_a_plateau_reduces_the_rate():
    plateau, rates = schedules.ReduceOnPlateau(0.5, patience=1, cooldown=1), []
    for loss in (1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5):
        plateau.after_epoch({"loss": loss})
        rates.append(plateau(Progress(0)))
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
