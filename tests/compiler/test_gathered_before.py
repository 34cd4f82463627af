"""One index of what is transposed is gathered before: the axes that are left keep their order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tests.support.interpret import interpret
from toolkit.compiler.passes.canonical import canonicalise
from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.program import Program, Variable
from toolkit.operators.expression import emit


def program_of(perm: tuple[int, ...] | None, axis: int, index: np.ndarray) -> Program:
    """Gather of a Transpose of x (2, 3, 4)."""
    program = Program()
    x = program.inputs["x"] = Variable("x", np.dtype(np.float32), (2, 3, 4))
    moved = emit("Transpose", program.expression(x), **({} if perm is None else {"perm": list(perm)}))
    program.outputs["y"] = emit("Gather", moved, index, axis=axis).variable
    return program


def canonical(program: Program) -> list[str]:
    canonicalise(program, training=True)
    remove_dead_code(program)
    return [node.op_type for node in program.nodes]


@pytest.mark.parametrize("axis", range(-3, 3))
@pytest.mark.parametrize("perm", [None, *permutations(range(3))], ids=str)
def test_the_same_is_gathered(perm: tuple[int, ...] | None, axis: int) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    program = program_of(perm, axis, np.array(-1))
    left = canonical(program)
    (found,) = interpret(program, {program.inputs["x"]: x}, [program.outputs["y"]])
    np.testing.assert_array_equal(found, np.take(x.transpose(perm), -1, axis))
    assert left in (["Gather"], ["Gather", "Transpose"])


def test_the_last_step_of_a_batch_moves_nothing() -> None:
    assert canonical(program_of((1, 0, 2), 1, np.array(2))) == ["Gather"]


def test_several_indices_are_gathered_behind() -> None:
    assert canonical(program_of((1, 0, 2), 1, np.array([1, 0]))) == ["Transpose", "Gather"]
