"""What a backend has no fast kernel for is written out, where it has one for everything that this says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from toolkit.compiler.passes.expansion import expand_slow_operators
from toolkit.compiler.program import Node, Program, Variable

FLOAT32 = np.dtype(np.float32)
GRID = {"low": -8.0, "high": 7.0}


def program(backend: str = "device") -> Program:
    """A tensor brought onto a grid, and an activation behind it."""
    made = Program(layer="quantised")
    x, scale = Variable("x", FLOAT32, (2, 3)), Variable("scale", FLOAT32, (1,))
    made.inputs = {"x": x, "scale": scale}
    grid = made.append("OnGrid", [x, scale], GRID, domain="toolkit")
    made.outputs = {"y": made.append("Relu", [grid.y], {}, version=14).y}
    for node in made.nodes:
        node.backend, node.fused = backend, ("before",)
    return made


def names(made: Program) -> list[str]:
    return [node.op_type for node in made.nodes]


def lacks(*operators: str) -> Callable[[Node], bool]:
    return lambda node: node.op_type not in operators


def test_what_has_no_fast_kernel_is_written_out() -> None:
    made = program()
    expand_slow_operators(made, "device", lacks("OnGrid"))
    assert names(made) == ["Div", "Clip", "Round", "Relu"]
    assert {(node.backend, node.layer, node.fused) for node in made.nodes} == {("device", "quantised", ("before",))}
    assert made.nodes[-1].inputs == [made.nodes[-2].y]


@pytest.mark.parametrize("lacking", [("OnGrid", "Round"), ()], ids=["no better written out", "fast as it is"])
def test_it_stays_where_nothing_is_won(lacking: tuple[str, ...]) -> None:
    made = program()
    expand_slow_operators(made, "device", lacks(*lacking))
    assert names(made) == ["OnGrid", "Relu"]


def test_other_backends_keep_theirs() -> None:
    made = program("host")
    expand_slow_operators(made, "device", lacks("OnGrid"))
    assert names(made) == ["OnGrid", "Relu"]
