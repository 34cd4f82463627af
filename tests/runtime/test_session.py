"""Training sessions: one set of master parameters over batch sizes, guarded updates, lazily synchronised parameters."""

import numpy as np
import pytest

import toolkit as tk
from tests.support.models import cnn, feed, mlp, network
from toolkit.errors import GraphError, InputError, NonFiniteLossError, NotDifferentiableError
from toolkit.runtime.session import TrainingSession

BACKENDS = ["numpy", "cpu"]


def session(net, optimizer=None, **options):
    return TrainingSession(net, tk.losses.SoftmaxCrossEntropy(), optimizer or tk.optimizers.SGD(0.1), **options)


def batch(net, size, classes, seed=0):
    return feed(net, size, seed), np.random.default_rng(seed + 1).integers(0, classes, size)


def train(made, data, steps):
    return [made.step(*data, step).loss for step in range(1, steps + 1)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [mlp, cnn])
def test_the_loss_falls(backend, make):
    net = make()
    data = batch(net, 16, 4)
    losses = train(session(net, tk.optimizers.Adam(0.01), backend=backend), data, 40)
    assert losses[-1] < 0.5 * losses[0]


def test_backends_take_the_same_steps():
    runs = []
    for backend in BACKENDS:
        net = cnn()
        made = session(net, tk.optimizers.SGD(0.05, momentum=0.9, weight_decay=1e-3), backend=backend)
        train(made, batch(net, 8, 5), 5)
        runs.append({name: item.array for name, item in net.parameters.items()})
    for name, array in runs[0].items():
        np.testing.assert_allclose(runs[1][name], array, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_sizes_share_the_master_parameters(backend):
    net, twin = mlp(), mlp()
    large, small = batch(net, 12, 4), batch(net, 5, 4, seed=7)
    mixed = session(net, tk.optimizers.Adam(0.01), backend=backend)
    for step, data in enumerate([large, small, large, small], start=1):
        mixed.step(*data, step)
    reference = session(twin, tk.optimizers.Adam(0.01), backend="numpy")
    for step, data in enumerate([large, small, large, small], start=1):
        reference.step(*data, step)
    for name, item in net.parameters.items():
        np.testing.assert_allclose(item.array, twin.parameters[name].array, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_context_sees_what_training_wrote_and_training_what_was_assigned(backend):
    net = mlp()
    context, made, data = net.context(4, backend=backend), session(net, backend=backend), batch(mlp(), 4, 4)
    before = context.run(data[0])["y"]
    made.step(*data, 1)
    after = context.run(data[0])["y"]
    assert np.abs(after - before).max() > 1e-4
    net.parameters["b2"].assign(np.full(4, 100, np.float32))
    np.testing.assert_allclose(made.evaluate(data[0]).outputs["y"], context.run(data[0])["y"], rtol=1e-5)
    outputs = made.step(*data, 2).outputs["y"]
    assert outputs.min() > 90


def test_frozen_parameters_cost_no_backward_step_and_stay_as_they_are():
    net, full = cnn(), cnn()
    net.select("w1", "b1", "scale", "shift", "w2").freeze()
    frozen = {name: net.parameters[name].array.copy() for name in ("w1", "b1", "scale", "shift", "w2")}
    made, everything = session(net), session(full)
    train(made, batch(net, 4, 5), 3)
    train(everything, batch(full, 4, 5), 1)
    for name, array in frozen.items():
        np.testing.assert_array_equal(net.parameters[name].array, array)
    backward = [step.operator for step in made.explain().steps if step.role == "backward"]
    assert not any("Conv" in name or "Pool" in name for name in backward)
    assert len(backward) < len([step for step in everything.explain().steps if step.role == "backward"]) / 2


def test_everything_frozen_is_refused():
    net = mlp()
    net.select("*").freeze()
    with pytest.raises(NotDifferentiableError, match="no parameter with requires_grad"):
        train(session(net), batch(net, 4, 4), 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loss_that_is_not_finite_names_the_layer_and_changes_nothing(backend):
    net = mlp()
    made, (feeds, labels) = session(net, tk.optimizers.Adam(0.01), backend=backend), batch(mlp(), 4, 4)
    made.step(feeds, labels, 1)
    before = {name: item.array.copy() for name, item in net.parameters.items()}
    poisoned = {"x": feeds["x"].copy()}
    poisoned["x"][1, 2] = np.nan
    with pytest.raises(NonFiniteLossError, match=r"not finite is toolkit::FusedMatMul 'Gemm_\d'"):
        made.step(poisoned, labels, 2)
    for name, array in before.items():
        np.testing.assert_array_equal(net.parameters[name].array, array)
    made.step(feeds, labels, 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gradient_that_is_not_finite_beside_a_finite_loss_changes_nothing(backend):
    net = network("roots (float[N, 4] x) => (float[N, 4] y) { s = Sqrt(w) y = Add(x, s) }", w=(4,))
    made, data = session(net, tk.optimizers.Adam(0.01), backend=backend), batch(net, 4, 4)
    net.parameters["w"].assign(np.array([0, 1, 1, 1], np.float32))
    with pytest.raises(NonFiniteLossError, match="gradients that are not finite"):
        made.step(*data, 1)
    np.testing.assert_array_equal(net.parameters["w"].array, [0, 1, 1, 1])
    assert not any(made.state()[name].any() for name in made.state())


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_output_that_is_a_parameter_is_the_one_before_the_update(backend):
    net = network("kept (float[N, 4] x) => (float[N, 4] y, float[4] k) { y = Mul(x, w) k = Identity(w) }", w=(4,))
    made = TrainingSession(net, tk.losses.SoftmaxCrossEntropy(output="y"), tk.optimizers.SGD(1.0), backend=backend)
    before, result = net.parameters["w"].array.copy(), made.step(*batch(net, 4, 4), 1)
    np.testing.assert_array_equal(result.outputs["k"], before)
    assert np.abs(net.parameters["w"].array - before).max() > 1e-4


def test_batches_that_look_alike_follow_what_changed_between_them():
    net = mlp()
    made, data = session(net), batch(net, 4, 4)
    made.step(*data, 1)
    net.select("w1").freeze()
    frozen, free = net.parameters["w1"].array.copy(), net.parameters["w2"].array.copy()
    made.step(*data, 2)
    np.testing.assert_array_equal(net.parameters["w1"].array, frozen)
    assert np.abs(net.parameters["w2"].array - free).max() > 1e-5
    with pytest.raises(InputError, match=r"float32|\.astype"):
        made.step({"x": data[0]["x"].astype(np.float64)}, data[1], 3)
    with pytest.raises(InputError, match="missing"):
        made.step({}, data[1], 3)


@pytest.mark.parametrize("profiled", [False, True])
def test_a_step_is_the_same_while_its_times_are_taken(profiled):
    net, twin = mlp(), mlp()
    made, plain, data = session(net), session(twin), batch(net, 4, 4)
    made.step(*data, 1)
    made.profile(profiled)
    assert made.step(*data, 2).loss == train(plain, data, 2)[-1]
    poisoned = {"x": np.full_like(data[0]["x"], np.inf)}
    with pytest.raises(NonFiniteLossError):
        made.step(poisoned, data[1], 3)
    for name, item in twin.parameters.items():
        np.testing.assert_array_equal(net.parameters[name].array, item.array)


def test_optimizer_state_moves_to_another_session():
    net, twin = mlp(), mlp()
    data = batch(net, 8, 4)
    first = session(net, tk.optimizers.Adam(0.01))
    train(first, data, 3)
    state = first.state()
    for name, item in net.parameters.items():
        twin.parameters[name].assign(item.array)
    second = session(twin, tk.optimizers.Adam(0.01))
    second.restore(state, data[0])
    for made in (first, second):
        made.step(*data, 4)
    for name, item in net.parameters.items():
        np.testing.assert_array_equal(twin.parameters[name].array, item.array)


def test_the_loss_may_live_on_another_backend():
    net = mlp()
    feeds, target = feed(net, 4), np.zeros((4, 4), np.float32)
    placed = {}
    for loss_backend in ("numpy", None):
        made = TrainingSession(
            net, tk.losses.MeanSquaredError(), tk.optimizers.SGD(0.01), backend="cpu", loss_backend=loss_backend
        )
        made.step(feeds, target, 1)
        steps = made.explain().steps
        placed[loss_backend] = {step.backend for step in steps if step.role.startswith("loss")}
        assert {"loss", "loss backward"} <= {step.role for step in steps}
        assert "cpu" in {step.backend for step in steps if step.role in ("forward", "backward")}
    assert placed["numpy"] == {"numpy"}
    assert "cpu" in placed[None]


def test_gradients_alone_change_nothing():
    net = mlp()
    made, data = session(net), batch(mlp(), 4, 4)
    before = {name: item.array.copy() for name, item in net.parameters.items()}
    grads = made.gradients(*data)
    assert {name: grad.shape for name, grad in grads.items()} == {n: p.shape for n, p in net.parameters.items()}
    for name, array in before.items():
        np.testing.assert_array_equal(net.parameters[name].array, array)


def test_gradients_are_those_of_the_weights_as_they_are():
    """Also where the kernel gives a gradient in another layout than the update takes."""
    body = [tk.layers.Convolution(2, 3, pads=1), tk.layers.Convolution(8, 1), tk.layers.Flatten(), tk.layers.Linear(3)]
    x = np.random.default_rng(0).standard_normal((6, 4, 6, 6)).astype(np.float32)
    found = {}
    for backend in ("numpy", "cpu"):
        network = tk.layers.Sequential(body).network((4, 6, 6))
        options = {"loss": tk.losses.SoftmaxCrossEntropy(), "optimizer": tk.optimizers.SGD(0.1), "backend": backend}
        trainer = tk.Trainer(network, **options)
        trainer.train_minibatch(x, [0, 1, 2, 0, 1, 2])
        found[backend] = trainer.gradients(x, [0, 1, 2, 0, 1, 2])
    for name, expected in found["numpy"].items():
        np.testing.assert_allclose(found["cpu"][name], expected, rtol=1e-3, atol=1e-4)


def test_what_a_step_keeps_lies_in_the_memory_of_its_gradients():
    net = mlp()
    made = session(net)
    made.step(*batch(net, 2, 4), 1)
    explanation = made.explain()
    assert 0 < explanation.lent_nbytes <= explanation.arena_nbytes
    assert "in the memory of gradients" in str(explanation)


def test_gradients_that_a_step_does_not_compute_lend_no_memory():
    net = mlp()
    made, data = session(net), batch(net, 2, 4)
    made.step(*data, 1)
    first, *_ = net.parameters.values()
    kept = made._devices.to_host(made._store.gradients[first])
    first.requires_grad = False
    made.step(*data, 2)
    np.testing.assert_array_equal(made._devices.to_host(made._store.gradients[first]), kept)


def test_explain_needs_a_step():
    with pytest.raises(GraphError, match="Nothing is compiled yet"):
        session(mlp()).explain()
