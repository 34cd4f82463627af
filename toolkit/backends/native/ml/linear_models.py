"""LinearRegressor and LinearClassifier: a row of weights for each score, the answers written row by row.

Refused: transforms that ``scores`` does not serve, labels that are text where somebody reads them, what the reference
refuses, and what needs many products.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BOOLEAN, INDEX, Number
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.ml.rows import Row, Weights
from toolkit.backends.native.ml.scores import FLOAT32, MOST_SCORES, TRANSFORMS, Scores, put_label, with_opposite
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.ml.linear import class_count
from toolkit.operators.ml.rows import DOMAIN, row_shape

MOST_PRODUCTS = 1 << 22  # multiplications, about half a millisecond, from which two threads and the library win
REGRESSOR, CLASSIFIER = "LinearRegressor", "LinearClassifier"


def is_linear(node: Node) -> bool:
    """Whether the node is a linear model whose attributes fit together, with what is served here."""
    attributes = node.attributes
    if not is_of_numbers(node) or node.x.dtype == BOOLEAN or len(node.x.shape) > 2:
        return False
    if attributes.get("post_transform", "NONE") not in TRANSFORMS:
        return False
    targets, (rows, features) = _targets(node), row_shape(node.x.shape)
    if rows * features * targets > MOST_PRODUCTS:
        return False
    if not 0 < targets <= MOST_SCORES or len(attributes.get("coefficients") or ()) != targets * features:
        return False
    if node.op_type == REGRESSOR:
        return True
    strings, integers = (attributes.get(f"classlabels_{kind}") or () for kind in ("strings", "ints"))
    has_labels = bool(integers) or node.outputs[0] is None
    return has_labels and min(len(strings), len(integers)) == 0 and len(strings or integers) == max(targets, 2)


def _targets(node: Node) -> int:
    attributes = node.attributes
    if node.op_type == REGRESSOR:
        return int(attributes.get("targets", 1))
    features = row_shape(node.x.shape)[1]
    return class_count(attributes.get("intercepts"), attributes.get("coefficients"), features)


@kernel(DOMAIN, REGRESSOR, CLASSIFIER, accepts=is_linear)
def lower_linear(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Labels and scores, or what is regressed, of every row."""
    writer = _Linear(node)
    made = plain_layouts(node.outputs)
    given = plain(node.x.dtype, node.x.shape)
    return CompiledKernel(writer.code, [given], made, workspace=writer.workspace, tables=writer.tables)


class _Linear:
    """Writes the code of a model."""

    def __init__(self, node: Node) -> None:
        attributes = node.attributes
        rows, features = row_shape(node.x.shape)
        targets, intercepts = _targets(node), attributes.get("intercepts")
        values = np.asarray(attributes["coefficients"], np.float32).reshape(targets, features)
        self._weights = Weights(values)
        has_intercepts = intercepts is not None and len(intercepts) == targets
        offsets = np.asarray(intercepts if has_intercepts else np.zeros(targets), np.float32)
        labels = np.array(attributes.get("classlabels_ints") or [0], np.int64)
        self.tables = [self._weights.table, self._weights.padded(offsets), labels]
        self.workspace = self._weights.table.shape[1] * FLOAT32.itemsize
        made = [item is not None for item in node.outputs]
        self.code = Code(1 + sum(made) + 1 + len(self.tables))
        source, *places = self.code.places
        self._outputs = [places.pop(0) if is_there else "" for is_there in made]
        workspace, self._table, self._offsets, self._labels = places
        self._transform = attributes.get("post_transform", "NONE")
        self._is_classifier = node.op_type == CLASSIFIER
        self._row_of_features = Row(self.code, workspace, features, FLOAT32)
        self._sums = self.code.scratch(FLOAT32, self._weights.sums)
        with self.code.loop(rows) as row:
            self._row_of_features.copy(source, row * features, node.x.dtype)
            self._weights.multiply(self._row_of_features, self._table, self._put)
            self._answer(row, Scores(self.code, targets, FLOAT32, place=self._sums))

    def _put(self, at: Number, total: Number) -> None:
        self.code.store(total + self.code.load(self._offsets, at, FLOAT32), self._sums, at)

    def _answer(self, row: Number, scores: Scores) -> None:
        if not self._is_classifier:
            scores.transform(self._transform)
            scores.write(self._outputs[0], row * scores.count)
            return
        is_single = scores.count == 1
        label, target = (*self._outputs, "")[:2]
        if label:
            winner = (scores.get(0) > 0.0).converted(INDEX) if is_single else scores.winner()
            put_label(self.code, self._labels, winner, label, row)
        if not target:
            return
        if is_single:
            for at, score in enumerate(with_opposite(scores.get(0), self._transform, True)):
                self.code.store(score, target, row * 2 + at)
            return
        scores.transform(self._transform)
        scores.write(target, row * scores.count)
