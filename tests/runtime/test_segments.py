"""Running graphs whose shapes, branches and trip counts depend on the data, and values that are no tensors."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.test_segment import CHOSEN
from tests.support.models import network
from toolkit.errors import GraphError, InputError, ShapeError
from toolkit.graph import Network

FLOAT = np.float32
EVERY_BACKEND = pytest.mark.parametrize("backend", ["cpu", "numpy"])

LOOP = """repeat (int64 n, float[N, 3] x) => (float[N, 3] y, float[K, N, 3] history) {
    going = Constant <value = bool {1}> ()
    y, history = Loop (n, going, x) <
        body = step (int64 i, bool c, float[N, 3] v) => (bool d, float[N, 3] w, float[N, 3] seen) {
            d = Identity (c)
            h = MatMul (v, m)
            w = Tanh (h)
            seen = Identity (w)
        }
    >
}"""


def looped() -> tuple[Network, np.ndarray]:
    net = network(LOOP, m=(3, 3))
    return net, net.parameters["m"].array


@EVERY_BACKEND
def test_shapes_behind_data_are_bound_for_each_size(backend: str) -> None:
    net = network(CHOSEN)
    for x in (np.array([[1, 0, 0, 2], [0, 3, 0, 0]]), np.array([[-1, 0, 0, 0], [0, 0, 0, 0]]), np.ones((2, 4))):
        x = x.astype(FLOAT)
        rows = np.nonzero(np.maximum(x, 0))[0]
        np.testing.assert_allclose(net.run({"x": x}, backend=backend)["y"], x[rows].sum(1))


def test_a_segment_bound_once_is_kept() -> None:
    context = network(CHOSEN).context(2)
    x = np.eye(2, 4, dtype=FLOAT)
    context.run({"x": x})
    stage = context._segments.last
    first = stage.last_followed
    context.run({"x": np.zeros((2, 4), FLOAT)})
    assert stage.last_followed is not first
    context.run({"x": x})
    assert stage.last_followed is first


def test_explain_shows_the_segments_of_the_latest_run() -> None:
    context = network(CHOSEN).context(2)
    before = context.explain()
    assert [(step.operator, step.segment) for step in before.steps][:2] == [("Relu", 0), ("NonZero", 0)]
    assert all(step.kernel == "bound when its data is there" for step in before.steps[2:])
    context.profile()
    context.run({"x": np.eye(2, 4, dtype=FLOAT)})
    after = context.explain()
    assert {step.segment for step in after.steps} == {0, 1}
    assert all(step.milliseconds is not None for step in after.steps)
    assert "called on the data" in str(after)
    assert str(after).startswith("segment")


@EVERY_BACKEND
@pytest.mark.parametrize("count", [0, 1, 5])
def test_loop_counts_by_its_data(backend: str, count: int) -> None:
    net, matrix = looped()
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(FLOAT)
    found = net.run({"n": np.asarray(count), "x": x}, backend=backend)
    seen, value = [], x
    for _ in range(count):
        value = np.tanh(value @ matrix)
        seen.append(value)
    np.testing.assert_allclose(found["y"], value, rtol=1e-5, atol=1e-6)
    assert found["history"].shape[0] == count
    if count:
        np.testing.assert_allclose(found["history"], np.stack(seen), rtol=1e-5, atol=1e-6)


def test_loop_reads_parameters_as_they_are_now() -> None:
    net, _ = looped()
    feeds = {"n": np.asarray(1), "x": np.ones((1, 3), FLOAT)}
    net.run(feeds)
    net.parameters["m"].assign(np.zeros((3, 3), FLOAT))
    np.testing.assert_array_equal(net.run(feeds)["y"], np.zeros((1, 3)))


def test_the_branch_that_the_data_chooses_is_taken() -> None:
    net = network(
        """g (float[N, 2] x) => (float[K, 2] y) {
            total = ReduceSum <keepdims = 0> (x)
            zero = Constant <value_float = 0.0> ()
            positive = Greater (total, zero)
            doubled = Add (x, x)
            y = If (positive) <
                then_branch = t () => (float[K, 2] a) { a = Concat <axis = 0> (doubled, x) },
                else_branch = e () => (float[K, 2] b) { b = Neg (doubled) }
            >
        }"""
    )
    x = np.ones((1, 2), FLOAT)
    np.testing.assert_array_equal(net.run({"x": x})["y"], [[2, 2], [1, 1]])
    np.testing.assert_array_equal(net.run({"x": -x})["y"], [[2, 2]])


def test_scan_stacks_along_the_axes_and_directions_it_is_given() -> None:
    net = network(
        """g (float[2] start, float[3, 4, 2] xs) => (float[2] last, float[4, 2, 3] sums) {
            last, sums = Scan <num_scan_inputs = 1, scan_input_directions = [1], scan_output_axes = [2],
                               body = step (float[2] s, float[4, 2] x) => (float[2] t, float[4, 2] z) {
                axes = Constant <value_ints = [0]> ()
                column = ReduceSum <keepdims = 0> (x, axes)
                t = Add (s, column)
                z = Add (x, t)
            }> (start, xs)
        }"""
    )
    xs = np.arange(24, dtype=FLOAT).reshape(3, 4, 2)
    found = net.run({"start": np.zeros(2, FLOAT), "xs": xs})
    state, stacked = np.zeros(2), []
    for x in xs[::-1]:
        state = state + x.sum(0)
        stacked.append(x + state)
    np.testing.assert_allclose(found["last"], state)
    np.testing.assert_allclose(found["sums"], np.stack(stacked, axis=2))


def test_sequences_optionals_and_their_absence_are_values() -> None:
    net = network(
        """g (seq(float[N]) parts, optional(float[N]) extra) => (float[M] joined, bool has) {
            joined = ConcatFromSequence <axis = 0> (parts)
            has = OptionalHasElement (extra)
        }"""
    )
    found = net.run({"parts": [np.ones(2, FLOAT), np.zeros(1, FLOAT)], "extra": None})
    np.testing.assert_array_equal(found["joined"], [1, 1, 0])
    assert not found["has"]
    assert net.run({"parts": [np.ones(2, FLOAT)], "extra": np.ones(1, FLOAT)})["has"]
    with pytest.raises(InputError, match=r"'parts' is a sequence.*takes a list of arrays, got ndarray"):
        net.run({"parts": np.ones(2, FLOAT), "extra": None})


ZIPPED = """g (float[N, 2] x) => (float[N, 2] y, seq(map(string, float)) rows) {
    y = Relu (x)
    h = Neg (y)
    rows = ai.onnx.ml.ZipMap <classlabels_strings = %s> (h)
}"""
WITH_ML = '<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 3]>\n'


def test_rows_become_dicts_that_later_runs_leave_alone() -> None:
    context = network(ZIPPED % '["yes", "no"]', header=WITH_ML).context(2)
    first, second = (context.run({"x": np.full((2, 2), value, FLOAT)}) for value in (1, 2))
    assert first["rows"] == [{"no": -1.0, "yes": -1.0}] * 2 and second["rows"] == [{"no": -2.0, "yes": -2.0}] * 2
    np.testing.assert_array_equal(first["y"], np.ones((2, 2)))


def test_labels_that_no_input_fits_name_the_layer() -> None:
    with pytest.raises(ShapeError, match=r"ZipMap.*'ZipMap_2'.*exactly one of the classlabels"):
        network(ZIPPED % '["a"], classlabels_int64s = [1]', header=WITH_ML).context(2)
    context = network(ZIPPED % '["a"]', header=WITH_ML).context(2)
    with pytest.raises(InputError, match=r"ZipMap.*a column for each of the 1 labels, got 2"):
        context.run({"x": np.ones((2, 2), FLOAT)})


def test_data_that_does_not_fit_names_the_layer_and_leaves_the_context_usable() -> None:
    net = network("g (float[N, 4] x, int64[K] index) => (float[K, 4] y) { y = Gather (x, index) }")
    context = net.context(2)
    x = np.ones((2, 4), FLOAT)
    with pytest.raises(InputError, match=r"Gather 'Gather_0' cannot be computed on this data: .*out of bounds"):
        context.run({"x": x, "index": np.array([7, 0])})
    np.testing.assert_array_equal(context.run({"x": x, "index": np.array([1, 0])})["y"], x[::-1])

    net = network("g (seq(float[N]) parts, int64 place) => (float[N] y) { y = SequenceAt (parts, place) }")
    with pytest.raises(InputError, match="SequenceAt 'SequenceAt_0' cannot be computed on this data"):
        net.run({"parts": [np.ones(2, FLOAT)], "place": np.asarray(5)})


def test_results_go_where_the_caller_wants_them_if_they_fit() -> None:
    context = network(CHOSEN).context(2)
    x = np.eye(2, 4, dtype=FLOAT)
    out = {"y": np.empty(2, FLOAT)}
    assert context.run({"x": x}, out=out) is out
    np.testing.assert_array_equal(out["y"], [1, 1])
    with pytest.raises(InputError, match=r"out= has \(2,\) for output 'y', which is \(0,\)"):
        context.run({"x": -x}, out=out)


def test_an_inference_context_has_no_passes() -> None:
    with pytest.raises(GraphError, match="training=True"):
        network(CHOSEN).context(2).forward({"x": np.eye(2, 4, dtype=FLOAT)})
