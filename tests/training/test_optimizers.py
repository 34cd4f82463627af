"""Optimizers move parameters as their rules and PyTorch's say, and refuse what makes no sense."""

import json
from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.support.interpret import interpret
from tests.support.models import network
from tests.support.update_rules import RULES, preview
from tests.training.optimizer_table import OPTIMIZERS, UNKNOWN_TO_TORCH
from tests.training.record_optimizers import FILE, STEPS, WATCHED, data, gradients, record, start
from tests.training.small import classifier, clusters
from toolkit.compiler.program import Program
from toolkit.errors import TrainingError
from toolkit.operators.expression import emit
from toolkit.operators.standard.preview_training import adagrad, adam, momentum

BACKENDS = ["numpy", "cpu"]
RECORDED = json.loads(FILE.read_text())["rows"]
PREVIEW = {  # ours, then the operator of ai.onnx.preview.training with its rate, its accumulators and attributes
    "adagrad": (
        tk.optimizers.OnnxAdagrad(0.05, 0.1, 1e-3, 0.01),
        (adagrad, 0.05, 1),
        {"decay_factor": 0.1, "epsilon": 1e-3, "norm_coefficient": 0.01},
    ),
    "adam": (
        tk.optimizers.OnnxAdam(0.01, 0.8, 0.95, 1e-4, 0.01, 0.001),
        (adam, 0.01, 2),
        {"alpha": 0.8, "beta": 0.95, "epsilon": 1e-4, "norm_coefficient": 0.01, "norm_coefficient_post": 0.001},
    ),
    **{
        mode: (
            tk.optimizers.OnnxMomentum(0.05, 0.9, 0.5, mode, 0.01),
            (momentum, 0.05, 1),
            {"alpha": 0.9, "beta": 0.5, "mode": mode, "norm_coefficient": 0.01},
        )
        for mode in ("standard", "nesterov")
    },
}


def trainer_of(optimizer, backend, **options):
    """A linear layer under squares, at the start of the recorded trajectories."""
    net = network(
        """net (float[N, 4] x) => (float[N, 3] y) {
            product = MatMul (x, w)
            y = Add (product, b)
        }""",
        w=(4, 3),
        b=(3,),
    )
    for item, array in zip(net.parameters.values(), start(), strict=True):
        item.assign(array.astype(np.float32))
    return tk.Trainer(net, loss=tk.losses.MeanSquaredError(), optimizer=optimizer, backend=backend, **options)


def trajectory(optimizer, backend, steps=STEPS, **options):
    """The parameters after the steps that are watched."""
    trainer, found = trainer_of(optimizer, backend, **options), {}
    for step in range(1, steps + 1):
        trainer.train_minibatch(*data(step))
        if step in WATCHED:
            found[step] = [item.array.copy() for item in trainer.network.parameters.values()]
    return found


def by_rule(rule, steps=STEPS):
    parameters, slots, found = start(), [dict[str, Any]() for _ in start()], {}
    for step in range(1, steps + 1):
        grads = gradients(parameters, step)
        parameters = [rule(p, g, kept, step) for p, g, kept in zip(parameters, grads, slots, strict=True)]
        if step in WATCHED:
            found[step] = parameters
    return found


def assert_same(found, expected, tolerance=2e-4):
    for step, arrays in found.items():
        for ours, theirs in zip(arrays, expected[step], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance / 2, err_msg=f"step {step}")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps_are_those_of_pytorch_and_of_the_formula(name, backend):
    make, kind, settings = OPTIMIZERS[name]
    found = trajectory(make(), backend)
    assert_same(found, by_rule(RULES[kind](**settings)))
    if kind not in UNKNOWN_TO_TORCH:
        assert_same(found, {int(step): arrays for step, arrays in RECORDED[name].items()})


def test_what_is_recorded_is_what_pytorch_does():
    pytest.importorskip("torch", reason="recording anew needs the extra torch")
    for name, found in record()["rows"].items():
        for step, arrays in found.items():
            for now, then in zip(arrays, RECORDED[name][step], strict=True):
                np.testing.assert_allclose(now, then, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PREVIEW)
def test_onnx_optimizers_are_its_operators(name, backend):
    optimizer, given, attributes = PREVIEW[name]
    assert_same(trajectory(optimizer, backend), by_rule(preview(*given, **attributes)))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_reruns_are_bit_identical(name):
    first, second = (trajectory(OPTIMIZERS[name][0](), "cpu", steps=10)[10] for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_elementwise_optimizers_are_one_compiled_kernel(name):
    trainer = trainer_of(OPTIMIZERS[name][0](), "cpu")
    trainer.train_minibatch(*data(1))
    steps = [row for row in trainer._session.explain().steps if "ElementwiseUpdate" in row.operator]
    assert {row.backend for row in steps} == {"native"}
    whole = all(item.is_elementwise for item in trainer.optimizer.transforms)
    assert len(steps) == 1 if whole else len(steps) >= 1


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
        (lambda: tk.optimizers.Adam(betas=0.9), r"Adam: betas requires two numbers in \[0, 1\), got 0.9"),
        (lambda: tk.optimizers.NAdam(momentum_decay=-1), r"NAdam: momentum_decay requires 0 or more"),
        (lambda: tk.optimizers.RMSprop(decay=1.0), r"RMSprop: decay requires a number in \[0, 1\), got 1.0"),
        (lambda: tk.optimizers.Adadelta(epsilon=0), r"Adadelta: epsilon requires more than 0, got 0"),
        (lambda: tk.optimizers.Adagrad(rate_decay=-1), r"Adagrad: rate_decay requires 0 or more"),
        (lambda: tk.optimizers.Adafactor(decay=0.8), r"Adafactor: decay requires a power of 0 or less, got 0.8"),
        (lambda: tk.optimizers.Adafactor(epsilon=1e-3), r"Adafactor: epsilon requires two numbers, got 0.001"),
        (lambda: tk.optimizers.OnnxMomentum(0.1, mode="heavy"), r"mode requires 'standard' or 'nesterov', got 'heavy'"),
        (lambda: tk.optimizers.ClipByGlobalNorm(0), r"ClipByGlobalNorm: limit requires more than 0"),
        (
            lambda: tk.optimizers.StochasticAverage(0),
            r"StochasticAverage: start requires a count of steps from 1, got 0",
        ),
        (lambda: tk.optimizers.Optimizer(0.1, "momentum"), r"requires transforms of tk.optimizers, got 'momentum'"),
        (
            lambda: tk.optimizers.Optimizer(0.1, tk.optimizers.Momentum(0.9), tk.optimizers.SignOfMomentum()),
            r"two transforms keep a slot 'momentum'",
        ),
        (
            lambda: tk.optimizers.Optimizer(0.1, tk.optimizers.Descend(), tk.optimizers.Descend()),
            r"moved once in a step, but 2 transforms do \(Descend, Descend\)",
        ),
        (lambda: tk.optimizers.chain(tk.optimizers.Momentum(0.9)), r"exactly one optimizer, got 0 optimizers"),
        (lambda: tk.optimizers.chain(tk.optimizers.Adam(), 1.0), r"exactly one optimizer, got 1.0"),
    ],
)
def test_what_makes_no_sense_is_named(make, message):
    with pytest.raises(TrainingError, match=message):
        make()


@pytest.mark.parametrize("name", [*OPTIMIZERS, *PREVIEW])
def test_a_graph_computes_the_same_numbers(name):
    optimizer = OPTIMIZERS[name][0]() if name in OPTIMIZERS else PREVIEW[name][0]
    assert_graph_agrees(optimizer, (1, 2, 7, 1000))


def test_a_graph_computes_the_weights_of_averages():
    exponential, stochastic = tk.optimizers.ExponentialAverage, tk.optimizers.StochasticAverage
    for average in (exponential(0.9), exponential(0.99, warm_up=True), stochastic(3, 2)):
        assert_graph_agrees(tk.optimizers.chain(tk.optimizers.SGD(0.1), average), range(1, 12))


def assert_graph_agrees(optimizer, steps):
    program = Program()
    rate = program.constant(np.asarray(np.float32(optimizer.learning_rate), np.float64)) * 0.5
    for step in steps:
        moment = tk.optimizers.Moment(rate, program.constant(np.asarray(float(step))), 0.25)
        numbers = optimizer.numbers(moment)
        wanted = [item.variable for item in numbers if not isinstance(item, (int, float))]
        found = iter(interpret(program, {}, wanted))
        made = [item if isinstance(item, (int, float)) else next(found) for item in numbers]
        np.testing.assert_allclose(np.asarray(made, np.float32), optimizer.scalars(step, 0.5, 0.25), rtol=1e-6)


# parts of one's own ---------------------------------------------------------------------------------------------------


class Halves(tk.optimizers.Transform):
    """Half the update plus half of the last one; written as a user would."""

    slots = ("last",)

    def __init__(self, share=0.5):
        self.share = share

    def numbers(self, now):
        return (self.share,)

    def update(self, part):
        mixed = part.update * part.numbers[0] + part.slot("last") * (1.0 - part.numbers[0])
        part.keep("last", part.update)
        return mixed


class Centred(tk.optimizers.Transform):
    """Gradients without their mean over each column."""

    is_elementwise = False

    def update(self, part):
        axes = part.update.emitter.constant(np.asarray([0]))
        return part.update - emit("ReduceMean", part.update, axes, keepdims=1)


def halves(p, g, slots, number):
    last, slots["last"] = slots.get("last", 0.0), g
    return p - 0.1 * (0.5 * g + 0.5 * last)


def centred(p, g, slots, number):
    return p - 0.1 * (g - g.mean(0, keepdims=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("transform", "rule"), [(Halves(), halves), (Centred(), centred)])
def test_a_transform_of_ones_own(transform, rule, backend):
    assert_same(trajectory(tk.optimizers.Optimizer(0.1, transform), backend, steps=10), by_rule(rule, steps=10))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_onednn_has_no_sweep_for_is_left_to_numpy(backend):
    class Cubed(tk.optimizers.Transform):
        def update(self, part):
            return emit("Where", emit("Greater", part.update, 0.0), emit("Pow", part.update, 3.0), part.update)

    found = trajectory(tk.optimizers.Optimizer(0.1, Cubed()), backend, steps=10)
    assert_same(found, by_rule(lambda p, g, slots, number: p - 0.1 * np.where(g > 0, g**3, g), steps=10))


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (
            lambda part: emit("Softmax", part.update),
            r"Wrong: Softmax is not an elementwise operation .* is_elementwise",
        ),
        (lambda part: part.update * np.zeros(3, np.float32), r"may use numbers, got a constant of shape \(3,\)"),
        (lambda part: part.slot("past"), r"asks for the slot 'past', but declares \[\]"),
    ],
)
def test_what_an_elementwise_transform_cannot_be_is_named(update, message):
    wrong = type("Wrong", (tk.optimizers.Transform,), {"update": lambda self, part: update(part)})
    with pytest.raises(TrainingError, match=message):
        trajectory(tk.optimizers.Optimizer(0.1, wrong()), "numpy", steps=1)


# selections, clipping -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: tk.optimizers.SGD(0.1, weight_decay=0.5), lambda: tk.optimizers.AdamW(0.1)])
def test_decay_may_be_left_off_a_selection(make):
    def moved(multiplier):
        trainer = trainer_of(make(), "cpu")
        trainer.network.select("b").weight_decay(multiplier)
        trainer.train_minibatch(*data(1))
        return [item.array for item in trainer.network.parameters.values()]

    plain = trajectory(type(make())(0.1, weight_decay=0.0), "cpu", steps=1)[1]
    (w, b), (decayed_w, decayed_b) = moved(0.0), moved(1.0)
    np.testing.assert_array_equal(w, decayed_w)
    np.testing.assert_allclose(b, plain[1], rtol=1e-6)
    assert np.abs(b - decayed_b).max() > 1e-5


def clipped(rule, limit, norm):
    """Fifty steps of a rule on clipped gradients, all parameters together."""
    parameters, slots, found = start(), [dict[str, Any]() for _ in start()], {}
    for step in range(1, STEPS + 1):
        grads = gradients(parameters, step)
        total = np.sqrt(sum((g * g).sum() for g in grads))
        grads = [g * min(1.0, limit / (total + 1e-6)) if norm else np.clip(g, -limit, limit) for g in grads]
        parameters = [rule(p, g, kept, step) for p, g, kept in zip(parameters, grads, slots, strict=True)]
        if step in WATCHED:
            found[step] = parameters
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("norm", [True, False], ids=["norm", "value"])
def test_clipping(norm, backend):
    clip = (tk.optimizers.ClipByGlobalNorm if norm else tk.optimizers.ClipByValue)(0.3)
    found = trajectory(tk.optimizers.chain(clip, tk.optimizers.SGD(0.1, 0.9)), backend)
    assert_same(found, clipped(RULES["SGD"](lr=0.1, momentum=0.9), 0.3, norm))


def test_the_chain_of_an_optimizer_shares_its_rate():
    inner = tk.optimizers.Adam(1e-3)
    made = tk.optimizers.chain(tk.optimizers.ClipByValue(1.0), inner, tk.optimizers.ExponentialAverage())
    made.learning_rate = 0.5
    assert inner.learning_rate == made.learning_rate == 0.5
    assert repr(made) == "chain(ClipByValue, Adam(0.5, betas=(0.9, 0.999)), ExponentialAverage)"
