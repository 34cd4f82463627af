"""Elementwise regions compute what their nodes did, in an order that fits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.interpret import interpret
from toolkit.compiler.passes.elementwise_regions import MOST_NODES, form_elementwise_regions
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.expression import Expression, emit, reduce_sum
from toolkit.operators.standard.elementwise_region import REGION

FLOAT32 = np.dtype(np.float32)
ELEMENTWISE = ("Add", "Mul", "Relu", "Sigmoid", "Sub", "Max")


def shapes_of(node: Node) -> list[tuple[int, ...] | None] | None:
    if node.op_type not in ELEMENTWISE:
        return None
    return [None if item is None else item.shape for item in node.inputs]


class Rig:
    """A program with inputs of random content, whose outputs must not change."""

    def __init__(self) -> None:
        self.program = Program(layer="test")
        self.feeds: dict[Variable, np.ndarray] = {}
        self.random = np.random.default_rng(0)

    def given(self, *shape: int) -> Expression:
        name = f"x{len(self.feeds)}"
        made = self.program.inputs[name] = Variable(name, FLOAT32, shape)
        self.feeds[made] = self.random.standard_normal(shape).astype(np.float32)
        return self.program.expression(made)

    def regions(self, *outputs: Expression) -> list[list[str]]:
        """The operators of each region; everything is computed as before."""
        for node in self.program.nodes:
            node.backend = "device"
        self.program.outputs = {f"y{number}": item.variable for number, item in enumerate(outputs)}
        wanted = list(self.program.outputs.values())
        expected = interpret(self.program, self.feeds, wanted)
        form_elementwise_regions(self.program, "device", shapes_of)
        for one, other in zip(interpret(self.program, self.feeds, wanted), expected, strict=True):
            np.testing.assert_array_equal(one, other)
        found = [node for node in self.program.nodes if node.op_type == REGION]
        return [[line.op_type for line in node.attributes["lines"]] for node in found]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_chain_becomes_one_region(rig):
    x, bias = rig.given(3, 4), rig.given(4)
    y = emit("Relu", x + bias) * 2.0
    assert rig.regions(y) == [["Add", "Relu", "Mul"]]
    (region,) = rig.program.nodes
    assert [item.name for item in region.inputs if item is not None][:2] == ["x0", "x1"]
    assert region.outputs == [y.variable]


def test_what_others_read_is_a_result(rig):
    x = rig.given(3, 4)
    inner = emit("Relu", x)
    y = emit("Sigmoid", inner)
    total = reduce_sum(inner, [1])
    assert rig.regions(y, total) == [["Relu", "Sigmoid"]]


def test_no_region_waits_for_itself(rig):
    x = rig.given(3, 4)
    inner = emit("Relu", x)
    total = reduce_sum(inner, [1])
    y = inner + total
    assert rig.regions(y) == []
    assert [node.op_type for node in rig.program.nodes] == ["Relu", "ReduceSum", "Add"]


def test_a_way_round_through_another_region_counts(rig):
    x, z = rig.given(3, 4), rig.given(3, 4)
    inner = emit("Relu", x)
    first = emit("Softmax", inner, axis=-1)
    other = emit("Sigmoid", z) + first
    y = inner + other  # may join with what `other` is in, but then without the Relu
    assert rig.regions(y) == [["Sigmoid", "Add", "Add"]]


def test_regions_that_meet_become_one(rig):
    x, z = rig.given(3, 4), rig.given(3, 4)
    y = emit("Relu", x) + emit("Sigmoid", z)
    assert rig.regions(y) == [["Relu", "Sigmoid", "Add"]]


def test_shapes_and_roles_stay_apart(rig):
    x = rig.given(3, 4)
    row = emit("Relu", rig.given(4))
    rig.program.role = "forward"
    inner = emit("Sigmoid", x) + row
    rig.program.role = "backward"
    y = emit("Relu", inner) * 2.0
    assert rig.regions(y) == [["Sigmoid", "Add"], ["Relu", "Mul"]]


def test_other_backends_and_updates_are_left_alone(rig):
    x = rig.given(3, 4)
    rig.program.role = "update"
    y = emit("Relu", x) + x
    assert rig.regions(y) == []
    for node in rig.program.nodes:
        node.role = "forward"
    form_elementwise_regions(rig.program, "another", shapes_of)
    assert len(rig.program.nodes) == 2


def test_readers_of_what_is_overwritten_keep_their_order(rig):
    x, state = rig.given(3, 4), rig.given(3, 4)
    before = reduce_sum(state, [0, 1])
    y = emit("Relu", emit("Sigmoid", x) + state)
    rig.program.assignments = [(state.variable, y.variable)]
    assert rig.regions(before) == [["Sigmoid", "Add", "Relu"]]
    assert [node.op_type for node in rig.program.nodes] == ["ReduceSum", REGION]


def test_regions_end_where_a_kernel_would_overflow(rig):
    x = rig.given(3, 4)
    for _ in range(MOST_NODES + 10):
        x = emit("Relu", x)
    assert [len(lines) for lines in rig.regions(x)] == [MOST_NODES, 10]


@pytest.mark.parametrize("seed", range(6))
def test_random_programs_compute_the_same(seed, rig):
    random = np.random.default_rng(seed)
    values = [rig.given(3, 4) for _ in range(3)] + [rig.given(4)]
    for _ in range(40):
        one, other = (values[int(item)] for item in random.integers(0, len(values), 2))
        kind = str(random.choice(["Add", "Mul", "Max", "Relu", "Sigmoid", "Softmax", "sum"]))
        if kind == "sum":
            values.append(reduce_sum(one, [0], keepdims=False) if one.ndim == 2 else one)
        elif kind in ("Relu", "Sigmoid"):
            values.append(emit(kind, one))
        else:
            values.append(emit("Softmax", one, axis=-1) if kind == "Softmax" else emit(kind, one, other) * 0.5)
    rig.regions(*values[-8:])
