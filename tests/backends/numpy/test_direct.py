"""Direct numpy kernels compute what the references say, and stand in for them wherever they claim to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.parity import assert_close, reference_of
from tests.cases import all_cases
from tests.support.case import BATCH_SIZES, Case, constant, integers, uniform, variable
from tests.support.rows import each_row
from toolkit.backends.numpy.backend import DirectKernel, NumpyKernel, ViewKernel
from toolkit.backends.numpy.direct import direct_of
from toolkit.backends.protocol import Resources, plain
from toolkit.backends.registry import numpy_backend
from toolkit.compiler.program import Node, Program, Variable
from toolkit.errors import InputError
from toolkit.runtime.plan import Plan

BLOCK = np.stack(np.meshgrid([0, 1], [2, 3], indexing="ij"), axis=-1)
CROSS_ENTROPIES = [
    Case(
        name,
        [*given, integers("N", low=0, high=3)],
        {"reduction": reduction},
        domain=domain,
        version=version,
        note=note,
    )
    for reduction, g in (("mean", uniform()), ("sum", uniform()), ("none", uniform("N")))
    for name, domain, version, given, note in (
        ("SoftmaxCrossEntropyLoss", "", 13, [uniform("N", 3)], f"of rows, {reduction}"),
        ("SoftmaxCrossEntropyGradient", "toolkit", 1, [g, uniform("N", 3)], f"of rows, {reduction}"),
    )
]
EDGES = [
    *CROSS_ENTROPIES,
    Case("Slice", [uniform("N", 6), constant([-1]), constant([-7]), constant([1]), constant([-2])], note="backwards"),
    Case("Slice", [uniform("N", 6), constant([4]), constant([2]), constant([1])], note="nothing is left"),
    Case("Pad", [uniform("N", 4, 5), constant([0, 1, -2, 0, -1, 3]), uniform()], note="grown and cropped"),
    Case("Pad", [uniform("N", 4, 5), constant([0, 3, 2, 0, 1, 4])], {"mode": "reflect"}, note="by most of the size"),
    Case("Pad", [uniform("N", 4), constant([2, 1]), None, constant([-1])], {"mode": "edge"}, note="of one axis"),
    Case("Pad", [integers("N", 4, low=0, high=9), constant([0, 1, 0, 1]), constant(7)], note="of whole numbers"),
    Case("Gather", [uniform("N", 5, 2), constant([-1, 2])], {"axis": 1}, note="known, downwards"),
    Case("Gather", [uniform("N", 5, 2), constant([[3], [0]])], {"axis": 1}, note="known, down to the first"),
    Case("Gather", [uniform("N", 5, 2), constant([1, 1, 4])], {"axis": 1}, note="known, one twice"),
    Case("Gather", [uniform("N", 5, 2), constant(-1)], {"axis": 2}, note="known number"),
    Case("ScatterND", [uniform(4, 5, 3), constant(BLOCK), uniform(2, 2, 3)], note="of a rectangle"),
    Case("ScatterND", [uniform(4, 5, 3), constant([[3, 0], [0, -1]]), uniform(2, 3)], note="of known places"),
    Case("ScatterND", [uniform(4, 3), constant([[1], [1]]), uniform(2, 3)], note="twice to the same place"),
    Case("Where", [constant([True, False, True]), uniform(), uniform("N", 3)], note="of a number"),
    Case("Where", [constant([[True], [False]]), uniform("N", 1, 3), uniform(3)], note="all stretched"),
    Case("Pow", [uniform("N", 3), variable(2.0)], note="square"),
    Case("Pow", [uniform("N", 3, low=0.5), variable([1.5])], note="other power"),
    Case("Pow", [uniform("N", 3), variable(2)], note="whole exponent"),
    Case("Cast", [uniform("N", 4, low=-9, high=9)], {"to": 7}, note="to whole numbers"),
    Case("GridSample", [uniform("N", 2, 4, 3), uniform("N", 5, 9, 2)], version=20, note="of many points"),
    Case("DynamicQuantizeLinear", [uniform("N", 3, low=2.0, high=3.0)], version=11, outputs=3, note="above zero"),
    Case("DynamicQuantizeLinear", [constant(np.zeros(3, np.float32))], version=11, outputs=3, note="nothing but zeros"),
    Case("ReduceMean", [uniform("N", 3, 4), constant([-1])], {"keepdims": 0}, note="of rows"),
    Case("ReduceSum", [uniform("N", 3, 4)], {"noop_with_empty_axes": 0}, note="of everything"),
    Case(
        "ReduceSum", [uniform("N", 3, 4), constant(np.empty(0, np.int64))], {"noop_with_empty_axes": 1}, note="of none"
    ),
]
SAME = [
    Case("Slice", [uniform("N", 6), constant([0]), constant([2**62])]),
    Case("Pad", [uniform("N", 4), constant([0, 0, 0, 0])], {"mode": "reflect"}),
    Case("Gather", [uniform("N", 2), constant([0, 1])], {"axis": 1}),
    Case("Cast", [uniform("N", 2)], {"to": 1}),
]
REFERRED = [
    Case("Slice", [constant(np.array(["a", "b"], object)), constant([0]), constant([1])], note="texts"),
    Case("Pad", [uniform(1 << 18), constant([1, 0])], {"mode": "edge"}, note="many places"),
    Case("ScatterND", [uniform(4, 3), integers(2, 1, low=0, high=4), uniform(2, 3)], note="unknown places"),
    Case("ScatterND", [uniform(4), constant([[1]]), uniform(1)], {"reduction": "add"}, note="sums"),
    Case("ReduceMean", [integers("N", 4, low=0, high=9), constant([1])], note="whole numbers"),
    Case("Pow", [integers("N", low=0, high=9), constant(2)], note="whole base"),
    Case("Max", [uniform(3), uniform(3), uniform(3)], note="three"),
    Case("SoftmaxCrossEntropyLoss", [uniform(2, 3), integers(2, low=0, high=2), uniform(3)], note="weighted"),
    Case("SoftmaxCrossEntropyLoss", [uniform(2, 3), integers(2, low=0, high=2)], {"ignore_index": 1}, note="ignored"),
    Case("SoftmaxCrossEntropyLoss", [uniform(2, 3, 2), integers(2, 2, low=0, high=2)], note="of positions"),
]
ROWS = [case for case in all_cases() if direct_of(case.domain, case.operator) and not case.is_data_dependent]


def built(case: Case, batch: int, *, is_known: bool = False) -> tuple[Program, Node, dict[str, np.ndarray]]:
    """The case as a program of one node, and what to feed; ``is_known``: all inputs but the first are constants."""
    program, feeds = Program(layer="direct"), {}
    operands: list[Variable | None] = []
    for index, (given, array) in enumerate(zip(case.inputs, case.arrays(batch), strict=True)):
        if given is None:
            operands.append(None)
        elif given.is_constant or (is_known and index):
            operands.append(Variable(f"c{index}", array.dtype, array.shape, constant=array))
        else:
            made = Variable(f"x{index}", array.dtype, array.shape)
            operands.append(made)
            program.inputs[made.name], feeds[made.name] = made, array
    attributes = case.bound_attributes(batch)
    node = program.append(
        case.operator, operands, attributes, domain=case.domain, version=case.version, outputs=case.outputs
    )
    node.backend = "numpy"
    return program, node, feeds


def lowered(node: Node) -> Any:
    layouts = [None if item is None else plain(item.dtype, item.shape) for item in node.inputs]
    return numpy_backend().lower(node, layouts, Resources(1))


@each_row([*ROWS, *EDGES, *SAME], BATCH_SIZES, (False, True))
def test_kernel_writes_what_the_reference_returns(case: Case, batch: int, is_known: bool) -> None:
    program, node, feeds = built(case, batch, is_known=is_known)
    program.outputs.update({f"y{index}": item for index, item in enumerate(node.outputs) if item is not None})
    plan = Plan(program, [numpy_backend()], Resources(1), packed={})
    for block in plan.blocks.values():
        block.fill(0xFF)  # NaN everywhere: no kernel may count on what it has not written
    for _ in range(2):  # a kernel in place must leave what a second run needs
        for name, array in plan.input_arrays.items():
            np.copyto(array, feeds[name])
        plan.run("forward")
    for found, expected in zip(plan.output_arrays.values(), reference_of(case, batch), strict=True):
        assert_close(found, expected)


@each_row(EDGES[:-1])
def test_edge_is_no_affair_of_the_reference(case: Case) -> None:
    assert isinstance(lowered(built(case, 2)[1]), DirectKernel)


@each_row(SAME)
def test_what_changes_nothing_is_a_view(case: Case) -> None:
    assert isinstance(lowered(built(case, 2)[1]), ViewKernel)


@each_row(REFERRED)
def test_what_no_kernel_claims_is_left_to_the_reference(case: Case) -> None:
    assert isinstance(lowered(built(case, 2)[1]), NumpyKernel)


def test_known_index_out_of_range_is_refused_when_run() -> None:
    program, node, feeds = built(Case("Gather", [uniform(3, 2), constant([3])]), 1)
    program.outputs["y"] = node.y
    plan = Plan(program, [numpy_backend()], Resources(1), packed={})
    np.copyto(plan.input_arrays["x0"], feeds["x0"])
    with pytest.raises(InputError, match="out of range for axis 0 of size 3"):
        plan.run("forward")


@pytest.mark.parametrize(
    "case",
    [Case("ReverseSequence", [uniform(2, 1), variable([3])], version=10)]
    + [
        Case("CutSequences", [uniform(2, 1, 3), variable([length], "int32")], domain="toolkit", version=1, outputs=2)
        for length in (3, -1)
    ],
    ids=lambda case: case.operator,
)
def test_a_sequence_that_is_too_long_is_refused_when_run(case: Case) -> None:
    program, node, feeds = built(case, 1)
    program.outputs["y"] = node.y
    plan = Plan(program, [numpy_backend()], Resources(1), packed={})
    for name, array in plan.input_arrays.items():
        np.copyto(array, feeds[name])
    with pytest.raises(InputError, match=r"sequence_lens must lie in \[0, 2\], got \[(3|-1)\]"):
        plan.run("forward")


@pytest.mark.parametrize(
    "case",
    [
        Case("ReverseSequence", [uniform(4, 20, 2), variable([3] * 20)], version=10),
        Case("CutSequences", [uniform(4, 20, 2), variable([3] * 20)], domain="toolkit", version=1, outputs=2),
    ],
    ids=lambda case: case.operator,
)
def test_many_sequences_are_left_to_the_reference(case: Case) -> None:
    assert isinstance(lowered(built(case, 1)[1]), NumpyKernel)


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_that_is_no_class_is_refused_when_run(label: int) -> None:
    program, node, feeds = built(Case("SoftmaxCrossEntropyLoss", [uniform(2, 3), constant([0, label])], version=13), 1)
    program.outputs["y"] = node.y
    plan = Plan(program, [numpy_backend()], Resources(1), packed={})
    np.copyto(plan.input_arrays["x0"], feeds["x0"])
    with pytest.raises(InputError, match=f"label {label} is none of the 3 classes"):
        plan.run("forward")
