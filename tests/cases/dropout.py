"""Cases of ``toolkit.operators.standard.dropout``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, booleans, constant, uniform

X = uniform("N", 3, 4)


def judge(x: Any, *, ratio: float) -> Any:
    """Everything passes. The mask is left open by ONNX before version 12 (onnxruntime fills in zeros)."""
    return x, np.ones_like(x)


def judge_boolean(x: Any, *, ratio: float) -> Any:
    """Version 10 has a boolean mask."""
    return x, np.ones(x.shape, bool)


CASES = [
    Case("Dropout", [X], {"ratio": 0.3, "is_test": 1}, version=6, outputs=2, seeded=[0], note="test"),
    Case("Dropout", [X], {"ratio": 0.3}, version=6, outputs=2, seeded=[0], note="training"),
    Case("Dropout", [X], {"is_test": 1, "consumed_inputs": [0]}, version=1, note="one output"),
    Case("Dropout", [X], {"ratio": 0.3}, version=7, outputs=2, seeded=[0], judge=judge),
    Case("Dropout", [X], {"ratio": 0.3}, version=10, outputs=2, seeded=[0], judge=judge_boolean),
    Case("Dropout", [X], version=12, note="inference"),
    Case(
        "Dropout",
        [X, constant(0.3), constant(True)],
        {"seed": 3},
        version=13,
        outputs=2,
        seeded=[0],
        differentiable=[0],
        note="training",
    ),
    Case(
        "MaskedScale",
        [X, booleans("N", 3, 4)],
        {"scale": 1.25},
        version=1,
        domain="toolkit",
        judge=lambda g, mask, scale: g * mask * scale,
    ),
]
