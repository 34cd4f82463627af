"""Cases of ``toolkit.operators.standard.linear``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cases.activation import naive_activation
from tests.support.case import Case, integers, uniform


def judge(
    a: Any,
    b: Any,
    bias: Any = None,
    residual: Any = None,
    *,
    transA: int = 0,
    transB: int = 0,
    swapA: int = 0,
    swapB: int = 0,
    swapY: int = 0,
    alpha: float = 1.0,
    **rest: Any,
) -> np.ndarray:
    """FusedMatMul by its definition, in float64; h are the heads, where there are any."""
    left, right, result = "ki" if transA else "ik", "jk" if transB else "kj", "ij"
    if swapA or swapB or swapY:
        left, right, result = (
            text[0] + "h" + text[1] if flag else "h" + text
            for text, flag in ((left, swapA), (right, swapB), (result, swapY))
        )
    y = alpha * np.einsum(f"...{left},...{right}->...{result}", a.astype(np.float64), b.astype(np.float64))
    y = y + (0.0 if bias is None else bias) + (0.0 if residual is None else residual)
    return naive_activation(y, **rest).astype(a.dtype)


def fused(note: str, *inputs: Any, **attributes: Any) -> Case:
    """A FusedMatMul."""
    return Case("FusedMatMul", inputs, attributes, version=1, domain="toolkit", judge=judge, note=note)


def gemm(version: int, trans_a: int, trans_b: int) -> Case:
    """A Gemm with everything but the batch axis, which transposition moves about."""
    a = uniform(4, "N") if trans_a else uniform("N", 4)
    b = uniform(5, 4) if trans_b else uniform(4, 5)
    attributes = {"transA": trans_a, "transB": trans_b, "alpha": 0.5, "beta": 2.0}
    return Case("Gemm", [a, b, uniform(1, 5)], attributes, version=version, note=f"flags {trans_a}{trans_b}")


CASES = [
    Case("MatMul", [uniform("N", 4), uniform(4, 5)], version=1),
    Case("MatMul", [uniform("N", 3, 4), uniform(4, 5)], version=9, note="batch times matrix"),
    Case("MatMul", [uniform("N", 1, 3, 4), uniform(2, 4, 5)], note="broadcast"),
    Case("MatMul", [uniform(3, 4), uniform("N", 4, 5)], note="matrix times batch"),
    Case("MatMul", [uniform(4), uniform(4)], note="vectors"),
    Case("MatMul", [uniform("N", 3, 4), uniform(4)], note="times vector"),
    Case("MatMul", [uniform(4), uniform("N", 4, 5)], note="vector times"),
    Case("MatMul", [integers("N", 4, low=-5, high=5), integers(4, 3, low=-5, high=5)], note="integers"),
    *(gemm(version, *flags) for version, flags in zip((7, 9, 11, 13), ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)),
    Case(
        "Gemm",
        [uniform("N", 4), uniform(5, 4), uniform(5)],
        {"broadcast": 1, "transB": 1, "alpha": 0.5, "beta": 2.0},
        version=6,
        judge=lambda a, b, c, **_: 0.5 * a @ b.T + 2 * c,
    ),
    Case("Gemm", [uniform("N", 4), uniform(4, 5), uniform("N", 5)], version=1, judge=lambda a, b, c: a @ b + c),
    Case("Gemm", [uniform("N", 4), uniform(4, 5)], note="no bias"),
    Case("Gemm", [uniform("N", 4), uniform(4, 5), uniform("N", 1)], note="bias per row"),
    Case("Gemm", [uniform("N", 4), uniform(4, 5), uniform()], note="bias for all"),
    fused("plain", uniform("N", 4), uniform(4, 5)),
    fused("all", uniform("N", 4), uniform(5, 4), uniform(5), uniform("N", 5), transB=1, alpha=0.5, activation="Tanh"),
    fused("weight", uniform("N", 3, 4), uniform(4, 5), uniform(5), activation="Gelu"),
    fused("turned weight", uniform("N", 3, 4), uniform(5, 4), transB=1),
    fused("turned input", uniform("N", 4, 3), uniform(4, 5), transA=1),
    fused("attention", uniform("N", 2, 3, 4), uniform("N", 2, 5, 4), transB=1, alpha=0.25),
    fused("both turned", uniform("N", 1, 4, 3), uniform(2, 5, 4), None, uniform(1, 2, 1, 5), transA=1, transB=1),
    fused("heads behind", uniform("N", 3, 2, 4), uniform("N", 5, 2, 4), swapA=1, swapB=1, transB=1, alpha=0.25),
    fused("heads moved back", uniform("N", 2, 3, 5), uniform("N", 5, 2, 4), uniform(4), swapB=1, swapY=1),
    fused(
        "everything exchanged",
        uniform("N", 4, 2, 3),
        uniform("N", 5, 2, 4),
        None,
        uniform("N", 3, 2, 5),
        **dict.fromkeys(("transA", "transB", "swapA", "swapB", "swapY"), 1),
    ),
]
