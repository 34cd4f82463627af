"""Pieces that are cut and joined again: what is read from where it came from, and that it is the same content."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.support.interpret import interpret
from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.rejoined_pieces import rejoin_pieces
from toolkit.compiler.program import Program, Variable
from toolkit.operators.expression import Expression, emit, indices, reshape, split
from toolkit.operators.standard.recurrent_layer import turned_weight


def cut(x: Expression, start: int, end: int, axis: int = 0, step: int = 1) -> Expression:
    found: Expression = emit("Slice", x, *(indices(x, [value]) for value in (start, end, axis, step)))
    return found


def join(*parts: Expression, axis: int = 0) -> Expression:
    found: Expression = emit("Concat", *parts, axis=axis)
    return found


def reordered(x: Expression, order: tuple[int, ...], axis: int = 0) -> Expression:
    parts = split(x, len(order), axis)
    return join(*(parts[index] for index in order), axis=axis)


WHOLE: dict[str, Callable[[Expression], Expression]] = {  # of x (4, 6): nothing is cut or joined in the end
    "cut and joined": lambda x: join(cut(x, 0, 1), cut(x, 1, 4)),
    "counted from the end": lambda x: join(cut(x, 0, -1), cut(x, -1, 2**40)),
    "split and joined": lambda x: reordered(x, (0, 1), axis=1),
    "reordered and back": lambda x: reordered(reordered(x, (2, 0, 1), axis=1), (1, 2, 0), axis=1),
    "gates in PyTorch's order, as ONNX has them, as oneDNN has them": lambda x: turned_weight(
        reshape(join(cut(x, 0, 1), cut(x, 3, 4), cut(x, 1, 3)), (1, 4, 6)), "LSTM"
    ),
    "one of two that were joined": lambda x: cut(join(x * 2.0, x, axis=1), 6, 12, axis=1),
    "a slice of everything": lambda x: cut(x, 0, 4),
}
FEWER: dict[str, tuple[Callable[[Expression], Expression], int]] = {  # how many nodes move something in the end
    "a slice of a slice": (lambda x: cut(cut(x, 1, 4), 1, 2), 1),
    "a slice of a join": (lambda x: cut(join(x * 2.0, x), 5, 7), 1),
    "twice the same": (lambda x: reordered(x, (1, 0)) + join(cut(x, 2, 4), cut(x, 0, 2)), 2),
    "half of a reordered one": (lambda x: split(reordered(x, (2, 0, 1), axis=1), 3, 1)[0], 1),
}
KEPT: dict[str, Callable[[Expression], Expression]] = {
    "another order": lambda x: reordered(x, (1, 0)),
    "a step": lambda x: join(cut(x, 0, 4, step=2), cut(x, 1, 4, step=2)),
    "the same twice": lambda x: join(x, x),
    "two axes": lambda x: emit("Slice", x, indices(x, [0, 0]), indices(x, [2, 3])),
    "rows joined as columns": lambda x: join(cut(x, 0, 2), cut(x, 2, 4), axis=1),
}
MOVING = ("Slice", "Split", "Concat")


def program_of(build: Callable[[Expression], Expression]) -> Program:
    program = Program()
    x = program.inputs["x"] = Variable("x", np.dtype(np.float32), (4, 6))
    program.outputs["y"] = build(program.expression(x)).variable
    return program


def evaluated(program: Program) -> np.ndarray:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    (found,) = interpret(program, {program.inputs["x"]: x}, [program.outputs["y"]])
    return found


def moved(build: Callable[[Expression], Expression]) -> tuple[int, int]:
    """How many nodes move something before the pass and after it; both programs compute the same."""
    program = program_of(build)
    expected = evaluated(program)
    counts = [_count(program)]
    rejoin_pieces(program)
    remove_dead_code(program)
    np.testing.assert_array_equal(evaluated(program), expected)
    return counts[0], _count(program)


def _count(program: Program) -> int:
    return sum(node.op_type in MOVING for node in program.nodes)


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_whole_again_is_not_moved(name: str) -> None:
    assert moved(WHOLE[name])[1] == 0


@pytest.mark.parametrize("name", FEWER)
def test_a_piece_is_cut_from_where_it_came_from(name: str) -> None:
    build, count = FEWER[name]
    before, after = moved(build)
    assert after == count < before


@pytest.mark.parametrize("name", KEPT)
def test_what_is_really_moved_stays(name: str) -> None:
    before, after = moved(KEPT[name])
    assert before == after > 0


def test_random_cuts_and_joins_keep_their_content() -> None:
    random = np.random.default_rng(0)

    def build(x: Expression) -> Expression:
        known = [reshape(x, (24,))]
        for _ in range(30):
            first = known[random.integers(len(known))]
            if random.integers(2):
                start, end = sorted(random.choice(first.shape[0] + 1, 2, replace=False))
                known.append(cut(first, int(start), int(end)))
            else:
                known.append(join(first, known[random.integers(len(known))]))
        return join(*known)

    for _ in range(20):
        before, after = moved(build)
        assert after <= before
