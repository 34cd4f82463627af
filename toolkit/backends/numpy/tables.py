"""Direct numpy kernels of ai.onnx.ml on tables of float32: Scaler, Normalizer, LinearRegressor, LinearClassifier.

Their attributes become arrays when they are bound. Refused, so left to the reference: other element types, attributes
that it has to complain of, and a single row of weights that decides between two classes.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from toolkit.backends.numpy.bound import Arrays, Direct, Lower
from toolkit.backends.protocol import Step
from toolkit.compiler.program import Node
from toolkit.operators.ml.class_labels import labels_of
from toolkit.operators.ml.linear import class_count, weight_rows
from toolkit.operators.ml.post_transform import NAMES, transformed
from toolkit.operators.ml.rows import DOMAIN, row_shape
from toolkit.operators.ml.scaling import NORMS, per_feature

SINGLE = np.dtype(np.float32)
ONE = np.float32(1)


def _is_table(node: Node) -> bool:
    return node.x.dtype == SINGLE and len(node.x.shape) in (1, 2) and node.x.size > 0


def _scaler(node: Node) -> Direct | None:
    if node.x.dtype != SINGLE:
        return None
    given = [(node.attributes.get(name), node.x.shape, name, SINGLE) for name in ("offset", "scale")]

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        x, y = inputs[0], outputs[0]
        shift, factor = (per_feature(*item) for item in given)

        def step() -> None:
            np.subtract(x, shift, out=y)
            np.multiply(y, factor, out=y)

        return step

    return Direct(bind, in_place=((0, 0),))


def _normalizer(node: Node) -> Direct | None:
    norm = node.attributes.get("norm", "MAX")
    if not _is_table(node) or norm not in NORMS:
        return None
    shape = row_shape(node.x.shape)

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        rows, y = inputs[0].reshape(shape), outputs[0].reshape(shape)
        size, magnitudes = np.empty((shape[0], 1), SINGLE), np.empty(shape, SINGLE)
        if norm == "MAX":
            measure = partial(np.maximum.reduce, rows, axis=1, keepdims=True, out=size, initial=np.finfo(SINGLE).min)
        else:
            measure = partial(np.add.reduce, magnitudes, axis=1, keepdims=True, out=size)

        def step() -> None:
            if norm != "MAX":
                (np.absolute if norm == "L1" else np.square)(rows, out=magnitudes)
            measure()
            if norm == "L2":
                np.sqrt(size, out=size)
            np.copyto(size, ONE, where=size == 0)
            np.divide(rows, size, out=y)

        return step

    return Direct(bind)


def _linear(node: Node) -> Direct | None:
    """The scores, and for a classifier the labels of the highest."""
    attributes, is_classifier = node.attributes, node.op_type == "LinearClassifier"
    name = attributes.get("post_transform", "NONE")
    if not _is_table(node) or name not in NAMES or attributes.get("coefficients") is None or None in node.outputs:
        return None
    rows, features = row_shape(node.x.shape)
    intercepts, coefficients = attributes.get("intercepts"), attributes["coefficients"]
    targets = class_count(intercepts, coefficients, features) if is_classifier else int(attributes.get("targets", 1))
    words = attributes.get("classlabels_strings"), attributes.get("classlabels_ints")
    if is_classifier and (targets < 2 or sum(len(item or ()) for item in words) != targets):
        return None
    has_shift = intercepts is not None and len(intercepts) == targets

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        x, target = inputs[0].reshape(rows, features), outputs[-1]
        weight = np.ascontiguousarray(weight_rows(coefficients, features, targets).T)
        shift = np.asarray(intercepts, SINGLE) if has_shift else None
        labels = labels_of(*words) if is_classifier else None
        scores = target if name == "NONE" else np.empty((rows, targets), SINGLE)

        def step() -> None:
            np.matmul(x, weight, out=scores)
            if shift is not None:
                np.add(scores, shift, out=scores)
            if labels is not None:
                np.copyto(outputs[0], labels.take(scores.argmax(axis=1)))
            if name != "NONE":
                np.copyto(target, transformed(scores, name))

        return step

    return Direct(bind)


TABLES: dict[tuple[str, str], Lower] = {
    (DOMAIN, "Scaler"): _scaler,
    (DOMAIN, "Normalizer"): _normalizer,
    (DOMAIN, "LinearRegressor"): _linear,
    (DOMAIN, "LinearClassifier"): _linear,
}
