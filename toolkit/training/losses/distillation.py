"""Distillation: a network learns from the answers of another one, its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import GraphError, InputError, TrainingError
from toolkit.graph.network import Network
from toolkit.operators.expression import Expression, emit, reduce_sum
from toolkit.operators.record import TensorType
from toolkit.runtime.training_program import LABELS, Labels, label_arrays
from toolkit.training.losses.expressions import (
    FLOAT,
    SMALLEST_PROBABILITY,
    as_float32,
    class_axis_second,
    input_of,
    require_float,
    safe_log,
)
from toolkit.training.losses.loss import Arrays, Judgement, Loss, one_output, require_number
from toolkit.training.metrics.metric import AnyMetric

TEACHER, TEACHER_LABELS = "teacher", f"{LABELS}.teacher"


class Distillation(Loss):
    """alpha * T^2 * KL(softmax(teacher / T), softmax(output / T)) + (1 - alpha) * loss (Hinton et al., 2015).

    The teacher runs in a context of its own (one for each batch size, kept), in inference semantics, on the inputs that
    the network gets; it is never changed.

    - ``teacher``: its inputs are among the network's, by name; or both have one. Its output ``teacher_output`` (the
      only one by default) has the shape of the judged ``output``: (batch, ..., classes, ...), classes on ``axis``
    - ``loss``: judges the labels, on the same output or another; without one there are no labels, and alpha is 1
    - ``temperature``: T, above 0. ``alpha``: in [0, 1], how much the teacher counts
    - ``probabilities=True``: both outputs have passed a softmax already
    - ``backend``, ``threads``: where the teacher runs

    The terms are ``teacher`` (T^2 times the mean divergence over items) and those of ``loss``.
    """

    def __init__(
        self,
        teacher: Network,
        loss: Loss | None = None,
        *,
        temperature: float = 2.0,
        alpha: float = 0.5,
        output: str | None = None,
        teacher_output: str | None = None,
        probabilities: bool = False,
        axis: int = 1,
        backend: str | Sequence[str] = "cpu",
        threads: int | None = None,
    ) -> None:
        if not isinstance(teacher, Network) or not (loss is None or isinstance(loss, Loss)):
            wrong = loss if isinstance(teacher, Network) else teacher
            raise TrainingError(
                f"Distillation requires a Network as teacher and a loss of tk.losses or None, got {wrong!r}. "
                "Load the teacher with importers.load."
            )
        self.teacher, self.loss, self.axis, self.probabilities = teacher, loss, axis, probabilities
        self.output = output if output is not None else getattr(loss, "output", None)
        self.temperature = require_number(self._name, "temperature", temperature, 1e-3)
        self.alpha = 1.0 if loss is None else require_number(self._name, "alpha", alpha, 0, 1)
        self._teacher_output = one_output(self._name, "teacher_output", teacher_output, list(teacher.outputs))
        self._where: dict[str, Any] = {"backend": backend, "threads": threads}

    @property
    def weights(self) -> Mapping[str, float]:
        others = {} if self.loss is None else self.loss.weights
        return {TEACHER: self.alpha, **{self._title(name): (1 - self.alpha) * part for name, part in others.items()}}

    def judged(self, outputs: Sequence[str]) -> tuple[str, ...]:
        mine = one_output(self._name, "output", self.output, outputs)
        others = () if self.loss is None else self.loss.judged(outputs)
        return tuple(dict.fromkeys((mine, *others)))

    def label_types(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        dtype, shape = next(iter(types.values()))
        require_float(self._name, dtype, shape)
        others = {} if self.loss is None else self.loss.label_types(self._part(types))
        return {TEACHER_LABELS: (FLOAT, shape), **others}

    def terms(self, outputs: Mapping[str, Expression], labels: Mapping[str, Expression]) -> dict[str, Expression]:
        output, heat = next(iter(outputs.values())), 1.0 / self.temperature
        if self.probabilities:
            before = input_of(output, "Softmax", self.axis)
            output = safe_log(output) if before is None else before
        student, taught = (
            emit("LogSoftmax", class_axis_second(as_float32(item), self.axis) * heat, axis=1)
            for item in (output, labels[TEACHER_LABELS])
        )
        divergence = reduce_sum(emit("Exp", taught) * (taught - student), [1], keepdims=False)
        mean = emit("ReduceMean", divergence, keepdims=0) * self.temperature**2
        if self.loss is None:
            return {TEACHER: mean}
        others = {name: item for name, item in labels.items() if name != TEACHER_LABELS}
        rest = self.loss.terms(self._part(outputs), others)
        return {TEACHER: mean, **{self._title(name): term for name, term in rest.items()}}

    def accepted(self, labels: Any, types: Mapping[str, TensorType], feeds: Arrays) -> Labels:
        _, shape = next(iter(types.values()))
        if isinstance(labels, Mapping) and TEACHER_LABELS in labels:
            return labels  # accepted already, the teacher has been asked
        taught = self._ask(feeds)
        if taught.shape != shape:
            raise InputError(
                f"{self._name}: the teacher gives {self._teacher_output!r} {taught.shape}, where the network gives "
                f"{shape}. Name outputs of equal shapes with output= and teacher_output=."
            )
        if self.loss is None:
            return {TEACHER_LABELS: taught}
        return {TEACHER_LABELS: taught, **label_arrays(self.loss.accepted(labels, self._part(types), feeds))}

    def counts(self, labels: Labels, items: int) -> dict[str, float]:
        arrays = label_arrays(labels)
        taught = arrays[TEACHER_LABELS]
        others = {} if self.loss is None else self.loss.counts(self._rest(arrays), items)
        own = taught.size // taught.shape[self.axis]
        return {TEACHER: own, **{self._title(name): count for name, count in others.items()}}

    def judgements(self, outputs: Mapping[str, np.ndarray], labels: Labels) -> dict[str, Judgement]:
        if self.loss is None:
            return {}
        return dict(self.loss.judgements(self._part(outputs), self._rest(label_arrays(labels))))

    def metrics(self) -> Mapping[str, AnyMetric]:
        return {} if self.loss is None else self.loss.metrics()

    def _ask(self, feeds: Arrays) -> np.ndarray:
        """What the teacher says to a batch, as scores."""
        inputs = list(self.teacher.inputs)
        if len(inputs) == 1 and len(feeds) == 1:
            feeds = {inputs[0]: next(iter(feeds.values()))}
        missing = [name for name in inputs if name not in feeds]
        if missing:
            raise GraphError(
                f"{self._name}: the teacher has the inputs {inputs}, and the network has no {missing}. "
                "Rename the inputs of one of them."
            )
        given = {name: feeds[name] for name in inputs}
        found = self.teacher.run(given, outputs=[self._teacher_output], **self._where)[self._teacher_output]
        scores = found.astype(np.float32)
        return np.log(np.maximum(scores, SMALLEST_PROBABILITY)) if self.probabilities else scores

    def _part(self, items: Mapping[str, Any]) -> dict[str, Any]:
        return {} if self.loss is None else {name: items[name] for name in self.loss.judged(list(items))}

    def _rest(self, arrays: Mapping[str, np.ndarray]) -> Labels:
        rest = {name: array for name, array in arrays.items() if name != TEACHER_LABELS}
        return rest[LABELS] if list(rest) == [LABELS] else rest

    @staticmethod
    def _title(name: str) -> str:
        return name or "labels"
