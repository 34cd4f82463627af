"""Einsum as a product of matrices: which equations become one, and that they compute and learn the same."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.interpret import interpret
from toolkit.compiler.passes.einsum_products import use_products
from toolkit.compiler.program import Program, Variable

PRODUCTS = [  # equation, shapes
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk->ki", (3, 4), (4, 5)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("bihd,bjhd->bhij", (2, 4, 3, 5), (2, 6, 3, 5)),
    ("bi,bi->b", (2, 5), (2, 5)),
    ("abc,cd->abd", (2, 3, 4), (4, 5)),
    ("ab,cdb->dac", (2, 5), (3, 4, 5)),
    ("i,i", (4,), (4,)),
    ("abcd,dcbe->ea", (2, 3, 4, 5), (5, 4, 3, 6)),
    ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
]
OTHERS = [
    ("ij,jk->ijk", (3, 4), (4, 5)),  # nothing is summed
    ("ii,ij->j", (3, 3), (3, 4)),  # a diagonal
    ("ij,kl->kl", (3, 4), (2, 5)),  # letters that only one operand has
    ("...ij,...jk->...ik", (1, 3, 4), (2, 4, 5)),  # a broadcast
    ("ij->ji", (3, 4)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
]


def program_of(equation: str, shapes: tuple[tuple[int, ...], ...], dtype: str = "float32") -> Program:
    program = Program()
    for number, shape in enumerate(shapes):
        program.inputs[f"x{number}"] = Variable(f"x{number}", np.dtype(dtype), shape)
    node = program.append("Einsum", list(program.inputs.values()), {"equation": equation}, version=12)
    program.outputs["y"] = node.y
    return program


def evaluated(program: Program) -> np.ndarray:
    random = np.random.default_rng(0)
    feeds = {item: random.standard_normal(item.shape).astype(item.dtype) for item in program.inputs.values()}
    (found,) = interpret(program, feeds, [program.outputs["y"]])
    return found


@pytest.mark.parametrize(("equation", "first", "second"), PRODUCTS)
def test_a_product_is_computed_as_one(equation: str, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    program = program_of(equation, (first, second))
    expected = evaluated(program)
    use_products(program)
    operators = [node.op_type for node in program.nodes]
    assert operators.count("MatMul") == 1
    assert "Einsum" not in operators
    np.testing.assert_allclose(evaluated(program), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row", OTHERS, ids=lambda row: row[0])
def test_other_equations_stay(row: tuple[str, *tuple[tuple[int, ...], ...]]) -> None:
    program = program_of(row[0], row[1:])
    use_products(program)
    assert [node.op_type for node in program.nodes] == ["Einsum"]


def test_whole_numbers_stay() -> None:
    program = program_of("ij,jk->ik", ((2, 3), (3, 2)), "int32")
    use_products(program)
    assert [node.op_type for node in program.nodes] == ["Einsum"]
