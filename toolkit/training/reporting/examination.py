"""An examination: data gone through once, to tell which items a network is most wrong about, and how classes mix.

What an item is wrong by is the probability that its labels do not get, or the mean distance of its targets. Outputs
that have no such reading (sequences of CTC, embeddings) are not examined; the figures remain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.graph.class_names import class_names
from toolkit.training.averages import Averages
from toolkit.training.data import Batches
from toolkit.training.losses import Loss
from toolkit.training.losses.loss import ONLY
from toolkit.training.metrics import ConfusionMatrix
from toolkit.training.run import Learner

Arrays = dict[str, np.ndarray]
HALF = 0.5


@dataclass(frozen=True)
class Example:
    """An item: its place in the data, how wrong it is, what it is and what it was taken for, and its inputs."""

    index: int
    badness: float
    truth: str
    answer: str
    feeds: Arrays


@dataclass(frozen=True)
class Examination:
    """``figures`` as of ``evaluate``; ``matrix`` where there are classes; the ``worst`` examples, the worst first."""

    items: int
    figures: dict[str, float]
    matrix: ConfusionMatrix | None
    worst: list[Example]


def examine(
    trainer: Learner, data: Any, *, worst: int = 12, batch_size: int = 64, names: Sequence[str] | None = None
) -> Examination:
    """Go through ``data`` with the network as it is, and keep the ``worst`` so many items.

    ``names`` are those of the classes, by default those in the model's metadata, or those of a folder of images.
    """
    batches = Batches.of(data, batch_size)
    reading = _Reading(trainer.loss, names or _names(trainer, batches))
    means, found, first = Averages(trainer.loss, trainer.loss.metrics(), apart=True), list[Example](), 0
    for feeds, labels, result in trainer.judge(batches):
        items = trainer.items(feeds)
        means.add(result.terms, result.outputs, labels, items)
        judgement = trainer.loss.judgements(result.outputs, labels).get(ONLY)
        if judgement is not None:
            found = sorted([*found, *reading.worst(*judgement, feeds, first, worst)], key=lambda item: -item.badness)[
                :worst
            ]
        first += items
    return Examination(first, means.result(), reading.matrix, found)


class _Reading:
    """How an output and its labels are read: as classes, as yes or no, or as values."""

    def __init__(self, loss: Loss, names: Sequence[str] | None) -> None:
        parts = getattr(loss, "losses", None)
        part: Loss = next(iter(parts.values())) if isinstance(parts, Mapping) else loss
        accuracy = part.metrics().get("accuracy")
        self.names = names
        self.axis, self.ignored = getattr(part, "axis", 1), getattr(part, "ignore_index", None)
        given = accuracy.keywords.get("threshold") if isinstance(accuracy, partial) else None
        self.threshold = getattr(part, "threshold", HALF) if given is None else float(given)
        self.matrix: ConfusionMatrix | None = None
        if accuracy is not None:
            self.matrix = ConfusionMatrix(names, axis=self.axis, ignore_index=self.ignored, threshold=self.threshold)

    def worst(self, output: np.ndarray, labels: np.ndarray, feeds: Arrays, first: int, most: int) -> list[Example]:
        """The worst ``most`` items of a batch that begins with item ``first``."""
        if self.matrix is not None:
            self.matrix.update(output, labels)
        badness = self._badness(output, labels)
        if badness is None:
            return []
        rows = np.argsort(-badness, kind="stable")[:most]
        return [
            Example(
                first + int(row),
                float(badness[row]),
                *self._told(output[row], labels[row]),
                {name: array[row].copy() for name, array in feeds.items() if len(array) == len(badness)},
            )
            for row in rows
            if badness[row] >= 0
        ]

    def _badness(self, output: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
        """How wrong each item is; negative where its labels are missing, ``None`` where that has no meaning."""
        if self.matrix is not None and labels.dtype.kind in "iu" and labels.ndim == output.ndim - 1:
            missing = labels < 0 if self.ignored is None else (labels < 0) | (labels == self.ignored)
            own = np.expand_dims(np.where(missing, 0, labels), self.axis)
            wrong = 1 - np.take_along_axis(_probabilities(output, self.axis), own, self.axis).squeeze(self.axis)
        elif labels.shape == output.shape and output.dtype.kind == "f":
            target = labels.astype(np.float64)
            given = _yes(output, self.threshold) if self.matrix is not None else output.astype(np.float64)
            missing = np.isnan(target)
            wrong = np.abs(np.where(missing, 0, given - target))
        else:
            return None
        real = (~missing).reshape(len(output), -1).sum(1)
        total = np.where(missing, 0, wrong).reshape(len(output), -1).sum(1)
        return np.where(real > 0, total / np.maximum(real, 1), -1.0)

    def _told(self, output: np.ndarray, labels: np.ndarray) -> tuple[str, str]:
        """What an item is, and what it was taken for."""
        if self.matrix is not None and labels.ndim == 0 and output.ndim == 1:
            probabilities = _probabilities(output[None], 1)[0]
            answer = int(probabilities.argmax())
            return self._name(int(labels)), f"{self._name(answer)} ({probabilities[answer]:.0%})"
        if labels.size == 1 and self.matrix is not None and output.size == 1:
            chance = float(_yes(output, self.threshold).reshape(-1)[0])
            return self._name(int(labels.reshape(-1)[0] > HALF)), f"{self._name(int(chance > HALF))} ({chance:.0%} yes)"
        return _shown(labels), _shown(output) if labels.shape == output.shape else f"{output.shape} scores"

    def _name(self, index: int) -> str:
        return self.names[index] if self.names is not None and 0 <= index < len(self.names) else str(index)


def _probabilities(output: np.ndarray, axis: int) -> np.ndarray:
    """Scores as probabilities; what is already such stays."""
    scores = output.astype(np.float64)
    if (scores >= 0).all() and np.allclose(scores.sum(axis), 1, atol=1e-3):
        return scores
    powers = np.exp(scores - scores.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def _yes(output: np.ndarray, threshold: float) -> np.ndarray:
    """Chances of a yes: as they are, or of logits, whose threshold is 0."""
    scores = output.astype(np.float64)
    return scores if threshold else 1 / (1 + np.exp(-scores.clip(-700, 700)))


def _shown(values: np.ndarray, most: int = 4) -> str:
    flat = values.reshape(-1)
    text = ", ".join(f"{value:.4g}" for value in flat[:most])
    return text if flat.size <= most else f"{text}, … ({flat.size} values)"


def _names(trainer: Learner, batches: Batches) -> Sequence[str] | None:
    if len(trainer.judged_outputs) == 1:
        known = class_names(trainer.network, trainer.judged_outputs[0])
        if known is not None:
            return known
    return getattr(batches.data, "classes", None)


def require_worst(worst: int) -> int:
    """``worst`` when it is a count, else ``InputError``."""
    if not isinstance(worst, int) or isinstance(worst, bool) or worst < 0:
        raise InputError(f"A report requires a count of worst examples of at least 0, got {worst!r}.")
    return worst
