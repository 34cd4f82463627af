"""Segments: what is compiled at once, what is called on the data, and what waits for it."""

import numpy as np
import pytest

from tests.support.models import network
from toolkit.compiler.bind import bind, first_segment, next_segment
from toolkit.errors import DataDependentShapeError, ShapeError

CHOSEN = """chosen (float[N, 4] x) => (float[M] y) {
    r = Relu (x)
    p = NonZero (r)
    first = Constant <value_ints = [0]> ()
    rows = Gather <axis = 0> (p, first)
    flat = Constant <value_ints = [-1]> ()
    line = Reshape (rows, flat)
    picked = Gather <axis = 0> (x, line)
    axes = Constant <value_ints = [1]> ()
    y = ReduceSum <keepdims = 0> (picked, axes)
}"""


def test_a_static_network_is_one_segment_without_calls() -> None:
    segment = first_segment(network("g (float[N, 2] x) => (float[N, 2] y) { y = Relu(x) }"), 3)
    assert (segment.calls, segment.rest, segment.is_last) == ([], [], True)
    assert [node.op_type for node in segment.program.nodes] == ["Relu"]


def test_what_lies_behind_a_data_dependent_shape_waits_for_it() -> None:
    net = network(CHOSEN)
    first = first_segment(net, 2)
    assert [node.op_type for node in first.program.nodes] == ["Relu"]
    assert [call.leaf.op_type for call in first.calls] == ["NonZero"]
    assert [leaf.leaf.op_type for leaf in first.rest] == ["Gather", "Reshape", "Gather", "ReduceSum"]

    types = {"p": (np.dtype(np.int64), (2, 5)), "x": (np.dtype(np.float32), (2, 4))}
    second = next_segment(net, first, [types[item.name] for item in first.carried()])
    assert second.is_last
    assert [node.op_type for node in second.program.nodes] == ["Gather", "Reshape", "Gather", "ReduceSum"]
    assert second.program.outputs["y"].shape == (5,)


def test_operators_that_only_data_can_answer_are_called_one_after_the_other() -> None:
    net = network(
        """g (seq(float[N]) s, float[N] x) => (int64 n) {
            t = SequenceInsert (s, x)
            u = SequenceInsert (t, x)
            n = SequenceLength (u)
        }"""
    )
    segment = first_segment(net, 2)
    assert [call.leaf.op_type for call in segment.calls] == ["SequenceInsert", "SequenceInsert", "SequenceLength"]
    assert segment.is_last


def test_sequences_whose_structure_is_known_leave_no_trace() -> None:
    net = network(
        """g (float[N, 2] x) => (float[M, 2] y, int64 n) {
            empty = SequenceEmpty ()
            one = Constant <value_int = -1> ()
            a = Relu (x)
            s = SequenceInsert (empty, x)
            t = SequenceInsert (s, a)
            u = SequenceErase (t)
            v = SequenceInsert (t, x, one)
            n = SequenceLength (v)
            y = ConcatFromSequence <axis = 0> (v)
        }"""
    )
    program = bind(net, 3)
    assert [node.op_type for node in program.nodes] == ["Relu", "Concat"]
    assert program.outputs["n"].constant == 3
    x = np.array([[1, -1]], np.float32)
    np.testing.assert_array_equal(net.run({"x": x})["y"], [[1, -1], [1, -1], [1, 0]])


def test_only_what_is_asked_for_decides_whether_data_is_needed() -> None:
    net = network("g (float[N] x) => (int64[1, M] p, float[N] y) { p = NonZero(x) y = Relu(x) }")
    assert bind(net, 2, outputs=["y"]).outputs["y"].shape == (2,)
    with pytest.raises(DataDependentShapeError, match=r"NonZero.*depends on the data"):
        bind(net, 2, outputs=["p"])


def test_parameters_that_decide_a_shape_count_as_constants() -> None:
    net = network(
        """g (float[N, 1, 2, 2] x) => (float[N, 1, H, W] y) <float[4] scales = {1.0, 1.0, 2.0, 3.0}> {
            y = Resize <mode = "nearest"> (x, , scales)
        }"""
    )
    assert bind(net, 2).outputs["y"].shape == (2, 1, 4, 6)


def test_a_frozen_batch_cannot_be_changed_where_data_decides_the_shapes() -> None:
    net = network(
        """g (float[1, 3] x) => (int64[M] y) {
            p = NonZero (x)
            flat = Constant <value_ints = [-1]> ()
            y = Reshape (p, flat)
        }"""
    )
    with pytest.raises(ShapeError, match=r"batch size 1 is baked.*from Reshape 'Reshape_2' on.*batch_size=1"):
        first_segment(net, 4)
