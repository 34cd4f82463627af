"""Tensors out of nothing or out of shapes: Constant, ConstantOfShape, Range, EyeLike, Shape, Size. No gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.graph.sparse import SparseTensor
from toolkit.operators import wire
from toolkit.operators.axes import known
from toolkit.operators.precision import HALF_WIDTH
from toolkit.operators.record import TensorType, not_differentiable, operator

FIXED = not_differentiable("its values depend on nothing that can be learnt", slope_is_zero=True)
FROM_SHAPE = not_differentiable("it answers with a shape, which does not depend on the values")


def constant(**attributes: Any) -> np.ndarray:
    """The one value that the attributes hold."""
    ((name, value),) = attributes.items()
    if isinstance(value, SparseTensor):
        return value.dense()
    if name == "value":
        return np.asarray(value)
    dtype = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    return np.asarray(value, dtype=dtype.get(name, object))


def infer_constant(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """Type and shape of the value. Raises ``ValueError`` unless exactly one attribute holds one."""
    if len(attributes) != 1:
        raise ValueError(f"exactly one attribute must hold the value, got {sorted(attributes)}")
    made = constant(**attributes)
    return [(made.dtype, made.shape)]


def constant_of_shape(shape: np.ndarray, *, value: Any = None) -> np.ndarray:
    """A tensor of one value, float32 zeros by default."""
    fill = np.zeros(1, np.float32) if value is None else np.asarray(value)
    return np.full(tuple(int(size) for size in shape), fill.reshape(-1)[0], dtype=fill.dtype)


def span(start: np.ndarray, limit: np.ndarray, delta: np.ndarray, *, stash_type: int = 1) -> np.ndarray:
    """Numbers from ``start`` in steps of ``delta``, before ``limit``; half-width ones computed in ``stash_type``."""
    first, step = np.asarray(start).reshape(()), np.asarray(delta).reshape(())
    count = span_length(start, limit, delta)
    if first.dtype.kind in "iu":
        return (first + step * np.arange(count)).astype(first.dtype)
    wide = wire.element_dtype(stash_type) if first.dtype in HALF_WIDTH else np.dtype(np.float64)
    return (first.astype(wide) + step.astype(wide) * np.arange(count).astype(wide)).astype(first.dtype)


def span_length(start: Any, limit: Any, delta: Any) -> int:
    """How many numbers Range gives. Raises ``ValueError`` for a step of 0."""
    first, last, step = (np.asarray(item).reshape(-1)[0].item() for item in (start, limit, delta))
    if step == 0:
        raise ValueError("the step must not be 0")
    return max(0, math.ceil((last - first) / step))


def infer_span(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """ONNX's own rule does not cover half precision."""
    assert types[0] is not None
    bounds = [known(item, name) for item, name in zip(constants, ("start", "limit", "delta"), strict=True)]
    return [(types[0][0], (span_length(*bounds),))]


def eye_like(x: np.ndarray, *, dtype: int | None = None, k: int = 0) -> np.ndarray:
    """Ones on the ``k``-th diagonal of a matrix as large as ``x``."""
    kind = x.dtype if dtype is None else wire.element_dtype(dtype)
    rows, columns = x.shape
    return np.eye(rows, columns, k, dtype=np.float32, like=x).astype(kind)


def shape_of(x: np.ndarray, *, start: int = 0, end: int | None = None) -> np.ndarray:
    """The sizes of ``x``, or of its axes from ``start`` to before ``end``."""
    return np.asarray(x.shape[start:end], dtype=np.int64)


def size_of(x: np.ndarray) -> np.ndarray:
    """How many elements ``x`` has."""
    return np.asarray(x.size, dtype=np.int64)


operator("Constant", reference=constant, gradient=FIXED, infer=infer_constant)
operator("ConstantOfShape", since=9, reference=constant_of_shape, gradient=FIXED, host_inputs=(0,))
operator("Range", since=11, reference=span, gradient=FIXED, infer=infer_span, host_inputs=(0, 1, 2))
operator("EyeLike", since=9, reference=eye_like, gradient=FIXED)
operator("Shape", reference=shape_of, gradient=FROM_SHAPE, host_only="it needs no content")
operator("Size", reference=size_of, gradient=FROM_SHAPE, host_only="it needs no content")
