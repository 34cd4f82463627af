"""Contexts: results, shared parameters, planned memory, checked inputs, and the two passes of training."""

import gc
import threading
import tracemalloc

import numpy as np
import pytest

from tests.support.models import cnn, feed, mlp, network
from toolkit.errors import BackendError, GraphError, InputError
from toolkit.graph import Network
from toolkit.runtime import Explanation
from toolkit.runtime.cache import state_of

BACKENDS = ["numpy", "cpu"]


def reference(net, x):
    p = {name: item.array for name, item in net.parameters.items()}
    return np.maximum(x @ p["w1"] + p["b1"], 0) @ p["w2"] + p["b2"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_run_computes_the_network(backend):
    net, x = mlp(), feed(mlp(), 5)["x"]
    np.testing.assert_allclose(net.run({"x": x}, backend=backend)["y"], reference(net, x), rtol=1e-5, atol=1e-5)


def test_backends_agree_on_a_convolutional_network():
    net = cnn()
    feeds = feed(net, 4)
    ours = net.run(feeds, backend="cpu")["y"]
    np.testing.assert_allclose(ours, net.run(feeds, backend="numpy")["y"], rtol=1e-4, atol=1e-4)


def test_one_array_feeds_one_input():
    net, x = mlp(), feed(mlp(), 2)["x"]
    np.testing.assert_array_equal(net.run(x)["y"], net.run({"x": x})["y"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_contexts_of_several_sizes_share_parameters(backend):
    net = mlp()
    small, large = net.context(1, backend=backend), net.context(6, backend=backend)
    x = feed(net, 6)["x"]
    before = large.run(x)["y"]
    net.parameters["b2"].assign(net.parameters["b2"].array + 1)
    np.testing.assert_allclose(large.run(x)["y"], before + 1, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(small.run(x[:1])["y"], before[:1] + 1, rtol=1e-5, atol=1e-5)


def test_packed_weights_are_shared_between_contexts_and_go_with_the_last_one():
    net = cnn()
    contexts, counts = [], []
    for _ in range(2):
        contexts.append(net.context(2, backend="cpu"))
        counts.append(len(state_of(net).packed))
    assert counts[0] == counts[1] > 0
    contexts.clear()
    gc.collect()
    assert len(state_of(net).packed) == 0


def test_contexts_of_the_same_sizes_are_planned_from_one_program():
    net = cnn()
    first, second = net.context(2), net.context(2)
    others = [net.context(3), net.context(2, backend="numpy"), net.context(2, precision="bfloat16")]
    programs = state_of(net).programs
    assert len(programs) == 1 + len(others)
    x = feed(net, 4)["x"]
    ours, theirs = first.run(x[:2])["y"], second.run(x[2:])["y"]
    np.testing.assert_allclose(np.vstack([ours, theirs]), net.run(x, backend="numpy")["y"], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(first.run(x[:2])["y"], ours)
    programs = state_of(net).programs
    state_of(net).contexts.clear()
    del first, second, others
    gc.collect()
    assert not programs


def test_a_program_that_holds_an_old_parameter_is_not_run_again():
    net = network("chosen (float[N, 3] x) => (float[N, 2] y) <int64[2] i = {0, 2}> { y = Gather<axis = 1>(x, i) }")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    before = net.context(2)
    net.parameters["i"].assign(np.array([1, 2]))
    np.testing.assert_array_equal(net.context(2).run(x)["y"], x[:, [1, 2]])
    np.testing.assert_array_equal(before.run(x)["y"], x[:, [1, 2]])


def test_results_are_not_overwritten_by_the_next_run():
    net = mlp()
    context = net.context(2)
    first = context.run(feed(net, 2, seed=1))["y"]
    kept = first.copy()
    context.run(feed(net, 2, seed=2))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("make", [mlp, cnn])
def test_run_into_given_arrays_allocates_nothing(make):
    net = make()
    context = net.context(8, backend="cpu")
    feeds, out = feed(net, 8), {"y": np.empty((8, 4 if make is mlp else 5), np.float32)}
    context.run(feeds, out=out)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    context.run(feeds, out=out)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 4096, f"{peak} bytes were allocated by a run of a static plan"


def test_fusion_leaves_one_step_per_linear_layer():
    steps = [step.operator for step in mlp().context(2, backend="numpy").explain().steps]
    assert steps == ["toolkit::FusedMatMul"] * 2


def test_normalisation_residual_and_activation_are_fused():
    explanation = cnn().context(2, backend="numpy").explain()
    names = [step.operator for step in explanation.steps]
    assert names == ["toolkit::FusedConv", "toolkit::FusedConv", "MaxPool", "toolkit::FusedMatMul"]
    assert explanation.steps[1].fused and "arena" in str(explanation)


def test_profile_records_every_step():
    net = cnn()
    context = net.context(2)
    context.profile()
    context.run(feed(net, 2))
    assert all(step.milliseconds is not None for step in context.explain().steps)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"missing \['x'\]"),
        ({"x": np.zeros((2, 8), np.float32), "z": np.zeros(1)}, r"unknown \['z'\]"),
        ({"x": np.zeros((2, 8))}, r"float32.*got float64.*astype"),
        ({"x": np.zeros((2, 9), np.float32)}, r"\(N, 8\).*\(2, 9\)"),
        ({"x": np.zeros((3, 8), np.float32)}, r"built for \(2, 8\), got \(3, 8\)"),
    ],
)
def test_wrong_feeds_are_refused_and_the_context_stays_usable(feeds, message):
    net = mlp()
    context = net.context(2)
    with pytest.raises(InputError, match=message):
        context.run(feeds)
    context.run(feed(net, 2))


def test_options_are_checked():
    net = mlp()
    with pytest.raises(BackendError, match="no backend 'tpu'"):
        net.context(1, backend="tpu")
    with pytest.raises(InputError, match="batch_size must be 0 or more"):
        net.context(-1)
    with pytest.raises(InputError, match="threads must be at least 1"):
        net.context(1, threads=0)
    with pytest.raises(
        BackendError, match="precision must be one of 'float32', 'tf32', 'bfloat16', 'float16', 'mixed', got 'float8'"
    ):
        net.context(1, precision="float8")
    with pytest.raises(GraphError, match="training=True"):
        net.context(1).forward(feed(net, 1))
    with pytest.raises(GraphError, match="training context"):
        net.context(1, training=True).run(feed(net, 1))
    with pytest.raises(GraphError, match="forward before"):
        net.context(1, training=True).backward({"y": np.zeros((1, 4))})


def test_threads_run_contexts_of_their_own_at_once():
    net = cnn()
    expected = {size: net.run(feed(net, size, seed=size))["y"] for size in (1, 4)}
    results = {}

    def work(size):
        context = net.context(size)
        results[size] = [context.run(feed(net, size, seed=size))["y"] for _ in range(20)]

    workers = [threading.Thread(target=work, args=(size,)) for size in (1, 4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for size, runs in results.items():
        for run in runs:
            np.testing.assert_allclose(run, expected[size], rtol=1e-5, atol=1e-5)


class TestTrainingPasses:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("batch", [1, 3])
    def test_gradients_equal_finite_differences(self, backend, batch):
        net = network(
            "g (float[N, 5] x) => (float[N, 3] y) { a = Gemm(x, w1, b1) b = Tanh(a) c = Gemm(b, w2) y = Sigmoid(c) }",
            w1=(5, 7),
            b1=(7,),
            w2=(7, 3),
        )
        feeds = feed(net, batch)
        context = net.context(batch, backend=backend, training=True)
        direction = np.random.default_rng(1).standard_normal(context.forward(feeds)["y"].shape).astype(np.float32)
        grads = context.backward({"y": direction})
        assert set(grads["parameters"]) == {"w1", "b1", "w2"}
        for name, grad in grads["parameters"].items():
            parameter = net.parameters[name]
            probe = np.random.default_rng(2).standard_normal(parameter.shape).astype(np.float32)
            original, step, values = parameter.array.copy(), 1e-2, []
            for sign in (1, -1):
                parameter.assign(original + sign * step * probe)
                values.append(float((context.forward(feeds)["y"] * direction).sum(dtype=np.float64)))
            parameter.assign(original)
            numeric = (values[0] - values[1]) / (2 * step)
            assert numeric == pytest.approx(float((grad * probe).sum()), rel=1e-2, abs=1e-3)

    @pytest.mark.parametrize("batch", [1, 3])
    def test_backends_agree_on_the_gradients_of_a_convolutional_network(self, batch):
        net = cnn()
        feeds, found = feed(net, batch), []
        for backend in BACKENDS:
            context = net.context(batch, backend=backend, training=True)
            y = context.forward(feeds)["y"]
            found.append(context.backward({"y": np.random.default_rng(1).standard_normal(y.shape)}))
        assert found[0]["parameters"].keys() >= {"w1", "b1", "scale", "shift", "w2", "w3", "b3"}
        for kind in ("inputs", "parameters"):
            for name, grad in found[0][kind].items():
                np.testing.assert_allclose(found[1][kind][name], grad, rtol=1e-4, atol=1e-4)

    def test_a_subset_of_outputs_can_be_judged(self):
        net = network(
            "g (float[N, 3] x) => (float[N, 2] a, float[N, 2] b) { a = Gemm(x, wa) b = Gemm(x, wb) }",
            wa=(3, 2),
            wb=(3, 2),
        )
        context = net.context(2, training=True)
        feeds = feed(net, 2)
        context.forward(feeds)
        only = context.backward({"b": np.ones((2, 2), np.float32)})
        assert set(only["parameters"]) == {"wb"}
        np.testing.assert_allclose(only["parameters"]["wb"], feeds["x"].T @ np.ones((2, 2)), rtol=1e-5)
        both = context.backward({"a": np.ones((2, 2), np.float32), "b": np.ones((2, 2), np.float32)})
        assert set(both["parameters"]) == {"wa", "wb"}
        with pytest.raises(InputError, match="Gradients can be given for"):
            context.backward({"c": np.ones((2, 2))})
        with pytest.raises(InputError, match=r"must be \(2, 2\)"):
            context.backward({"a": np.ones((3, 2))})

    def test_fan_out_accumulates(self):
        net = network("g (float[N, 3] x) => (float[N, 3] y) { h = Mul(x, w) y = Add(h, h) }", w=(3,))
        context = net.context(2, training=True, backend="numpy")
        feeds = feed(net, 2)
        context.forward(feeds)
        grads = context.backward({"y": np.ones((2, 3), np.float32)})
        np.testing.assert_allclose(grads["parameters"]["w"], 2 * feeds["x"].sum(0), rtol=1e-5)

    def test_a_frozen_body_has_no_backward_steps(self):
        net = cnn()
        net.select("w1", "b1", "scale", "shift", "w2").freeze()
        program_roles = [
            step.layer for step in net.context(2, training=True).explain().steps if step.role == "backward"
        ]
        full = cnn()
        everything = [step for step in full.context(2, training=True).explain().steps if step.role == "backward"]
        assert 0 < len(program_roles) <= len(everything)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_is_differentiated_as_often_as_one_likes(backend):
    """A backward pass overwrites what it needs no more; the next one of the same batch must not read that."""
    net = cnn()
    context = net.context(4, training=True, backend=backend)
    (y,) = context.forward(feed(net, 4)).values()
    seeds = [np.random.default_rng(number).standard_normal(y.shape).astype(np.float32) for number in range(2)]
    name = next(iter(net.outputs))
    first, other, again = (context.backward({name: seeds[number]}) for number in (0, 1, 0))
    for kind, grads in first.items():
        for key, grad in grads.items():
            np.testing.assert_array_equal(again[kind][key], grad)
    assert any(np.any(other["parameters"][key] != grad) for key, grad in first["parameters"].items())


class TestTrainingOptions:
    def step(self, **options: object) -> tuple[dict, Explanation]:
        context = deep().context(256, training=True, backend="numpy", **options)
        x = np.random.default_rng(0).standard_normal((256, 8)).astype(np.float32)
        y = context.forward({"x": x})["y"]
        return context.backward({"y": np.ones_like(y)}), context.explain()

    def test_input_gradients_are_computed_only_for_inputs_that_are_named(self):
        everything, whole = self.step()
        nothing, less = self.step(input_gradients=False)
        assert list(everything["inputs"]) == ["x"]
        assert nothing["inputs"] == {}
        assert len(less.steps) < len(whole.steps)
        np.testing.assert_array_equal(nothing["parameters"]["w0"], everything["parameters"]["w0"])
        with pytest.raises(InputError, match=r"input_gradients names 'z'; the floating-point inputs are \['x'\]"):
            self.step(input_gradients=["z"])

    def test_rematerialisation_keeps_the_gradients_and_takes_less_memory(self):
        plain, whole = self.step()
        again, less = self.step(rematerialise=0.7)
        assert less.arena_nbytes <= 0.7 * whole.arena_nbytes
        for name, grad in plain["parameters"].items():
            np.testing.assert_array_equal(again["parameters"][name], grad)


def deep() -> Network:
    """Eight linear layers with a Tanh and a Sigmoid each."""
    layers = "".join(f"h{i} = MatMul (v{i}, w{i}) a{i} = Tanh (h{i}) v{i + 1} = Sigmoid (a{i}) " for i in range(8))
    text = f"deep (float[N, 8] x) => (float[N, 8] y) {{ v0 = Identity (x) {layers} y = Identity (v8) }}"
    return network(text, **{f"w{i}": (8, 8) for i in range(8)})
