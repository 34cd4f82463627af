"""What the families of ``ai.onnx.ml`` share: the domain, inputs as rows of features, the shape rules that follow.

ONNX's own inference of this domain leaves most shapes open, so every operator brings its rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.operators.record import TensorType

DOMAIN = "ai.onnx.ml"

FLOAT = np.dtype(np.float32)
STRING = np.dtype(object)
Types = Sequence[TensorType | None]
Rule = Callable[[Types, dict[str, Any], Any], list[TensorType]]


def as_rows(x: np.ndarray) -> np.ndarray:
    """``x`` as (rows, features); a vector is one row. Raises ``ValueError`` for other ranks."""
    return x.reshape(row_shape(x.shape))


def row_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and features of an input of that shape. Raises ``ValueError`` unless it has rank 1 or 2."""
    if len(shape) not in (1, 2):
        raise ValueError(f"the input must be (rows, features) or one row, got the shape {tuple(shape)}")
    return (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])


def first(types: Types) -> TensorType:
    """The type of the first input."""
    assert types[0] is not None
    return types[0]


def infer_same(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    """The type of the input."""
    return [first(types)]


def infer_float(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    """float32 in the shape of the input."""
    return [(FLOAT, first(types)[1])]


def narrowed(x: np.ndarray) -> np.ndarray:
    """``x`` in float32, which is what this domain computes in where it does not say otherwise."""
    return x.astype(np.float32, copy=False)
