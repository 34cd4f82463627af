"""Cases of ``toolkit.operators.standard.global_pooling``."""

from __future__ import annotations

import numpy as np

from tests.support.case import Case, spread, uniform


def judge_norm(x: np.ndarray, *, p: float = 2) -> np.ndarray:
    """onnxruntime computes it too; onnx.reference lacks it."""
    flat = np.abs(x.astype(np.float64)).reshape(*x.shape[:2], -1)
    norms = [[sum(item**p for item in channel) ** (1 / p) for channel in image] for image in flat]
    return np.asarray(norms).reshape(*x.shape[:2], *(1,) * (x.ndim - 2)).astype(x.dtype)


CASES = [
    Case("GlobalAveragePool", [uniform("N", 3, 4, 5)], version=1),
    Case("GlobalAveragePool", [uniform("N", 3, 4)], note="one axis"),
    Case("GlobalMaxPool", [spread("N", 3, 4, 5)], version=1),
    Case("GlobalMaxPool", [spread("N", 2, 2, 3, 4)], note="three axes"),
    Case("GlobalLpPool", [uniform("N", 3, 4, 5)], {"p": 2.5}, version=1, note="p 2.5", judge=judge_norm),
    Case("GlobalLpPool", [uniform("N", 3, 4, 5)], version=2),
    Case("GlobalLpPool", [uniform("N", 3, 4)], {"p": 3}, note="p 3", judge=judge_norm),
    Case("GlobalLpPool", [uniform("N", 3, 4)], {"p": 1}, note="p 1", judge=judge_norm),
]
