"""Optimizer steps as one pass over memory: every operation of a rule, in pieces, by several threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from tests.cases.optimization import RULES
from tests.support.interpret import apply
from toolkit.backends import native
from toolkit.backends.host import HostBuffer, HostMemory
from toolkit.backends.native.assembly.team import WORTH_A_THREAD
from toolkit.backends.native.backend import NativeBackend
from toolkit.backends.native.optimization.step import UpdateKernel, pieces
from toolkit.backends.protocol import Layout, Resources, plain
from toolkit.compiler.program import Node, Program, Variable
from toolkit.operators.standard.update_rule import ELEMENTWISE

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

FLOAT32 = np.dtype(np.float32)
NUMBERS = np.array([0.9, 0.1], FLOAT32)
TRUTHS = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
OF_TWO = TRUTHS | {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"}
OF_TRUTHS = {"And", "Or", "Not", "Where"}


def numbers(*shape: int, dtype: Any = FLOAT32) -> np.ndarray:
    return np.random.default_rng(len(shape)).uniform(0.5, 2.0, shape).astype(dtype)


def update(shapes: list[tuple[int, ...]], name: str) -> Node:
    groups, attributes, _ = RULES[name]
    operands = [Variable("numbers", FLOAT32, (2,))]
    operands += [Variable(f"x{at}", FLOAT32, shape) for at in range(groups) for shape in shapes]
    count, targets = len(shapes), attributes["targets"]
    attributes = {**attributes, "count": count}
    return Program().append("ElementwiseUpdate", operands, attributes, domain="toolkit", outputs=count * len(targets))


@pytest.mark.parametrize("operator", sorted(ELEMENTWISE))
def test_every_operation_of_a_rule(operator: str) -> None:
    operands = "t0 n0" if operator in OF_TWO else "t0"
    lines = [f"{operator} {operands}"]
    if operator in OF_TRUTHS:
        asked = {"Not": "v0", "Where": "v0 t0 n1"}.get(operator, "v0 v1")
        lines = ["Less t0 t1", "Greater t0 n0", f"{operator} {asked}"]
    if operator in TRUTHS | OF_TRUTHS - {"Where"}:
        lines.append(f"Where v{len(lines) - 1} t0 t1")
    rule = {"rule": tuple(lines), "results": (f"v{len(lines) - 1}",), "targets": (0,), "count": 1}
    check_node("ElementwiseUpdate", [NUMBERS, numbers(5, 9), numbers(5, 9)[::-1].copy()], rule, known=[])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_rules_by_several_threads(name: str, dtype: str) -> None:
    groups, attributes, _ = RULES[name]
    shapes = [(WORTH_A_THREAD + 5,), (3, 7), ()]
    given = [numbers(*shape, dtype=dtype) for _ in range(groups) for shape in shapes]
    attributes = {**attributes, "count": len(shapes)}
    outputs = len(shapes) * len(attributes["targets"])
    check_node("ElementwiseUpdate", [NUMBERS, *given], attributes, known=[], outputs=outputs, threads=2)


def test_what_lies_together_is_one_piece_whatever_its_layout() -> None:
    padded = [Layout(FLOAT32, (3, 5), 128, "blocks"), plain(FLOAT32, (17,)), plain(FLOAT32, ())]
    blocks = [HostMemory().allocate(512) for _ in range(3)]
    for block in blocks:
        block.view(FLOAT32)[:] = numbers(128)
    columns = [
        [HostBuffer(item, block, at) for item, at in zip(padded, (0, 128, 256), strict=True)] for block in blocks
    ]
    assert [count for count, _ in pieces(columns)] == [32 + 32 + 16]
    columns[1][1] = HostBuffer(padded[1], blocks[1], 320)
    assert [count for count, _ in pieces(columns)] == [32, 32, 16]

    kernel = UpdateKernel(update([(3, 5), (17,), ()], "momentum"), [plain(FLOAT32, (2,)), *padded * 3], 1)
    assert list(kernel.outputs) == padded * 2
    before = [[item.flat.copy() for item in column] for column in columns]
    flat = [item for column in columns for item in column]
    given = HostBuffer(plain(FLOAT32, (2,)), NUMBERS.view(np.uint8))
    assert not kernel.bind([given, *flat], [*columns[0], *columns[2]], None)()
    attributes = {**RULES["momentum"][1], "count": 3}
    operands = [item for column in before for item in column]
    expected = apply("toolkit", "ElementwiseUpdate", 1, [NUMBERS, *operands], attributes)
    for found, wanted in zip((*columns[0], *columns[2]), expected, strict=True):
        np.testing.assert_allclose(found.flat, wanted, rtol=1e-6)


def test_nothing_to_do_is_nothing_done() -> None:
    node = update([(4,)], "nothing")
    assert NativeBackend().lower(node, [plain(FLOAT32, item.shape) for item in node.inputs], Resources(1)).is_free
