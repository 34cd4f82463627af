"""Scaler, Normalizer, Binarizer, Imputer and FeatureVectorizer: features made comparable, complete and one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.operators.derivative import cast, masked
from toolkit.operators.expression import Expression, as_expression, emit, indices, reduce_sum, reshape, where
from toolkit.operators.ml.rows import (
    DOMAIN,
    FLOAT,
    Types,
    as_rows,
    first,
    infer_float,
    infer_same,
    narrowed,
    row_shape,
)
from toolkit.operators.record import Call, TensorType, not_differentiable, operator

NORMS = ("MAX", "L1", "L2")


def per_feature(values: Sequence[Any] | None, shape: Sequence[int], name: str, dtype: Any) -> np.ndarray:
    """One value for all, or one for each position of axis 1 (in a vector: each element), to broadcast."""
    array = np.asarray([] if values is None else values, dtype)
    axis = 0 if len(shape) == 1 else 1
    if not shape or array.size not in (1, shape[axis]):
        raise ValueError(f"{name} must have one element or one per feature of {tuple(shape)}, got {array.size}")
    return array.reshape(array.size, *(1,) * (len(shape) - axis - 1))


def scaler(x: np.ndarray, *, offset: Sequence[float] | None = None, scale: Sequence[float] | None = None) -> np.ndarray:
    """(x - offset) * scale in float32, from whatever type the input has."""
    kind = np.float64 if x.dtype == np.float64 else np.float32
    shift, factor = (per_feature(item, x.shape, name, kind) for item, name in ((offset, "offset"), (scale, "scale")))
    return narrowed(np.asarray((x.astype(kind, copy=False) - shift) * factor))


def _scaler_gradient(call: Call, g: Expression) -> list[Expression | None]:
    factor = per_feature(call.attribute("scale"), call.x.shape, "scale", call.x.dtype)
    return [cast(g, call.x.dtype) * as_expression(factor, call.x)]


def normalizer(x: np.ndarray, *, norm: str = "MAX") -> np.ndarray:
    """Every row over its largest element, its sum of magnitudes or its length; rows where that is 0 stay."""
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    rows = as_rows(x)
    rows = rows if rows.dtype == np.float64 else narrowed(rows)
    if norm == "MAX":
        size = rows.max(axis=1, keepdims=True, initial=np.finfo(np.float32).min)
    elif norm == "L1":
        size = np.abs(rows).sum(axis=1, keepdims=True)
    else:
        size = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return narrowed(rows / np.where(size == 0, np.ones((), rows.dtype), size)).reshape(x.shape)


def _infer_normalizer(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    row_shape(first(types)[1])
    return infer_float(types, attributes, _)


def _normalizer_gradient(call: Call, g: Expression) -> list[Expression | None]:
    norm, shape = call.attribute("norm", "MAX"), row_shape(call.x.shape)
    x, g, y = reshape(call.x, shape), reshape(cast(g, call.x.dtype), shape), reshape(cast(call.y, call.x.dtype), shape)
    if norm == "MAX":
        size = emit("ReduceMax", x, indices(x, [1]), keepdims=1)
        largest = cast(emit("Equal", x, size), x.dtype)
        slope = largest / reduce_sum(largest, [1])
    elif norm == "L1":
        size, slope = reduce_sum(emit("Abs", x), [1]), emit("Sign", x)
    else:
        size, slope = emit("Sqrt", reduce_sum(x * x, [1])), y
    stays = emit("Equal", size, 0.0)
    inner = where(stays, 0.0, reduce_sum(g * y, [1]))
    return [reshape((g - slope * inner) / where(stays, 1.0, size), call.x.shape)]


def binarizer(x: np.ndarray, *, threshold: float = 0.0) -> np.ndarray:
    """1 where an element is above the threshold, else 0."""
    return (x > np.float32(threshold)).astype(x.dtype)


def imputer(
    x: np.ndarray,
    *,
    imputed_value_floats: Sequence[float] | None = None,
    imputed_value_int64s: Sequence[int] | None = None,
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> np.ndarray:
    """Elements equal to the replaced value, which may be NaN, become the imputed value of their feature."""
    given = {"imputed_value_floats": imputed_value_floats, "imputed_value_int64s": imputed_value_int64s}
    values = imputed_values(x.shape, given, x.dtype)
    imputed = per_feature(values, x.shape, "the imputed value of the input's kind", x.dtype)
    replaced = replaced_value_float if x.dtype.kind == "f" else replaced_value_int64
    return np.where(_is_replaced(x, replaced), imputed, x)


def imputed_values(shape: Sequence[int], attributes: Mapping[str, Any], dtype: np.dtype) -> Sequence[Any] | None:
    """The values for inputs of a type; as in onnxruntime the first one where there is not one for each feature."""
    values: Sequence[Any] | None = attributes.get(f"imputed_value_{'floats' if dtype.kind == 'f' else 'int64s'}")
    if values is not None and len(values) > 1 and len(values) != shape[min(1, len(shape) - 1)]:
        return values[:1]
    return values


def _is_replaced(x: np.ndarray, value: float) -> np.ndarray:
    return np.isnan(x) if np.isnan(value) else np.asarray(x == np.asarray(value, x.dtype))


def _imputer_gradient(call: Call, g: Expression) -> list[Expression | None]:
    value = call.attribute("replaced_value_float", 0.0)
    found = emit("IsNaN", call.x) if np.isnan(value) else emit("Equal", call.x, float(value))
    return [masked(emit("Not", found), g)]


def feature_vectorizer(*inputs: np.ndarray, inputdimensions: Sequence[int] | None = None) -> np.ndarray:
    """The inputs beside each other in float32, each cut or filled with zeros to the width given for it."""
    tables = [narrowed(x.reshape(_table_shape(x.shape))) for x in inputs]
    widths = _widths([table.shape for table in tables], inputdimensions)
    y = np.zeros((tables[0].shape[0], sum(widths)), np.float32)
    for table, end, width in zip(tables, np.cumsum(widths), widths, strict=True):
        kept = min(width, table.shape[1])
        y[:, end - width : end - width + kept] = table[:, :kept]
    return y


def _table_shape(shape: Sequence[int]) -> tuple[int, int]:
    return (1, shape[0]) if len(shape) == 1 else (shape[0], int(np.prod(shape[1:], dtype=np.int64)))


def _widths(shapes: Sequence[tuple[int, ...]], given: Sequence[int] | None) -> list[int]:
    if len({rows for rows, _ in shapes}) != 1:
        raise ValueError(f"all inputs must have as many rows, got {[rows for rows, _ in shapes]}")
    widths = [width for _, width in shapes] if given is None else [int(width) for width in given]
    if len(widths) != len(shapes) or min(widths) < 0:
        raise ValueError(f"inputdimensions must be a width for each of the {len(shapes)} inputs, got {given}")
    return widths


def _infer_feature_vectorizer(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    shapes = [_table_shape(item[1]) for item in types if item is not None]
    return [(FLOAT, (shapes[0][0], sum(_widths(shapes, attributes.get("inputdimensions")))))]


def _feature_vectorizer_gradient(call: Call, g: Expression) -> list[Expression | None]:
    found: list[Expression | None] = []
    shapes = [_table_shape(item.shape) for item in call.inputs if item is not None]
    widths = _widths(shapes, call.attribute("inputdimensions"))
    for x, wants, end, width, (rows, own) in zip(
        call.inputs, call.wants, np.cumsum(widths).tolist(), widths, shapes, strict=True
    ):
        if not wants or x is None:
            found.append(None)
            continue
        kept = min(width, own)
        part = emit("Slice", g, indices(g, [end - width]), indices(g, [end - width + kept]), indices(g, [1]))
        if kept < own:
            part = emit("Concat", part, np.zeros((rows, own - kept), g.dtype), axis=1)
        found.append(reshape(cast(part, x.dtype), x.shape))
    return found


operator(
    "Scaler",
    domain=DOMAIN,
    reference=scaler,
    gradient=_scaler_gradient,
    infer=infer_float,
    host_only="its numbers are attributes",
)
operator(
    "Normalizer",
    domain=DOMAIN,
    reference=normalizer,
    gradient=_normalizer_gradient,
    infer=_infer_normalizer,
    host_only="it prepares the input of models that stay there",
)
operator(
    "Binarizer",
    domain=DOMAIN,
    reference=binarizer,
    gradient=not_differentiable("it is constant on both sides of its threshold", slope_is_zero=True),
    infer=infer_same,
)
operator(
    "Imputer",
    domain=DOMAIN,
    reference=imputer,
    gradient=_imputer_gradient,
    infer=infer_same,
    host_only="its numbers are attributes",
)
operator(
    "FeatureVectorizer",
    domain=DOMAIN,
    reference=feature_vectorizer,
    gradient=_feature_vectorizer_gradient,
    infer=_infer_feature_vectorizer,
    host_only="it prepares the input of models that stay there",
)
