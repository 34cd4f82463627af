"""SVMRegressor and SVMClassifier: kernels of the input with support vectors, weighted, one classifier per pair.

Without support vectors both are linear, the classifier with one row of weights per class. All is computed in float64.
As in onnxruntime, SVMRegressor answers without a post_transform whatever the attribute says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import NotDifferentiableError
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, as_expression, reshape
from toolkit.operators.ml.class_labels import Integers, Strings, classified, labels_of, one_of
from toolkit.operators.ml.coupling import coupled
from toolkit.operators.ml.kernels import kernel, through_kernel
from toolkit.operators.ml.packing import Packing
from toolkit.operators.ml.post_transform import through_opposite, through_transform, transformed, with_opposite
from toolkit.operators.ml.rows import DOMAIN, FLOAT, Types, as_rows, first, narrowed, row_shape
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.special_functions import sigmoid

Floats = Sequence[float] | None


def _array(values: Floats) -> np.ndarray:
    return np.asarray([] if values is None else values, np.float64)


@dataclass(frozen=True, slots=True)
class Machine:
    """``kernel(x, vectors) @ weight.T + offset`` with vectors (count, features) and weight (decisions, count).

    Without vectors (``None``) the weight (decisions, features) meets ``x`` itself.
    """

    vectors: np.ndarray | None
    weight: np.ndarray
    offset: np.ndarray

    def decisions(self, x: np.ndarray, kernel_type: str, kernel_params: Floats) -> np.ndarray:
        """(rows, decisions) in float64."""
        rows = narrowed(as_rows(x)).astype(np.float64)
        features = (self.weight if self.vectors is None else self.vectors).shape[1]
        if rows.shape[1] != features:
            raise ValueError(f"the input must have {features} features, got {rows.shape[1]}")
        if self.vectors is not None:
            rows = kernel(rows, self.vectors, kernel_type, kernel_params)
        return np.asarray(rows @ self.weight.T + self.offset)

    def gradient(self, call: Call, g: Expression) -> list[Expression | None]:
        """The gradient of the input from that of the decisions."""
        x = reshape(call.x, row_shape(call.x.shape))
        weighted = cast(g, x.dtype) @ as_expression(self.weight.astype(x.dtype), x)
        if self.vectors is not None:
            name, given = call.attribute("kernel_type", "LINEAR"), call.attribute("kernel_params")
            weighted = through_kernel(weighted, x, self.vectors, name, given)
        return [reshape(weighted, call.x.shape)]


def _regression(coefficients: Floats, rho: Floats, support_vectors: Floats, n_supports: int) -> Machine:
    weight, offset = _array(coefficients).reshape(1, -1), _array(rho)[:1]
    if not weight.size or not offset.size:
        raise ValueError("coefficients and rho must not be empty")
    if not n_supports:
        return Machine(None, weight, offset)
    if weight.size != n_supports:
        raise ValueError(f"{n_supports} support vectors need as many coefficients, got {weight.size}")
    return Machine(_table(support_vectors, n_supports), weight, offset)


def _table(support_vectors: Floats, count: int) -> np.ndarray:
    values = _array(support_vectors)
    if values.size % count:
        raise ValueError(f"support_vectors must have a multiple of {count} elements, got {values.size}")
    return values.reshape(count, -1)


def _classification(
    coefficients: Floats,
    rho: Floats,
    support_vectors: Floats,
    vectors_per_class: Sequence[int] | None,
    classlabels: Sequence[str] | Sequence[int],
) -> Machine:
    values, offset, classes = _array(coefficients), _array(rho), len(classlabels)
    counts = list(vectors_per_class or ())
    count, pairs = sum(counts), _pairs(classes)
    if not count:
        if not offset.size or not values.size or values.size % classes:
            raise ValueError(f"a linear machine needs rho and weights for {classes} classes, got {values.size} weights")
        return Machine(None, values.reshape(classes, -1), offset[:1])
    if len(counts) != classes or values.size != (classes - 1) * count or offset.size < len(pairs):
        raise ValueError(
            f"{classes} classes of {count} support vectors need as many counts in vectors_per_class, "
            f"{(classes - 1) * count} coefficients and {len(pairs)} values in rho, "
            f"got {len(counts)}, {values.size} and {offset.size}"
        )
    table, starts = values.reshape(classes - 1, count), np.cumsum([0, *counts])
    weight = np.zeros((len(pairs), count))
    for pair, (i, j) in enumerate(pairs):
        of_i, of_j = slice(starts[i], starts[i + 1]), slice(starts[j], starts[j + 1])
        weight[pair, of_i], weight[pair, of_j] = table[j - 1, of_i], table[i, of_j]
    return Machine(_table(support_vectors, count), weight, offset[: len(pairs)])


def _pairs(classes: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(classes) for j in range(i + 1, classes)]


REGRESSION, CLASSIFICATION = Packing(_regression), Packing(_classification)


def svm_regressor(
    x: np.ndarray,
    *,
    coefficients: Floats = None,
    kernel_params: Floats = None,
    kernel_type: str = "LINEAR",
    n_supports: int = 0,
    one_class: int = 0,
    post_transform: str = "NONE",
    rho: Floats = None,
    support_vectors: Floats = None,
) -> np.ndarray:
    """(rows, 1): the regressed value, or 1 for an inlier and -1 for an outlier of a one-class machine."""
    machine = REGRESSION(coefficients, rho, support_vectors, n_supports)
    decided = machine.decisions(x, kernel_type, kernel_params)
    return narrowed(np.where(decided > 0, 1.0, -1.0) if one_class else decided)


def _infer_regressor(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    return [(FLOAT, (row_shape(first(types)[1])[0], 1))]


def _regressor_gradient(call: Call, g: Expression) -> list[Expression | None]:
    if call.attribute("one_class", 0):
        raise NotDifferentiableError("SVMRegressor with one_class answers with a sign, which has no slope.")
    names = ("coefficients", "rho", "support_vectors")
    machine = REGRESSION(*map(call.attribute, names), call.attribute("n_supports", 0))
    return machine.gradient(call, g)


def svm_classifier(
    x: np.ndarray,
    *,
    classlabels_ints: Integers = None,
    classlabels_strings: Strings = None,
    coefficients: Floats = None,
    kernel_params: Floats = None,
    kernel_type: str = "LINEAR",
    post_transform: str = "NONE",
    prob_a: Floats = None,
    prob_b: Floats = None,
    rho: Floats = None,
    support_vectors: Floats = None,
    vectors_per_class: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores: probabilities per class where ``prob_a`` is given, else the decision of every pair.

    Of two classes the decision d is given as -d and d. Pairs vote for the label; a linear machine has one score per
    class, and the highest decides.
    """
    labels = labels_of(classlabels_strings, classlabels_ints)
    given = classlabels_strings or classlabels_ints
    machine = CLASSIFICATION(coefficients, rho, support_vectors, vectors_per_class, given)
    decided = machine.decisions(x, kernel_type, kernel_params)
    if machine.vectors is None:
        return _highest(decided, labels, machine, bool(prob_a)), transformed(narrowed(decided), post_transform)
    chosen = labels[_votes(decided, len(labels)).argmax(axis=1)]
    if prob_a:
        probabilities = coupled(_pairwise(decided, _array(prob_a), _array(prob_b), len(labels)))
        return chosen, transformed(narrowed(probabilities), post_transform)
    scores = narrowed(decided)
    if len(labels) == 2:
        return chosen, with_opposite(scores[:, 0], post_transform, post_transform != "NONE")
    return chosen, transformed(scores, post_transform)


def _highest(scores: np.ndarray, labels: np.ndarray, machine: Machine, has_probabilities: bool) -> np.ndarray:
    """The label of the highest score; of two classes the second wins whenever any score speaks for a class."""
    chosen = scores.argmax(axis=1)
    if len(labels) == 2 and not has_probabilities:
        highest = scores.max(axis=1)
        chosen[highest >= 0.5 if (machine.weight >= 0).all() else highest > 0] = 1
    return labels[chosen]


def _votes(decided: np.ndarray, classes: int) -> np.ndarray:
    votes = np.zeros((len(decided), classes), np.int64)
    for pair, (i, j) in enumerate(_pairs(classes)):
        wins = decided[:, pair] > 0
        votes[:, i] += wins
        votes[:, j] += ~wins
    return votes


def _pairwise(decided: np.ndarray, slope: np.ndarray, offset: np.ndarray, classes: int) -> np.ndarray:
    """Platt's probability of i against j, for all pairs."""
    pairs = _pairs(classes)
    if slope.size < len(pairs) or offset.size < len(pairs):
        raise ValueError(f"prob_a and prob_b need {len(pairs)} elements, got {slope.size} and {offset.size}")
    found = np.zeros((len(decided), classes, classes))
    for pair, (i, j) in enumerate(pairs):
        found[:, i, j] = sigmoid(-(decided[:, pair] * slope[pair] + offset[pair]))
        found[:, j, i] = 1 - found[:, i, j]
    return found


def _has_pairs(attributes: dict[str, Any]) -> bool:
    return any(attributes.get("vectors_per_class") or ()) and not attributes.get("prob_a")


def _infer_classifier(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    labels = one_of(attributes, "classlabels_strings", "classlabels_ints")
    columns = max(len(_pairs(len(labels))), 2) if _has_pairs(attributes) else len(labels)
    return classified(row_shape(first(types)[1])[0], labels, columns)


def _classifier_gradient(call: Call, _: Expression | None, g: Expression | None) -> list[Expression | None]:
    scores, attributes = call.outputs[1], call.attributes
    if g is None or scores is None:
        return [None]
    if attributes.get("prob_a"):
        raise NotDifferentiableError(
            "SVMClassifier finds its probabilities by iteration, which has no gradient: train on a model without "
            "prob_a and prob_b, whose scores are the decisions."
        )
    names = ("coefficients", "rho", "support_vectors", "vectors_per_class")
    labels = attributes.get("classlabels_strings") or attributes.get("classlabels_ints")
    machine = CLASSIFICATION(*map(attributes.get, names), labels)
    name, y = call.attribute("post_transform", "NONE"), cast(scores, g.dtype)
    if machine.weight.shape[0] < scores.shape[1]:
        return machine.gradient(call, through_opposite(g, y, name))
    return machine.gradient(call, through_transform(g, y, name))


operator(
    "SVMRegressor",
    domain=DOMAIN,
    reference=svm_regressor,
    gradient=_regressor_gradient,
    infer=_infer_regressor,
    host_only="its vectors are attributes",
)
operator(
    "SVMClassifier",
    domain=DOMAIN,
    reference=svm_classifier,
    gradient=_classifier_gradient,
    infer=_infer_classifier,
    host_only="its vectors are attributes",
)
