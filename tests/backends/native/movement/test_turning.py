"""Transpositions by squares: matrices of every size around that of a square, several of them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backends.native.alone import check_node
from toolkit.backends import native
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.movement import turning
from toolkit.backends.native.movement.turning import is_turned
from toolkit.compiler.program import Program, Variable

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

LANES = compiler().lanes(np.dtype(np.float32))


def turns(shape: tuple[int, ...], perm: list[int], dtype: str = "float32") -> bool:
    """Whether a Transpose is done by squares."""
    x = Variable("x", np.dtype(dtype), shape)
    return is_turned(Program(layer="turning").append("Transpose", [x], {"perm": perm}, version=13))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [LANES, LANES + 1, 3 * LANES])
@pytest.mark.parametrize("columns", [LANES, 2 * LANES - 1, 5 * LANES + 3])
def test_matrices(rows: int, columns: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turning, "WORTH_A_THREAD", 1)
    for lead in ((), (3,)):
        count = len(lead)
        shape, perm = (*lead, rows, columns), [*range(count), count + 1, count]
        assert turns(shape, perm)
        x = np.random.default_rng(0).standard_normal(shape, np.float32)
        check_node("Transpose", [x], {"perm": perm}, threads=threads)


@pytest.mark.parametrize(("shape", "perm"), [((1, 4, 20, 64), [0, 3, 1, 2]), ((20, 2, 64, 1), [1, 2, 0, 3])], ids=str)
def test_axes_that_join(shape: tuple[int, ...], perm: list[int]) -> None:
    assert turns(shape, perm)
    check_node("Transpose", [np.arange(np.prod(shape), dtype=np.int32).reshape(shape)], {"perm": perm})


@pytest.mark.parametrize(
    ("shape", "perm", "dtype"),
    [
        ((64, 64), [0, 1], "float32"),
        ((64, 64, 64), [1, 0, 2], "float32"),
        ((64, 64), [1, 0], "float64"),
        ((64, 0), [1, 0], "float32"),
        ((3, 64), [1, 0], "float32"),
        ((20, 20, 20, 20), [0, 3, 2, 1], "float32"),
    ],
    ids=str,
)
def test_what_is_not_turned(shape: tuple[int, ...], perm: list[int], dtype: str) -> None:
    assert not turns(shape, perm, dtype)
