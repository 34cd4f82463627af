"""LinearRegressor and LinearClassifier: weights and intercepts in attributes, one row of weights per target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, as_expression, reshape
from toolkit.operators.ml.class_labels import Integers, Strings, classified, labels_of, one_of
from toolkit.operators.ml.packing import Packing
from toolkit.operators.ml.post_transform import through_opposite, through_transform, transformed, with_opposite
from toolkit.operators.ml.rows import DOMAIN, FLOAT, Types, as_rows, first, narrowed, row_shape
from toolkit.operators.record import Call, TensorType, operator

Floats = Sequence[float] | None
SINGLE = Packing(lambda values: np.asarray(values, np.float32))


def weight_rows(coefficients: Floats, features: int, targets: int) -> np.ndarray:
    """(targets, features). Raises ``ValueError`` when the coefficients do not have that many elements."""
    values = SINGLE(coefficients) if coefficients is not None else np.zeros(0, np.float32)
    if values.size != targets * features:
        raise ValueError(f"{targets} x {features} coefficients are required, got {values.size}")
    return values.reshape(targets, features)


def _linear(x: np.ndarray, coefficients: Floats, intercepts: Floats, targets: int) -> np.ndarray:
    rows = narrowed(as_rows(x))
    scores = rows @ weight_rows(coefficients, rows.shape[1], targets).T
    if intercepts is not None and len(intercepts) == targets:
        scores += SINGLE(intercepts)
    return np.asarray(scores)


def linear_regressor(
    x: np.ndarray,
    *,
    coefficients: Floats = None,
    intercepts: Floats = None,
    targets: int = 1,
    post_transform: str = "NONE",
) -> np.ndarray:
    """(rows, targets); intercepts of another number than ``targets`` are left out, as in onnxruntime."""
    return transformed(_linear(x, coefficients, intercepts, targets), post_transform)


def _infer_regressor(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    return [(FLOAT, (row_shape(first(types)[1])[0], int(attributes.get("targets", 1))))]


def _through_weight(call: Call, g: Expression, targets: int) -> list[Expression | None]:
    x = call.x
    weight = weight_rows(call.attribute("coefficients"), row_shape(x.shape)[1], targets)
    return [reshape(cast(g, x.dtype) @ as_expression(weight.astype(x.dtype), x), x.shape)]


def _regressor_gradient(call: Call, g: Expression) -> list[Expression | None]:
    g = through_transform(g, cast(call.y, g.dtype), call.attribute("post_transform", "NONE"))
    return _through_weight(call, g, int(call.attribute("targets", 1)))


def class_count(intercepts: Floats, coefficients: Floats, features: int) -> int:
    """How many rows of weights a classifier has: as many as intercepts, else what the coefficients suffice for."""
    return len(intercepts) if intercepts else len(coefficients or ()) // max(features, 1)


def linear_classifier(
    x: np.ndarray,
    *,
    coefficients: Floats,
    intercepts: Floats = None,
    classlabels_strings: Strings = None,
    classlabels_ints: Integers = None,
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the highest scores, and the scores (rows, classes).

    One row of weights decides between two classes by the sign; the scores are then 1 - s and s.
    """
    labels = labels_of(classlabels_strings, classlabels_ints)
    targets = class_count(intercepts, coefficients, row_shape(x.shape)[1])
    if len(labels) != max(targets, 2):
        raise ValueError(f"{targets} rows of weights need {max(targets, 2)} labels, got {len(labels)}")
    scores = _linear(x, coefficients, intercepts, targets)
    if targets == 1:
        return labels[(scores[:, 0] > 0).astype(np.int64)], with_opposite(scores[:, 0], post_transform, True)
    return labels[scores.argmax(axis=1)], transformed(scores, post_transform)


def _infer_classifier(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    rows, features = row_shape(first(types)[1])
    labels = one_of(attributes, "classlabels_strings", "classlabels_ints")
    targets = class_count(attributes.get("intercepts"), attributes.get("coefficients"), features)
    return classified(rows, labels, max(targets, 2))


def _classifier_gradient(call: Call, _: Expression | None, g: Expression | None) -> list[Expression | None]:
    scores = call.outputs[1]
    if g is None or scores is None:
        return [None]
    name, y = call.attribute("post_transform", "NONE"), cast(scores, g.dtype)
    targets = class_count(call.attribute("intercepts"), call.attribute("coefficients"), row_shape(call.x.shape)[1])
    g = through_opposite(g, y, name) if targets < y.shape[1] else through_transform(g, y, name)
    return _through_weight(call, g, targets)


operator(
    "LinearRegressor",
    domain=DOMAIN,
    reference=linear_regressor,
    gradient=_regressor_gradient,
    infer=_infer_regressor,
    host_only="its weights are attributes",
)
operator(
    "LinearClassifier",
    domain=DOMAIN,
    reference=linear_classifier,
    gradient=_classifier_gradient,
    infer=_infer_classifier,
    host_only="its weights are attributes",
)
