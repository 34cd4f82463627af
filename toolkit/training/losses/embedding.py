"""Losses of embeddings: directions that should agree, and distances that should order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import InputError, ShapeError, TrainingError
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, emit, reduce_sum, reshape, where
from toolkit.operators.record import TensorType
from toolkit.runtime.training_program import LABELS, Labels, label_arrays
from toolkit.training.labels import class_indices, real_targets, signs_as_shares
from toolkit.training.losses.classes import REDUCTIONS
from toolkit.training.losses.expressions import (
    FLOAT,
    INT64,
    as_float32,
    at_least,
    mean_of_real,
    quotient,
    require_float,
    scalar,
    total,
)
from toolkit.training.losses.loss import ONLY, Arrays, Judgement, Loss, one_output, require_choice, require_number, sole

SMALLEST_SQUARE = 1e-12  # added to squared lengths, as in PyTorch
FAR = 1e30  # farther than any distance between embeddings


class Cosine(Loss):
    """1 - cos(output, target) along ``axis``, or ``torch.nn.CosineEmbeddingLoss`` of two outputs.

    - output (batch, ..., features, ...), labels vectors of the same shape; a vector with a NaN is missing
    - with ``other``, the name of a second output of the same shape: labels (batch, ...) without the axis, 1 (or yes)
      where the two should agree and -1 (or 0) where they should not, which costs max(0, cos - margin)
    - ``reduction``: ``"mean"`` over real vectors, or their ``"sum"``
    """

    def __init__(
        self,
        *,
        output: str | None = None,
        other: str | None = None,
        margin: float = 0.0,
        axis: int = -1,
        reduction: str = "mean",
    ) -> None:
        self.output, self.other, self.axis = output, other, axis
        self.margin = require_number("Cosine", "margin", margin, -1, 1)
        self.reduction = require_choice("Cosine", "reduction", reduction, REDUCTIONS)

    def judged(self, outputs: Sequence[str]) -> tuple[str, ...]:
        if self.other is None:
            return (one_output(self._name, "output", self.output, outputs),)
        return tuple(
            one_output(self._name, option, name or "", outputs)
            for option, name in (("output", self.output), ("other", self.other))
        )

    def label_types(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        kinds = list(types.values())
        for dtype, shape in kinds:
            require_float(self._name, dtype, shape)
            if len(shape) < 2 or not -len(shape) <= self.axis < len(shape) or self.axis % len(shape) == 0:
                raise ShapeError(
                    f"{self._name} requires outputs (batch, ..., features, ...) with features on axis {self.axis}, got "
                    f"{shape}. Change axis=, or judge another output."
                )
        shape = kinds[0][1]
        require_equal_shapes(self._name, types)
        axis = self.axis % len(shape)
        return {LABELS: (FLOAT, shape if self.other is None else shape[:axis] + shape[axis + 1 :])}

    def accepted(self, labels: Any, types: Mapping[str, TensorType], feeds: Arrays) -> Labels:
        targets = real_targets(self._name, labels, self.label_types(types)[LABELS][1])
        return targets if self.other is None else signs_as_shares(self._name, targets)

    def terms(self, outputs: Mapping[str, Expression], labels: Mapping[str, Expression]) -> dict[str, Expression]:
        x, *others = (as_float32(item) for item in outputs.values())
        given = labels[LABELS]
        missing = emit("IsNaN", given)
        known = where(missing, scalar(0), given)
        if others:
            cosine = self._cosine(x, others[0])
            values = where(emit("Greater", known, scalar(0.5)), 1.0 - cosine, at_least(cosine - self.margin, 0))
        else:
            values = 1.0 - self._cosine(x, known)
            gaps = emit("ReduceMax", cast(missing, FLOAT), np.asarray([self.axis]), keepdims=0)
            missing = emit("Greater", gaps, scalar(0.5))
        return {ONLY: mean_of_real(values, emit("Not", missing), self.reduction)}

    def counts(self, labels: Labels, items: int) -> dict[str, float]:
        missing = np.isnan(label_arrays(labels)[LABELS])
        real = ~(missing if self.other is not None else missing.any(self.axis))
        return {ONLY: 1 if self.reduction == "sum" else int(np.count_nonzero(real))}

    def judgements(self, outputs: Mapping[str, np.ndarray], labels: Labels) -> dict[str, Judgement]:
        if self.other is not None:
            return {}
        return {ONLY: (outputs[self.output or next(iter(outputs))], label_arrays(labels)[LABELS])}

    def _cosine(self, one: Expression, other: Expression) -> Expression:
        product, first, second = (
            reduce_sum(a * b, [self.axis], keepdims=False) for a, b in ((one, other), (one, one), (other, other))
        )
        return product / emit("Sqrt", (first + SMALLEST_SQUARE) * (second + SMALLEST_SQUARE))


class Triplet(Loss):
    """max(0, margin + distance to what is alike - distance to what is not).

    - ``anchor``, ``positive``, ``negative``: names of three outputs (batch, ..., features), as
      ``torch.nn.TripletMarginLoss``; there are no labels. ``swap`` takes the nearer of anchor and positive to the
      negative.
    - without them: one output (batch, features) beside labels (batch,) of class indices; each item is compared with the
      farthest one of its class and the nearest one of another in the batch (Hermans et al., 2017, batch hard)
    - ``power``: of the norm that distances are, above 0
    - ``reduction``: ``"mean"`` over triplets, or their ``"sum"``
    """

    def __init__(
        self,
        margin: float = 1.0,
        *,
        anchor: str | None = None,
        positive: str | None = None,
        negative: str | None = None,
        output: str | None = None,
        power: float = 2.0,
        epsilon: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        names = (anchor, positive, negative)
        if any(names) and not all(names):
            raise TrainingError(
                f"Triplet requires all of anchor, positive and negative, got {names}. Name all or none."
            )
        self.names = tuple(name for name in names if name)
        self.output, self.swap = output, swap
        self.margin = require_number("Triplet", "margin", margin, 0)
        self.power = require_number("Triplet", "power", power, 1e-3)
        self.epsilon = require_number("Triplet", "epsilon", epsilon, 0)
        self.reduction = require_choice("Triplet", "reduction", reduction, REDUCTIONS)

    def judged(self, outputs: Sequence[str]) -> tuple[str, ...]:
        if not self.names:
            return (one_output(self._name, "output", self.output, outputs),)
        options = zip(("anchor", "positive", "negative"), self.names, strict=True)
        return tuple(one_output(self._name, option, name, outputs) for option, name in options)

    def label_types(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        for dtype, shape in types.values():
            require_float(self._name, dtype, shape)
        if self.names:
            require_equal_shapes(self._name, types)
            return {}
        ((_, shape),) = types.values()
        if len(shape) != 2:
            raise ShapeError(
                f"{self._name} requires an output (batch, features), got {shape}. Flatten it, or judge another output."
            )
        return {LABELS: (INT64, shape[:1])}

    def accepted(self, labels: Any, types: Mapping[str, TensorType], feeds: Arrays) -> Labels:
        kinds = self.label_types(types)
        if self.names:
            if labels is not None and not (isinstance(labels, Mapping) and not labels):
                raise InputError(f"{self._name} of three outputs has no labels, got some. Pass (x, None).")
            return {}
        return class_indices(self._name, labels, kinds[LABELS][1], np.iinfo(np.int64).max, 1, None)

    def terms(self, outputs: Mapping[str, Expression], labels: Mapping[str, Expression]) -> dict[str, Expression]:
        if not self.names:
            return {ONLY: self._hardest(as_float32(sole(outputs)), labels[LABELS])}
        anchor, positive, negative = (as_float32(outputs[name]) for name in self.names)
        apart = self._distance(anchor, negative)
        if self.swap:
            apart = emit("Min", apart, self._distance(positive, negative))
        values = at_least(self._distance(anchor, positive) - apart + self.margin, 0)
        return {ONLY: mean_of_real(values, None, self.reduction)}

    def counts(self, labels: Labels, items: int) -> dict[str, float]:
        if self.reduction == "sum":
            return {ONLY: 1}
        if self.names:
            return {ONLY: items}
        classes = label_arrays(labels)[LABELS]
        alike = classes[:, None] == classes
        return {ONLY: int(np.count_nonzero((alike.sum(1) > 1) & ~alike.all(1)))}

    def _hardest(self, x: Expression, labels: Expression) -> Expression:
        size, features = x.shape
        distance = self._distance(reshape(x, (size, 1, features)), reshape(x, (1, size, features)))
        alike = emit("Equal", reshape(labels, (size, 1)), reshape(labels, (1, size)))
        itself = np.eye(size, dtype=bool)
        others = where(emit("And", alike, ~itself), distance, scalar(-FAR))
        farthest = emit("ReduceMax", others, np.asarray([1]), keepdims=0)
        nearest = emit("ReduceMin", where(alike, scalar(FAR), distance), np.asarray([1]), keepdims=0)
        both = emit("And", emit("GreaterOrEqual", farthest, scalar(0)), emit("Less", nearest, scalar(FAR / 2)))
        values = where(both, at_least(farthest - nearest + self.margin, 0), scalar(0))
        summed = total(values)
        return summed if self.reduction == "sum" else quotient(summed, total(cast(both, FLOAT)))

    def _distance(self, one: Expression, other: Expression) -> Expression:
        difference = one - other + self.epsilon
        if self.power == 2:
            return emit("Sqrt", reduce_sum(difference * difference, [-1], keepdims=False))
        powers = emit("Pow", emit("Abs", difference), scalar(self.power))
        return emit("Pow", reduce_sum(powers, [-1], keepdims=False), scalar(1 / self.power))


def require_equal_shapes(name: str, types: Mapping[str, TensorType]) -> None:
    """Raise ``ShapeError`` unless all outputs have one shape."""
    shapes = {output: shape for output, (_, shape) in types.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError(f"{name} requires outputs of equal shapes, got {shapes}. Judge other outputs.")
