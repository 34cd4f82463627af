"""Gradient of ai.onnx.preview.training: derivatives of one value of a graph by others, asked for by the model itself.

The node of a program has the variables to differentiate by and, last, the one to differentiate as its inputs; automatic
differentiation replaces it before anything is executed, so there is no kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.record import TensorType, operator, resolved_by_binding

GRADIENT = ("ai.onnx.preview.training", "Gradient")


def infer_gradient(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """A derivative has the type of what it is taken by."""
    found = [item for item in types[:-1] if item is not None]
    y = types[-1]
    if y is None or y[0].kind not in "fV" or any(dtype.kind not in "fV" for dtype, _ in found):
        raise ValueError("y and all of xs must be floating-point tensors")
    return found


def unexpanded(*inputs: np.ndarray, **attributes: Any) -> Any:
    """Never called: ``toolkit.autodiff.expand_gradients`` replaces the node."""
    raise ValueError("Gradient is not executed but replaced by the derivatives that it asks for")


operator(
    GRADIENT[1],
    domain=GRADIENT[0],
    reference=unexpanded,
    gradient=resolved_by_binding("replaced by the derivatives that it asks for"),
    infer=infer_gradient,
)
