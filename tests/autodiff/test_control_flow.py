"""Gradients through If, Loop, Scan and sequences: the same as those of the unrolled graph, in trainers too."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest

import toolkit as tk
from importers import load
from tests.support.models import network
from toolkit.graph import Network

FLOAT = np.float32

LOOP = """g (int64 n, float[N, 3] x) => (float[N, 3] y) {
    going = Constant <value = bool {1}> ()
    y = Loop (n, going, x) <
        body = step (int64 i, bool c, float[N, 3] v) => (bool d, float[N, 3] w) {
            d = Identity (c)
            h = MatMul (v, m)
            w = Tanh (h)
        }
    >
}"""

WHILE = """g (float[N, 3] x) => (float[N, 3] y) {
    going = Constant <value = bool {1}> ()
    limit = Constant <value_float = 8.0> ()
    y = Loop (, going, x) <
        body = step (int64 i, bool c, float[N, 3] v) => (bool d, float[N, 3] w) {
            h = MatMul (v, m)
            w = Add (h, v)
            size = ReduceL1 <keepdims = 0> (w)
            d = Less (size, limit)
        }
    >
}"""

SCAN = """g (float[2, 3] start, float[4, 2, 3] xs) => (float[2, 3] last, float[4, 2, 3] all) {
    last, all = Scan <num_scan_inputs = 1,
                      body = step (float[2, 3] s, float[2, 3] x) => (float[2, 3] t, float[2, 3] z) {
        h = MatMul (s, m)
        a = Add (h, x)
        t = Tanh (a)
        z = Identity (t)
    }> (start, xs)
}"""

BRANCH = """g (float[N, 3] x) => (float[N, 3] y) {
    total = ReduceSum <keepdims = 0> (x)
    zero = Constant <value_float = 0.0> ()
    positive = Greater (total, zero)
    y = If (positive) <
        then_branch = t () => (float[N, 3] a) { a = MatMul (x, m) },
        else_branch = e () => (float[N, 3] b) { b = Mul (x, x) }
    >
}"""

CHOSEN = """g (float[N, 3] x) => (float[M] y) {
    h = MatMul (x, m)
    p = NonZero (h)
    rows = Transpose <perm = [1, 0]> (p)
    y = GatherND (h, rows)
}"""


def unrolled(times: int) -> Network:
    """``LOOP`` written out."""
    steps = "".join(f"h{i} = MatMul (v{i}, m) v{i + 1} = Tanh (h{i}) " for i in range(times))
    return network(
        f"g (float[N, 3] x) => (float[N, 3] y) {{ v0 = Identity (x) {steps} y = Identity (v{times}) }}", m=(3, 3)
    )


def gradients(
    net: Network, feeds: dict[str, np.ndarray], output: str = "y", batch: int | None = 2
) -> dict[str, np.ndarray]:
    context = net.context(batch, training=True, backend="numpy")
    y = context.forward(feeds)[output]
    found = context.backward({output: np.cos(np.arange(y.size, dtype=FLOAT)).reshape(y.shape)})
    return {**found["inputs"], **found["parameters"]}


def slope(net: Network, feeds: dict[str, np.ndarray], output: str, step: float = 1e-2) -> np.ndarray:
    """The gradient of the matrix by central differences."""
    matrix = net.parameters["m"].array.copy()

    def projected(moved: np.ndarray) -> float:
        net.parameters["m"].assign(moved.astype(FLOAT))
        y = net.run(feeds, backend="numpy")[output]
        return float((y.astype(np.float64) * np.cos(np.arange(y.size)).reshape(y.shape)).sum())

    found = np.zeros_like(matrix, dtype=np.float64)
    for place in np.ndindex(matrix.shape):
        moved = matrix.copy()
        moved[place] += step
        above = projected(moved)
        moved[place] -= 2 * step
        found[place] = (above - projected(moved)) / (2 * step)
    net.parameters["m"].assign(matrix)
    return found


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((2, 3)).astype(FLOAT)


@pytest.mark.parametrize("times", [1, 2, 6])
def test_loop_counted_by_its_data_has_the_gradients_of_the_unrolled_graph(times: int, x: np.ndarray) -> None:
    looped = gradients(network(LOOP, m=(3, 3)), {"n": np.asarray(times), "x": x})
    written_out = gradients(unrolled(times), {"x": x})
    for name in ("x", "m"):
        np.testing.assert_allclose(looped[name], written_out[name], rtol=1e-5, atol=1e-6)


def test_one_context_follows_the_data_of_each_batch(x: np.ndarray) -> None:
    context = network(LOOP, m=(3, 3)).context(2, training=True, backend="numpy")
    for times in (3, 1, 3):
        context.forward({"n": np.asarray(times), "x": x})
        seed = np.cos(np.arange(6, dtype=FLOAT)).reshape(2, 3)
        found = context.backward({"y": seed})["parameters"]["m"]
        np.testing.assert_allclose(found, gradients(unrolled(times), {"x": x})["m"], rtol=1e-5, atol=1e-6)


def test_loop_that_ends_by_its_own_condition(x: np.ndarray) -> None:
    net = network(WHILE, m=(3, 3))
    np.testing.assert_allclose(gradients(net, {"x": x})["m"], slope(net, {"x": x}, "y"), rtol=2e-2, atol=2e-2)


def test_scan_through_state_and_stacked_outputs(x: np.ndarray) -> None:
    net = network(SCAN, m=(3, 3))
    feeds = {"start": x, "xs": np.random.default_rng(1).standard_normal((4, 2, 3)).astype(FLOAT)}
    for output in ("last", "all"):
        found = gradients(net, feeds, output, None)
        np.testing.assert_allclose(found["m"], slope(net, feeds, output), rtol=1e-2, atol=1e-2)
        assert found["xs"].shape == (4, 2, 3)


def test_only_the_branch_that_was_taken_has_a_gradient(x: np.ndarray) -> None:
    net = network(BRANCH, m=(3, 3))
    x = np.abs(x)
    seed = np.cos(np.arange(6, dtype=FLOAT)).reshape(2, 3)
    np.testing.assert_allclose(gradients(net, {"x": x})["m"], x.T @ seed, rtol=1e-5)
    other = gradients(net, {"x": -x})
    assert "m" not in other
    np.testing.assert_allclose(other["x"], -2 * x * seed, rtol=1e-5)


def test_gradients_pass_shapes_that_only_data_tells(x: np.ndarray) -> None:
    net = network(CHOSEN, m=(3, 3))
    np.testing.assert_allclose(gradients(net, {"x": x})["m"], slope(net, {"x": x}, "y"), rtol=1e-2, atol=1e-2)


def test_gradients_pass_sequences(x: np.ndarray) -> None:
    net = network(
        """g (float[N, 3] x) => (float[M, 3] y) {
            h = MatMul (x, m)
            parts = SplitToSequence <axis = 0> (h)
            s = SequenceMap (parts) <body = b (float[1, 3] p) => (float[1, 3] q) { q = Mul (p, p) }>
            back = Constant <value_int = -1> ()
            last = SequenceAt (s, back)
            t = SequenceInsert (s, last)
            y = ConcatFromSequence <axis = 0> (t)
        }""",
        m=(3, 3),
    )
    np.testing.assert_allclose(gradients(net, {"x": x})["m"], slope(net, {"x": x}, "y"), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_a_trainer_learns_through_a_loop_counted_by_its_data(backend: str) -> None:
    net = network(LOOP, m=(3, 3))
    random = np.random.default_rng(0)
    target = random.standard_normal((3, 3)).astype(FLOAT) * 0.4
    trainer = tk.Trainer(net, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.Adam(0.03), backend=backend)
    losses = []
    for step in range(60):
        x, times = random.standard_normal((16, 3)).astype(FLOAT), 1 + step % 3
        wanted = x
        for _ in range(times):
            wanted = np.tanh(wanted @ target)
        loss, _ = trainer.train_minibatch({"n": np.asarray(times), "x": x}, wanted)
        losses.append(loss)
    assert np.mean(losses[-6:]) < 0.2 * np.mean(losses[:6])


STACKED = """g (int64 n, float[2, 3] x) => (float[2, 3] y, float[T, 2, 3] all) {
    going = Constant <value = bool {1}> ()
    h = MatMul (x, m)
    y, all = Loop (n, going, h) <
        body = step (int64 i, bool c, float[2, 3] v) => (bool d, float[2, 3] w, float[2, 3] z) {
            d = Identity (c)
            w = Tanh (v)
            z = Mul (w, s)
        }
    >
}"""


def test_a_loop_that_makes_no_step_passes_the_gradient_by(x: np.ndarray) -> None:
    net = network(STACKED, m=(3, 3), s=(3,))
    context = net.context(None, training=True, backend="numpy")
    for times in (2, 0):
        found = context.forward({"n": np.asarray(times), "x": x})
        assert found["all"].shape == (times, 2, 3)
    seed = np.cos(np.arange(6, dtype=FLOAT)).reshape(2, 3)
    grads = context.backward({"y": seed, "all": np.zeros((0, 2, 3), FLOAT)})["parameters"]
    np.testing.assert_allclose(grads["m"], x.T @ seed, rtol=1e-5)
    assert not grads.get("s", np.zeros(3)).any()


def test_a_loop_whose_condition_never_holds_leaves_its_body_out(x: np.ndarray) -> None:
    net = network(LOOP.replace("{1}", "{0}").replace("Loop (n", "Loop (").replace("int64 n, ", ""), m=(3, 3))
    np.testing.assert_array_equal(gradients(net, {"x": x})["x"], np.cos(np.arange(6, dtype=FLOAT)).reshape(2, 3))


BATCHED = """<ir_version: 4, opset_import: ["" : 8]>
g (int64[3] lengths, float[3, 2] start, float[3, 4, 2] xs) => (float[3, 2] last, float[3, 4, 2] all) {
    last, all = Scan <num_scan_inputs = 1, directions = [1],
                      body = step (float[2] s, float[2] x) => (float[2] t, float[2] z) {
        h = MatMul (s, m)
        a = Add (h, x)
        t = Tanh (a)
        z = Mul (t, a)
    }> (lengths, start, xs)
}"""


@pytest.mark.parametrize("lengths", [[4, 4, 4], [2, 4, 1], [0, 3, 4]])
@pytest.mark.parametrize("output", ["last", "all"])
def test_the_first_scan_goes_through_each_item_of_a_batch(lengths: list[int], output: str) -> None:
    model = onnx.parser.parse_model(BATCHED)
    random = np.random.default_rng(2)
    model.graph.initializer.append(onnx.numpy_helper.from_array(random.standard_normal((2, 2)).astype(FLOAT), "m"))
    net, size = load(model), {"start": (3, 2), "xs": (3, 4, 2)}
    feeds = {key: random.standard_normal(shape).astype(FLOAT) for key, shape in size.items()}
    feeds["lengths"] = np.asarray(lengths)
    found = gradients(net, feeds, output, None)
    np.testing.assert_allclose(found["m"], slope(net, feeds, output), rtol=1e-2, atol=1e-2)
    beyond = [found["xs"][item, length:] for item, length in enumerate(lengths)]
    assert not any(part.any() for part in beyond)
    assert all(found["xs"][item, :length].all() for item, length in enumerate(lengths))


def test_what_has_no_gradient_is_told_where_only_some_outputs_are_named(x: np.ndarray) -> None:
    net = network(
        """g (float[N, 3] x) => (float[M] y) {
            h = MatMul (x, m)
            u = Unique (h)
            y = Mul (u, u)
        }""",
        m=(3, 3),
    )
    context = net.context(2, training=True, backend="numpy")
    y = context.forward({"x": x})["y"]
    np.testing.assert_allclose(y, np.unique(x @ net.parameters["m"].array) ** 2, rtol=1e-5)
    assert context.backward({"y": np.ones_like(y)})["parameters"] == {}
    assert "Unique 'Unique_1'" in str(context.shortfalls["parameters m"])
