"""Equations that do not fit their operands."""

from __future__ import annotations

import pytest

from toolkit.operators.standard.einsum import explicit


@pytest.mark.parametrize(
    ("equation", "ranks", "message"),
    [
        ("ij,jk->ik", [2], "has 2 terms for 1 operands"),
        ("ij->i", [3], r"the term 'ij' of 'ij->i' does not fit an operand of 3 axes"),
        ("ij->k", [2], "must consist of letters of its operands, each once"),
        ("ij->ii", [2], "must consist of letters of its operands, each once"),
        ("i.j->i", [2], r"does not fit an operand of 2 axes"),
        ("...->...", [53], "needs more than 52 letters"),
    ],
)
def test_equations_that_are_refused(equation: str, ranks: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explicit(equation, ranks)


def test_an_equation_is_written_out() -> None:
    assert explicit("...b, b", [3, 1]) == (["acb", "b"], "ac")
    assert explicit("zA", [2]) == (["zA"], "Az")
