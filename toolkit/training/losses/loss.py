"""What a loss is: a description of what a training run makes small. The session compiles it into the step.

A loss is a sum of terms, each a mean over real items: an ignored class index or a missing (NaN) target counts neither
in the sum nor in the number. ``Loss`` is the whole of what a trainer asks; ``OutputLoss`` is the usual case, one output
beside one array of labels, and what a loss of one's own derives from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from toolkit.errors import GraphError, InputError, TrainingError
from toolkit.operators.expression import Expression
from toolkit.operators.record import TensorType
from toolkit.runtime.training_program import LABELS, Labels, label_arrays
from toolkit.training.metrics import AnyMetric

Arrays = dict[str, np.ndarray]
Judgement = tuple[np.ndarray, np.ndarray]  # an output, and the labels beside it
ONLY = ""  # the name of the term of a loss that has no parts
ALONE: Mapping[str, float] = MappingProxyType({ONLY: 1.0})


class Loss(ABC):
    """A loss by description.

    Outputs and labels go by name: the names of the network's outputs, and those of the inputs that the step gets for
    its labels, which are ``labels`` or start with ``labels.``.
    """

    @property
    def weights(self) -> Mapping[str, float]:
        """How much each term counts in the loss."""
        return ALONE

    @abstractmethod
    def judged(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """Which of the network's ``outputs`` it reads. Raises ``GraphError`` when that is not clear."""

    @abstractmethod
    def label_types(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        """Element type and shape of each array of labels, for outputs of these ``types``.

        Raises ``ShapeError`` when the loss cannot judge such outputs.
        """

    @abstractmethod
    def terms(self, outputs: Mapping[str, Expression], labels: Mapping[str, Expression]) -> dict[str, Expression]:
        """The terms by name, each a scalar float32 expression."""

    @abstractmethod
    def accepted(self, labels: Any, types: Mapping[str, TensorType], feeds: Arrays) -> Labels:
        """The user's labels as ``label_types`` demands; labels that were accepted already pass as they are.

        ``types`` are those of the judged outputs for this batch, ``feeds`` its inputs. Raises ``InputError`` naming the
        remedy when the labels do not fit.
        """

    @abstractmethod
    def counts(self, labels: Labels, items: int) -> dict[str, float]:
        """How many real items a batch of ``items`` holds for each term: its weight in a mean over batches."""

    def feeds(self, x: Any, labels: Any, inputs: Sequence[str]) -> tuple[Any, Any]:
        """What a user hands in, sorted into the network's ``inputs`` and the labels of the loss."""
        return x, labels

    def judgements(self, outputs: Mapping[str, np.ndarray], labels: Labels) -> dict[str, Judgement]:
        """What metrics compare: by term the output and its labels, by ``""`` those for whoever names no term."""
        return {}

    def metrics(self) -> Mapping[str, AnyMetric]:
        """What ``evaluate`` and ``fit`` report beside the loss unless told otherwise."""
        return {}

    @property
    def _name(self) -> str:
        return type(self).__name__


class OutputLoss(Loss):
    """A loss of a single output, named by ``output`` where the network has several, beside one array of labels.

    A loss of one's own says what labels it wants, checks them, and writes the mean with expressions:

        class LogCosh(tk.losses.OutputLoss):
            def labels(self, dtype, shape):
                return np.dtype(np.float32), shape

            def accept(self, labels, dtype, shape):
                return np.asarray(labels, np.float32).reshape(shape)

            def build(self, output, labels):
                return tk.emit("ReduceMean", tk.emit("Log", tk.emit("Cosh", output - labels)), keepdims=0)

    ``count`` says how many real items accepted labels hold, where that is not their number.
    """

    def __init__(self, *, output: str | None = None) -> None:
        self.output = output

    @abstractmethod
    def labels(self, dtype: np.dtype, shape: tuple[int, ...]) -> TensorType:
        """Element type and shape that the labels must have for an output of ``dtype`` and ``shape``.

        Raises ``ShapeError`` when the loss cannot judge such an output.
        """

    @abstractmethod
    def accept(self, labels: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """The user's labels as ``labels`` demands. Raises ``InputError`` naming the remedy when they do not fit."""

    @abstractmethod
    def build(self, output: Expression, labels: Expression) -> Expression:
        """The loss as a scalar float32 expression: the mean over real items."""

    def count(self, labels: np.ndarray) -> float:
        """How many real items accepted ``labels`` hold: the weight of this batch in a mean over batches."""
        return int(labels.size)

    def judged(self, outputs: Sequence[str]) -> tuple[str, ...]:
        return (one_output(type(self).__name__, "output", self.output, outputs),)

    def label_types(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        return {LABELS: self.labels(*sole(types))}

    def terms(self, outputs: Mapping[str, Expression], labels: Mapping[str, Expression]) -> dict[str, Expression]:
        return {ONLY: self.build(sole(outputs), labels[LABELS])}

    def accepted(self, labels: Any, types: Mapping[str, TensorType], feeds: Arrays) -> Labels:
        if labels is None:
            raise InputError(f"{self._name} requires labels, got none. Pass (x, labels).")
        return self.accept(labels, *sole(types))

    def counts(self, labels: Labels, items: int) -> dict[str, float]:
        return {ONLY: self.count(label_arrays(labels)[LABELS])}

    def judgements(self, outputs: Mapping[str, np.ndarray], labels: Labels) -> dict[str, Judgement]:
        name = next(iter(outputs)) if self.output is None else self.output
        return {ONLY: (outputs[name], label_arrays(labels)[LABELS])}

    @property
    def _name(self) -> str:
        return type(self).__name__ + (f"(output={self.output!r})" if self.output else "")


def one_output(loss: str, option: str, wanted: str | None, outputs: Sequence[str]) -> str:
    """The output that ``option`` names, or the only one. Raises ``GraphError`` when that is not clear."""
    if wanted is None and len(outputs) == 1:
        return outputs[0]
    if wanted is None or wanted not in outputs:
        raise GraphError(
            f"{loss}({option}={wanted!r}): the network has the outputs {list(outputs)}. "
            f"Name one of them with {option}=."
        )
    return wanted


def sole(items: Mapping[str, Any]) -> Any:
    """The only item of a mapping that is known to have one."""
    (item,) = items.values()
    return item


def require_choice(loss: str, option: str, value: Any, choices: Sequence[Any]) -> Any:
    """``value`` when it is among ``choices``, else ``TrainingError``."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise TrainingError(f"{loss}: {option} requires one of {listed}, got {value!r}. Pass one of them.")
    return value


def require_number(loss: str, option: str, value: Any, low: float, high: float = float("inf")) -> float:
    """``value`` as a float in [low, high], else ``TrainingError``."""
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or not np.isfinite(value):
        raise TrainingError(f"{loss}: {option} requires a number in [{low:g}, {high:g}], got {value!r}. Change it.")
    return float(value)


__all__ = ["Judgement", "Loss", "OutputLoss", "one_output", "require_choice", "require_number", "sole"]
