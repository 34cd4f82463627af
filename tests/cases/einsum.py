"""Cases of ``toolkit.operators.einsum``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, integers, uniform


def judge(*operands: Any, equation: str) -> Any:
    """By numpy, in float64."""
    wide = [item.astype(np.float64) for item in operands]
    return np.einsum(equation, *wide).astype(operands[0].dtype)


def case(equation: str, *operands: Given, note: str = "", tolerance: float = 1e-5) -> Case:
    """One equation."""
    return Case(
        "Einsum",
        operands,
        {"equation": equation},
        version=12,
        judge=judge,
        note=note or equation,
        tolerance=tolerance,
        gradient_tolerance=1e-4,
    )


CASES = [
    case("ij,jk->ik", uniform("N", 3), uniform(3, 4)),
    case("ij, jk", uniform("N", 3), uniform(3, 4), note="implicit result"),
    case("bhid,bhjd->bhij", uniform("N", 2, 3, 4), uniform("N", 2, 5, 4), note="attention"),
    case("bhij,bhjd->bihd", uniform("N", 2, 3, 4), uniform("N", 2, 4, 5), note="attention values"),
    case("i,j->ij", uniform("N"), uniform(3), note="outer"),
    case("ij,ij->ij", uniform("N", 3), uniform("N", 3), note="elementwise"),
    case("ijk->jk", uniform("N", 3, 2), note="sum"),
    case("ij->", uniform("N", 3), note="total"),
    case("ji", uniform("N", 3), note="transpose"),
    case("ii->i", uniform(3, 3), note="diagonal"),
    case("nii", uniform("N", 3, 3), note="batch of traces"),
    case("iij,jk->ik", uniform(3, 3, 2), uniform(2, "N"), note="diagonal product"),
    case("...ij,...jk->...ik", uniform("N", 2, 3, 4), uniform(4, 5), note="ellipsis"),
    case("...ij,...jk", uniform("N", 1, 3, 4), uniform(2, 4, 5), note="stretched ellipsis"),
    case("...i->...", uniform("N", 2, 3), note="rows"),
    case("ab,bc,cd->ad", uniform("N", 3), uniform(3, 4), uniform(4, 2), note="three"),
    case("ab,b,ac->c", uniform("N", 3), uniform(3), uniform("N", 4), note="three and a sum"),
    case("ij,k->i", uniform("N", 3), uniform(4), note="independent sums"),
    case("aB,Bc->ca", uniform("N", 3), uniform(3, 4), note="capital"),
    case(",ij->ij", uniform(), uniform("N", 3), note="number"),
    case("ij,jk->ik", integers("N", 3, low=-9, high=9), integers(3, 4, low=-9, high=9), note="integers"),
    case("ij,jk->ik", uniform("N", 3, dtype="float16"), uniform(3, 4, dtype="float16"), note="half", tolerance=3e-3),
    Case("Einsum", [uniform("N", 3, dtype="bfloat16"), uniform(3, 4, dtype="bfloat16")], {"equation": "ij,jk->ik"},
         version=28, judge=judge, tolerance=2e-2, note="bfloat16"),
]  # fmt: skip
