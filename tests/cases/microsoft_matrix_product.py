"""Cases of ``toolkit.operators.microsoft.matrix_product``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tests.support.case import contributed as row
from tests.support.case import uniform
from toolkit.operators.special_functions import erf


def judge_activation(a: Any, b: Any, *, alpha: float, transB: int, activation: str, activation_alpha: float) -> Any:
    """onnxruntime has no kernel of it on the CPU."""
    y = alpha * (a @ b.swapaxes(-1, -2))
    return np.where(y > 0, y, activation_alpha * y)


def judge_fast_gelu(x: Any, w: Any, bias: Any) -> Any:
    """The approximation is within 1e-3 of Gelu."""
    y = x @ w + bias
    return y * (1 + erf(y / np.sqrt(2).astype(y.dtype))) / 2


A, B = uniform("N", 3, 4), uniform("N", 4, 5)
CASES = [
    row("FusedMatMul", A, B),
    row("FusedMatMul", uniform("N", 4, 3), uniform(5, 4), transA=1, transB=1, alpha=0.25, note="transposed"),
    row("FusedMatMul", uniform(4), uniform("N", 4, 2), transA=1, note="vector"),
    row("FusedMatMul", uniform(3, "N", 4), B, transBatchA=1, note="batch of the first factor"),
    row("FusedMatMul", A, uniform(5, "N", 4), transBatchB=1, transB=1, note="batch of the second factor, transposed"),
    row("FusedMatMul", uniform(3, "N", 2, 4), uniform("N", 2, 4, 5), transBatchA=1, note="two batch axes"),
    row("TransposeMatMul", uniform("N", 4, 3), B, transA=1, alpha=2.0),
    row(
        "FusedMatMulActivation",
        A,
        uniform("N", 5, 4),
        alpha=0.5,
        transB=1,
        activation="LeakyRelu",
        activation_alpha=0.1,
        judge=judge_activation,
    ),
    row("FusedGemm", uniform("N", 4), uniform(4, 5), uniform(5), activation="Relu"),
    row("FusedGemm", uniform("N", 4), uniform(5, 4), transB=1, alpha=0.5, activation="Tanh", note="without addend"),
    row(
        "FusedGemm",
        uniform("N", 4),
        uniform(4, 5),
        uniform(5),
        beta=0.5,
        activation="LeakyRelu",
        activation_alpha=0.2,
        note="leaky",
    ),
    row(
        "FusedGemm",
        uniform("N", 4),
        uniform(4, 5),
        uniform(5),
        activation="HardSigmoid",
        activation_alpha=0.3,
        activation_beta=0.4,
        note="hard sigmoid",
    ),
    replace(row("GemmFastGelu", uniform("N", 3, 4), uniform(4, 5), uniform(5), judge=judge_fast_gelu), tolerance=2e-3),
]
