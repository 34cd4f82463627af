"""Numbers of formulas are constants of what is compiled, and whoever writes one is heeded by the next run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import toolkit as tk
from exporters import save
from importers import load
from tests.runtime.on_pretend import Register
from tests.support.models import network
from tests.support.pretend_device import DEVICE
from toolkit.compiler.bind import bind
from toolkit.errors import ShapeError
from toolkit.graph import Network
from toolkit.runtime.cache import state_of

GELU = """spelt (float[N, 6] x) => (float[N, M] y)
<float half = {0.5}, float[1] root = {1.4142135}, float one = {1.0}> {
    h = MatMul(x, w) z = Div(h, root) e = Erf(z) p = Add(e, one) q = Mul(h, p) g = Mul(half, q) y = MatMul(g, v)
}"""
KNOWN = ["FusedMatMul", "FusedMatMul"]  # the activation is part of a product
X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0])
BACKENDS = ["numpy", "cpu"]


def gelu() -> Network:
    return network(GELU, w=(6, 6), v=(6, 3))


def number(value: float) -> np.ndarray:
    return np.float32(value)[()].reshape(())


def operators(context: tk.Context) -> list[str]:
    assert context._plan is not None
    return [node.op_type for node in context._plan.program.nodes]


def trainer(net: Network, **options: object) -> tk.Trainer:
    return tk.Trainer(net, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.SGD(0.1), **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_number_that_is_written_is_heeded_and_known_again(backend: str) -> None:
    net = gelu()
    context = net.context(4, backend=backend)
    assert operators(context) == KNOWN
    first = context.run(X)["y"]
    net.parameters["half"].assign(number(1.5))
    np.testing.assert_allclose(context.run(X)["y"], 3 * first, rtol=1e-4, atol=1e-6)
    assert operators(context) != KNOWN
    net.parameters["half"].assign(number(0.5))
    np.testing.assert_array_equal(context.run(X)["y"], first)
    assert operators(context) == KNOWN


def test_nothing_is_compiled_anew_for_the_same_content_or_for_weights() -> None:
    net = gelu()
    context = net.context(4)
    plan = context._plan
    net.parameters["half"].assign(number(0.5))
    net.parameters["w"].assign(2 * net.parameters["w"].array)
    np.testing.assert_allclose(context.run(X)["y"], net.run(X, backend="numpy")["y"], rtol=1e-4, atol=1e-5)
    assert context._plan is plan


def test_minus_zero_is_another_number() -> None:
    net = network("limit (float[N, 6] x) => (float[N, 6] y) <float zero = {0.0}> { m = Mul(x, x) y = Div(m, zero) }")
    context = net.context(4)
    assert (context.run(X)["y"] == np.inf).all()
    net.parameters["zero"].assign(number(-0.0))
    assert (context.run(X)["y"] == -np.inf).all()


def test_contexts_of_the_same_sizes_share_the_program_of_the_numbers_as_they_are() -> None:
    net = gelu()
    first, second = net.context(4), net.context(4)
    kept = net.run(X)["y"]
    net.parameters["half"].assign(number(1.0))
    third = net.context(4)
    for found in (first.run(X), second.run(X), third.run(X), net.run(X)):
        np.testing.assert_allclose(found["y"], 2 * kept, rtol=1e-4, atol=1e-6)
    programs = {context._plan.program for context in (first, second, third) if context._plan is not None}
    assert len(programs) == 1 and programs < set(state_of(net).programs.values())


def test_what_is_prepared_once_is_told_apart_by_the_numbers_in_it() -> None:
    net = network(
        """grown (float[N, 6] x) => (float[N, 6] y) <float two = {2.0}, float three = {3.0}> {
            a = CastLike(two, x) b = CastLike(three, x) c = Mul(w, two) d = Mul(x, a) e = Mul(d, c) y = Add(e, b)
        }""",
        w=(6,),
    )
    w, context = net.parameters["w"].array, net.context(4)
    for two in (2.0, 5.0):
        net.parameters["two"].assign(number(two))
        np.testing.assert_allclose(context.run(X)["y"], X * two * w * two + 3, rtol=1e-5, atol=1e-5)


def test_profiling_goes_on() -> None:
    net = gelu()
    context = net.context(4)
    context.profile()
    net.parameters["half"].assign(number(1.0))
    context.run(X)
    assert all(step.milliseconds is not None for step in context.explain().steps)


def test_what_cannot_be_compiled_any_more_is_refused_until_it_can() -> None:
    net = network("shaped (float[2, 6] x) => (float[A, B] y) <int64[2] to = {3, 4}> { y = Reshape(x, to) }")
    context, x = net.context(2), np.arange(12, dtype=np.float32).reshape(2, 6)
    net.parameters["to"].assign(np.array([5, 5]))
    for _ in range(2):
        with pytest.raises(ShapeError, match="Reshape"):
            context.run(x)
    net.parameters["to"].assign(np.array([4, 3]))
    np.testing.assert_array_equal(context.run(x)["y"], x.reshape(4, 3))


def test_segments_and_bodies_heed_it() -> None:
    net = network(
        """positive (float[N] x, int64 n) => (float[M] y) <float factor = {2.0}, bool go = {1}> {
            flags = Greater(x, x0) where = NonZero(flags) place = Squeeze(where) part = Gather(x, place)
            grown = Mul(part, factor)
            y = Loop(n, go, grown) <body = step (int64 i, bool c, float[K] a) => (bool d, float[K] b) {
                d = Identity(c) b = Mul(a, factor)
            }>
        }""".replace("x0", "zero").replace("bool go", "float zero = {0.0}, bool go")
    )
    x = np.array([-1.0, 2.0, 3.0], np.float32)
    context = net.context(3)
    for factor in (2.0, 3.0, 3.0, 2.0):
        net.parameters["factor"].assign(number(factor))
        found = context.run({"x": x, "n": np.array(2)})["y"]
        np.testing.assert_allclose(found, x[1:] * factor**3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_and_evaluation_heed_it(backend: str) -> None:
    nets = gelu(), gelu()
    nets[1].parameters["half"].assign(number(1.5))
    ours, theirs = (trainer(net, backend=backend) for net in nets)
    ours.evaluate((X, LABELS))
    nets[0].parameters["half"].assign(number(1.5))
    assert ours.evaluate((X, LABELS)) == pytest.approx(theirs.evaluate((X, LABELS)))
    for _ in range(2):
        assert ours.train_minibatch(X, LABELS)[0] == pytest.approx(theirs.train_minibatch(X, LABELS)[0], rel=1e-5)
    for net in nets:
        net.parameters["half"].assign(number(0.25))
    assert ours.train_minibatch(X, LABELS)[0] == pytest.approx(theirs.train_minibatch(X, LABELS)[0], rel=1e-5)
    np.testing.assert_allclose(nets[0].parameters["w"].array, nets[1].parameters["w"].array, rtol=1e-4, atol=1e-6)


def test_passes_by_hand_heed_it() -> None:
    net = gelu()
    context, dy = net.context(4, training=True), np.ones((4, 3), np.float32)
    assert "Gelu" in operators(context)
    first, slope = context.forward(X)["y"], context.backward({"y": dy})["parameters"]["w"]
    net.parameters["half"].assign(number(1.0))
    again = context.backward({"y": dy})["parameters"]["w"]
    np.testing.assert_allclose(again, 2 * slope, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(context.forward(X)["y"], 2 * first, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(context.backward({"y": dy})["parameters"]["w"], 2 * slope, rtol=1e-3, atol=1e-5)


def test_a_number_that_learns_stays_a_parameter_everywhere() -> None:
    net = gelu()
    net.select("half").unfreeze(settings=True)
    assert [item.requires_grad for name, item in net.parameters.items() if name in ("half", "one")] == [True, False]
    context, made = net.context(4), trainer(net)
    plan = context._plan
    for _ in range(2):
        made.train_minibatch(X, LABELS)
        expected = load_again(net).run(X)["y"]
        np.testing.assert_allclose(context.run(X)["y"], expected, rtol=1e-4, atol=1e-6)
    assert context._plan is plan and net.parameters["half"].array != 0.5


def test_a_number_that_begins_to_learn_is_followed() -> None:
    net = gelu()
    context, made = net.context(4), trainer(net)
    made.train_minibatch(X, LABELS)
    net.select("half").unfreeze(settings=True)
    net.select("w").unfreeze()
    made.train_minibatch(X, LABELS)
    np.testing.assert_allclose(context.run(X)["y"], load_again(net).run(X)["y"], rtol=1e-4, atol=1e-6)
    plan = context._plan
    made.train_minibatch(X, LABELS)
    np.testing.assert_allclose(context.run(X)["y"], load_again(net).run(X)["y"], rtol=1e-4, atol=1e-6)
    assert context._plan is plan


def load_again(net: Network) -> Network:
    """A network with the present content, as read from the file that is written of it."""
    copy = gelu()
    for name, item in net.parameters.items():
        copy.parameters[name].assign(item.array)
    return copy


def test_statistics_of_one_channel_move_as_ever() -> None:
    net = network(
        """normal (float[N, 1, 6] x) => (float[N, 3] y) <float[1] s = {1.0}, float[1] b = {0.0}, float[1] m = {0.0},
        float[1] d = {1.0}> { n = BatchNormalization(x, s, b, m, d) f = Flatten(n) y = MatMul(f, w) }""",
        w=(6, 3),
    )
    x, context = X[:, None] + 3, net.context(4)
    made, plan = trainer(net, batch_statistics="batch"), context._plan
    before = context.run(x)["y"]
    made.train_minibatch(x, LABELS)
    assert net.parameters["m"].array != 0
    after = context.run(x)["y"]
    assert not np.allclose(after, before, atol=1e-2) and context._plan is plan
    np.testing.assert_allclose(after, net.run(x, backend="numpy")["y"], rtol=1e-4, atol=1e-5)


def test_a_derivative_by_a_number_is_one() -> None:
    net = network(
        """derived (float[N] x) => (float dk) <float k = {3.0}> {
            p = Mul(x, k) q = Mul(p, k) y = ReduceSum<keepdims = 0>(q)
            dk = ai.onnx.preview.training.Gradient <xs = ["k"], y = "y"> (k)
        }""",
        header='<ir_version: 10, opset_import: ["" : 21, "ai.onnx.preview.training" : 1]>\n',
    )
    assert net.parameters["k"] not in bind(net, 4).settled
    np.testing.assert_allclose(net.run(X[0])["dk"], 6 * X[0].sum(), rtol=1e-5)


def test_a_checkpoint_and_a_file_bring_their_numbers(tmp_path: Path) -> None:
    ours, theirs = gelu(), gelu()
    context = theirs.context(4)
    ours.parameters["half"].assign(number(0.75))
    options = {"epochs": 1, "checkpoint": tmp_path / "run.checkpoint"}
    trainer(ours).fit(tk.data.Batches((X, LABELS), 4), **options)
    trainer(theirs).fit(tk.data.Batches((X, LABELS), 4), resume=True, **options)
    expected = ours.run(X)["y"]
    np.testing.assert_allclose(context.run(X)["y"], expected, rtol=1e-5, atol=1e-6)
    save(theirs, tmp_path / "tuned.onnx")
    read = load(tmp_path / "tuned.onnx")
    assert read.parameters["half"].array == 0.75
    np.testing.assert_allclose(read.run(X)["y"], expected, rtol=1e-5, atol=1e-6)


def test_an_exported_step_computes_with_the_numbers_as_they_are() -> None:
    net = gelu()
    net.context(4)
    net.parameters["half"].assign(number(0.75))
    step = tk.training_network(net, loss=tk.losses.SoftmaxCrossEntropy(), batch_size=4)
    found = step.run({"x": X, "labels": LABELS})
    np.testing.assert_allclose(found["loss"], trainer(net).train_minibatch(X, LABELS)[0], rtol=1e-5)


def test_a_stream_heeds_it(crossing: Register) -> None:
    crossing()
    net = gelu()
    context = net.context(4, backend=DEVICE)
    first = context.run(X)["y"]

    def batches() -> Iterator[np.ndarray]:
        for factor in (0.5, 0.5, 1.0, 1.0, 0.5):
            net.parameters["half"].assign(number(factor))
            yield X

    for found, factor in zip(context.stream(batches()), (1, 1, 2, 2, 1), strict=True):
        np.testing.assert_allclose(found["y"], factor * first, rtol=1e-3, atol=1e-5)


def test_a_stream_goes_on_where_the_host_takes_part_from_a_number_on(crossing: Register) -> None:
    crossing("Gelu")
    net = network(GELU.replace("h = MatMul(x, w)", "h = Identity(x)").replace("y = MatMul(g, v)", "y = Identity(g)"))
    context = net.context(4, backend=[DEVICE, "cpu"])
    first = context.run(X)["y"]
    results = context.stream(X for _ in range(4))
    found = [next(results)["y"]]
    net.parameters["half"].assign(number(1.0))
    found += [item["y"] for item in results]
    for given, factor in zip(found, (1, 1, 2, 2), strict=True):
        np.testing.assert_allclose(given, factor * first, rtol=1e-3, atol=1e-5)
