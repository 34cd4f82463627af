"""What the backend takes over: small nodes of inference, but not what lies in a library's layouts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from toolkit.backends import native
from toolkit.backends.native import selection
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products import narrow_product
from toolkit.backends.native.selection import MOST_ELEMENTS, take_small_nodes
from toolkit.compiler.program import Node, Program, Variable

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

SQUARE = {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1], "group": 1}


class Rig:
    """A program under construction, everything placed on a library."""

    def __init__(self) -> None:
        self.program = Program(layer="selection")

    def given(self, *shape: int) -> Variable:
        name = f"x{len(self.program.inputs)}"
        made = self.program.inputs[name] = Variable(name, np.dtype(np.float32), shape)
        return made

    def node(self, operator: str, *inputs: Variable, backend: str = "cpu", **attributes: object) -> Node:
        domain, _, name = operator.rpartition("::")
        made = self.program.append(name, list(inputs), attributes, domain=domain, version=1 if domain else 17)
        made.backend = backend
        return made

    def convolution(self, x: Variable, outputs: int, taps: int = 3) -> Node:
        shape = (outputs, x.shape[1], taps, taps)
        content = np.ones(shape, np.float32)
        weight = Variable(f"w{len(self.program.nodes)}", content.dtype, shape, constant=content)
        return self.node("toolkit::FusedConv", x, weight, **SQUARE)

    def taken(self) -> list[bool]:
        take_small_nodes(self.program)
        return [node.backend == "native" for node in self.program.nodes]


def test_small_nodes_are_taken_from_both() -> None:
    rig = Rig()
    first = rig.node("Relu", rig.given(3, 4))
    rig.node("Sin", first.y, backend="numpy")
    assert rig.taken() == [True, True]


def test_large_nodes_stay_with_the_library_but_not_with_numpy() -> None:
    rig = Rig()
    x = rig.given(MOST_ELEMENTS + 1)
    rig.node("Relu", x)
    rig.node("Sin", x, backend="numpy")
    assert rig.taken() == [False, True]


@pytest.mark.parametrize(("count", "is_taken"), [(1, False), (200, True)])
def test_small_nodes_beside_many_products_are_taken_where_they_are_most_nodes(count: int, is_taken: bool) -> None:
    rig = Rig()
    rig.convolution(rig.given(1, 64, 64, 64), 64)
    for _ in range(count):
        rig.node("Relu", rig.given(3, 4))
    assert rig.taken()[-1] == is_taken


def test_rows_joined_with_as_much_of_a_library_are_taken() -> None:
    for rows, is_taken in ((8, True), (4, False)):
        rig = Rig()
        made = rig.node("MaxPool", rig.given(1, 8, 64, 64), kernel_shape=[64, 64])
        laid = rig.node("Conv", made.y, rig.given(8, 8, 1, 1))
        rig.node("Concat", laid.y, rig.given(1, rows, 1, 1), axis=1)
        assert rig.taken()[-1] == is_taken


def test_what_no_kernel_serves_and_what_is_elsewhere_stays() -> None:
    rig = Rig()
    rig.node("Det", rig.given(3, 3), backend="numpy")
    rig.node("Relu", rig.given(3, 3), backend="cuda")
    assert rig.taken() == [False, False]


def test_large_convolutions_of_a_program_that_learns_are_taken() -> None:
    rig = Rig()
    made = rig.convolution(rig.given(1, 64, 32, 32), 64)
    rig.node("Relu", made.y)
    weight, geometry = (
        made.inputs[1],
        {name: made.attributes[name] for name in ("strides", "pads", "dilations", "group")},
    )
    assert weight is not None
    operator, shape = "toolkit::ConvWeightGradient", {"weight_shape": [64, 64, 3, 3], "has_bias": 0}
    rig.node("toolkit::ConvInputGradient", made.y, weight, **geometry, input_shape=[1, 64, 32, 32]).role = "backward"
    rig.node(operator, made.x, made.y, **geometry, **shape).role = "backward"
    assert rig.taken() == [True, True, True, True]


def test_of_a_program_that_learns_only_the_update_is_taken() -> None:
    rig = Rig()
    x = rig.given(MOST_ELEMENTS + 1)
    rig.node("Relu", rig.given(3, 4))
    rig.node("Relu", rig.given(3, 4)).role = "backward"
    rule = {"rule": ("Add t0 t1",), "results": ("v0",), "targets": (0,), "count": 1}
    rig.node("toolkit::ElementwiseUpdate", rig.given(1), x, x, backend="numpy", **rule).role = "update"
    assert rig.taken() == [False, False, True]


def test_a_program_that_learns_has_its_large_passes_taken_unless_a_layout_is_in_the_way() -> None:
    rig = Rig()
    large, vector = rig.convolution(rig.given(2, 64, 32, 32), 64, 1), rig.given(64)
    rig.node("Relu", large.y)
    rig.node("Sigmoid", large.y)  # what becomes 1/2 of padding
    rig.node("Add", large.y, rig.given(64, 1, 1))
    rows = rig.node("Add", rig.given(512, 64), vector)
    axes = Variable("axes", np.dtype(np.int64), (1,), constant=np.array([0]))
    rig.node("ReduceSum", rows.y, axes).role = "backward"
    assert rig.taken() == [False, True, False, False, True, True]


@pytest.mark.parametrize(("steps", "batch", "is_taken"), [(16, 32, True), (128, 4, False), (1, 32, False)])
def test_layers_that_learn_much_are_taken_with_their_gradients(steps: int, batch: int, is_taken: bool) -> None:
    rig = Rig()
    x, w, r = rig.given(steps, batch, 64), rig.given(1, 64, 4, 64), rig.given(1, 64, 4, 64)
    layer = rig.program.append(
        "Recurrent", [x, w, r], {"kind": "LSTM"}, domain="toolkit", outputs=["y", "", "", "kept"]
    )
    operands = [x, w, r, None, None, None, *layer.outputs, layer.y, None, None]
    attributes = {"kind": "LSTM", "wrt": [0, 1, 2]}
    rig.program.role = "backward"
    rig.program.append("RecurrentGradient", operands, attributes, domain="toolkit", outputs=3)
    for node in rig.program.nodes:
        node.backend = "cpu"
    assert rig.taken() == [is_taken, is_taken]


@pytest.mark.parametrize(("taps", "is_taken"), [(3, True), (2, False)])  # by minimal filtering, in the library's layout
def test_what_follows_a_large_convolution_keeps_its_layout(taps: int, is_taken: bool) -> None:
    rig = Rig()
    large = rig.convolution(rig.given(1, 64, 48, 48), 64, taps)
    beside = rig.node("Relu", large.y)
    rig.convolution(beside.y, 1)
    flat = rig.node("Relu", rig.given(1, 4, 2, 2))
    rig.convolution(flat.y, 4)
    assert rig.taken() == [is_taken, False, False, True, True]


def test_a_large_program_is_not_compiled_for_its_small_nodes() -> None:
    rig = Rig()
    rig.convolution(rig.given(1, 512, 32, 32), 512, 1)
    rig.node("Sin", rig.given(3, 4), backend="numpy")
    rig.node("Sin", rig.given(MOST_ELEMENTS + 1), backend="numpy")
    assert rig.taken() == [False, False, True]


@pytest.mark.parametrize("wins", [False, True])
def test_large_products_are_taken_where_they_win(wins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "wins", lambda: wins)
    rig = Rig()
    weight = Variable("w", np.dtype(np.float32), (1024, 1024), constant=np.ones((1024, 1024), np.float32))
    large = rig.node("toolkit::FusedMatMul", rig.given(128, 1024), weight)
    rig.node("toolkit::FusedMatMul", large.y, rig.given(1024, 1024))
    rig.node("toolkit::FusedMatMul", large.y, rig.given(1024, 32))
    rig.node("Relu", large.y)
    assert rig.taken() == [wins, wins, False, False]


def test_large_products_are_taken_in_training_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "wins", lambda: True)
    rig = Rig()
    large = rig.node("toolkit::FusedMatMul", rig.given(128, 1024), rig.given(1024, 1024), transB=1)
    rig.node("toolkit::FusedMatMul", large.y, rig.given(1024, 8))
    rig.node("toolkit::FusedMatMul", large.y, rig.given(128, 1024), transA=1).role = "backward"
    assert rig.taken() == [True, False, False]


@pytest.mark.parametrize("learns", [False, True])
def test_products_of_few_rows_are_taken_in_training(learns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "wins", lambda: False)
    monkeypatch.setattr(narrow_product, "VECTOR", compiler().vector_nbytes)
    rig = Rig()
    narrow = rig.node("toolkit::FusedMatMul", rig.given(128, 784), rig.given(1568, 784), transB=1)
    rig.node("toolkit::FusedMatMul", narrow.y, rig.given(1568, 784))
    last = rig.node("toolkit::FusedMatMul", rig.given(512, 784), rig.given(1568, 784), transB=1)
    last.role = "backward" if learns else "forward"
    assert rig.taken() == [learns, False, False]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(70001,), (3, 30000), (5, 7, 1024)], ids=str)
def test_large_work_is_divided_among_threads(shape: tuple[int, ...], threads: int) -> None:
    random = np.random.default_rng(0)
    x, y = random.standard_normal(shape).astype(np.float32), random.standard_normal(shape[-1:]).astype(np.float32)
    for operator in ("Add", "Mul", "Sub"):
        check_node(operator, [x, y], {}, known=(), domain="", version=14, threads=threads)


def test_large_transpositions_are_taken_in_training_where_rows_become_columns() -> None:
    rig = Rig()
    x = rig.given(4, 256, 256)
    rig.node("Transpose", x, perm=[0, 2, 1])
    rig.node("Transpose", x, perm=[1, 0, 2])
    rig.node("Transpose", rig.given(32, 32), perm=[1, 0])
    rig.program.nodes[0].role = "backward"
    assert rig.taken() == [True, False, False]
