"""Metrics of classes: the confusion matrix, and what can be read off it.

An output is (batch, ..., classes, ...) with classes on ``axis`` beside class indices of the shape without it, or
probabilities of the shape of the output (their largest counts). An output of one class, or of the shape of its labels,
answers yes or no: above ``threshold``. Labels of ``ignore_index``, negative and NaN ones are missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.training.metrics.window import Rows

AVERAGES = ("macro", "micro", "weighted", None)


class ConfusionMatrix:
    """How many items of each class (rows) were taken for each class (columns).

    ``result`` is the accuracy; ``counts`` is the matrix, int64 (classes, classes). ``str`` and rich print it as a table
    with precision, recall and F1 of every class.

    - ``names``: of the classes, for printing
    - ``window``: judge the last so many items only, ``None`` for all
    - ``threshold``: above it the output of a yes-or-no question is a yes: 0.5 for probabilities, 0 for logits
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        *,
        axis: int = 1,
        ignore_index: int | None = None,
        threshold: float = 0.5,
        window: int | None = None,
    ) -> None:
        self.names = None if names is None else [str(name) for name in names]
        self.axis, self.ignore_index, self.threshold = axis, ignore_index, threshold
        self._recent = Rows(window)
        self._counts = np.zeros((0, 0), np.int64)

    def start(self) -> None:
        """Forget everything."""
        self._counts = np.zeros((0, 0), np.int64)
        self._recent.clear()

    def update(self, output: np.ndarray, labels: np.ndarray) -> None:
        """Take in a batch. Raises ``InputError`` for labels that do not belong to such an output."""
        pairs, classes = decided(output, labels, self.axis, self.ignore_index, self.threshold)
        if self._recent.window is not None:
            self._recent.append(pairs)
        before = len(self._counts)
        size = max(before, classes)
        if size > before:
            self._counts = np.pad(self._counts, (0, size - before))
        if self._recent.window is None:
            self._counts += _counted(pairs, size)

    def result(self) -> float:
        return self.accuracy

    @property
    def counts(self) -> np.ndarray:
        """The matrix: ``counts[actual, predicted]``."""
        if self._recent.window is None:
            return self._counts.copy()
        return _counted(self._recent.joined().reshape(-1, 2).astype(np.int64), len(self._counts))

    @property
    def accuracy(self) -> float:
        """The part of all items that were taken for what they are; NaN without any."""
        counts = self.counts
        return _ratio(np.trace(counts), counts.sum())

    def precision(self, average: str | None = "macro") -> Any:
        """Of what was taken for a class, the part that is; see ``scores`` for ``average``."""
        return self._averaged(0, average)

    def recall(self, average: str | None = "macro") -> Any:
        """Of what is of a class, the part that was taken for it."""
        return self._averaged(1, average)

    def f1(self, average: str | None = "macro") -> Any:
        """The harmonic mean of both."""
        return self._averaged(2, average)

    def scores(self) -> np.ndarray:
        """Precision, recall and F1 of every class: float64 (3, classes); 0 where nothing could be judged.

        An average over them is ``"macro"`` (each class counts alike), ``"weighted"`` (by how often it occurs),
        ``"micro"`` (each item counts alike), or ``None`` for all of them. Classes that neither occur nor were answered
        are left out of macro, as in scikit-learn.
        """
        counts = self.counts.astype(np.float64)
        hits, answered, actual = np.diag(counts), counts.sum(0), counts.sum(1)
        pairs = ((hits, answered), (hits, actual), (2 * hits, answered + actual))
        return np.array([np.divide(a, b, out=np.zeros_like(a), where=b > 0) for a, b in pairs])

    def _averaged(self, which: int, average: str | None) -> Any:
        if average not in AVERAGES:
            raise InputError(f"average requires one of {AVERAGES}, got {average!r}. Pass one of them.")
        scores, counts = self.scores()[which], self.counts
        if average is None:
            return scores
        actual = counts.sum(1)
        if average == "micro":
            return self.accuracy
        if average == "weighted":
            return _ratio(float((scores * actual).sum()), actual.sum())
        present = (actual + counts.sum(0)) > 0
        return float(scores[present].mean()) if present.any() else float("nan")

    def _title(self, index: int) -> str:
        return self.names[index] if self.names is not None and index < len(self.names) else str(index)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield self.table()

    def table(self) -> Any:
        """The matrix as a ``rich.table.Table``; imported here to keep the import of the toolkit light."""
        counts, scores = self.counts, self.scores()
        table = import_module("rich.table").Table(
            title=f"rows are, columns were taken for (accuracy {self.accuracy:.4f})", title_justify="left"
        )
        table.add_column("")
        for title in (*map(self._title, range(len(counts))), "precision", "recall", "F1"):
            table.add_column(title, justify="right")
        for index, row in enumerate(counts):
            cells = [f"[bold]{count}[/bold]" if index == other else str(count) for other, count in enumerate(row)]
            table.add_row(self._title(index), *cells, *(f"{value:.4f}" for value in scores[:, index]))
        return table

    def __str__(self) -> str:
        console = import_module("rich.console").Console(width=10_000, color_system=None, force_terminal=False)
        with console.capture() as capture:
            console.print(self.table())
        return str(capture.get()).rstrip()


class _MatrixMetric(ConfusionMatrix):
    """One figure of the confusion matrix: over classes, or ``average=None`` for each class by its name."""

    which = 0

    def __init__(self, average: str | None = "macro", names: Sequence[str] | None = None, **options: Any) -> None:
        super().__init__(names, **options)
        if average not in (*AVERAGES, "binary"):
            raise InputError(f"average requires 'binary' or one of {AVERAGES}, got {average!r}. Pass one of them.")
        self.average = average

    def result(self) -> Any:
        if self.average == "binary":
            scores = self.scores()[self.which]
            return float(scores[1]) if len(scores) > 1 else float("nan")
        found = self._averaged(self.which, self.average)
        if self.average is None:
            return {self._title(index): float(value) for index, value in enumerate(found)}
        return found


class Precision(_MatrixMetric):
    """Of what was taken for a class, the part that is.

    ``average``: ``"macro"``, ``"micro"``, ``"weighted"``, ``"binary"`` (of class 1 alone), or ``None`` for each class.
    ``names``, ``axis``, ``ignore_index``, ``threshold`` and ``window`` are those of ``ConfusionMatrix``.
    """

    which = 0


class Recall(_MatrixMetric):
    """Of what is of a class, the part that was taken for it; options as for ``Precision``."""

    which = 1


class F1(_MatrixMetric):
    """The harmonic mean of precision and recall; options as for ``Precision``."""

    which = 2


class Accuracy(ConfusionMatrix):
    """The part of the items that were taken for what they are; options as for ``ConfusionMatrix``."""


class TopK:
    """How often the label is among the ``k`` largest classes; of equal ones that of the lower number comes first.

    Output (batch, ..., classes, ...) with classes on ``axis``; options as for ``ConfusionMatrix``.
    """

    def __init__(
        self, k: int = 5, *, axis: int = 1, ignore_index: int | None = None, window: int | None = None
    ) -> None:
        if not isinstance(k, int) or k < 1:
            raise InputError(f"TopK: k requires a whole number of at least 1, got {k!r}.")
        self.k, self.axis, self.ignore_index = k, axis, ignore_index
        self._recent = Rows(window)
        self.start()

    def start(self) -> None:
        """Forget everything."""
        self._recent.clear()
        self._hits = self._count = 0

    def update(self, output: np.ndarray, labels: np.ndarray) -> None:
        """Take in a batch."""
        scores, actual = by_item(output, labels, self.axis, self.ignore_index)
        own = np.take_along_axis(scores, actual[:, None], 1)
        before = np.arange(scores.shape[1]) < actual[:, None]
        hits = ((scores > own) | ((scores == own) & before)).sum(1) < self.k
        if self._recent.window is None:
            self._hits, self._count = self._hits + int(hits.sum()), self._count + len(hits)
        else:
            self._recent.append(hits)

    def result(self) -> float:
        if self._recent.window is None:
            return _ratio(self._hits, self._count)
        return _ratio(sum(int(chunk.sum()) for chunk in self._recent), len(self._recent))


def by_item(
    output: np.ndarray, labels: np.ndarray, axis: int, ignore_index: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (items, classes) and class numbers (items,), missing ones left out. Raises ``InputError``."""
    if labels.shape == output.shape:  # probabilities as labels
        missing = np.isnan(labels).any(axis) if labels.dtype.kind == "f" else np.zeros(labels.shape[:1], bool)
        labels = np.where(missing, -1, np.where(np.isnan(labels), 0, labels).argmax(axis))
    classes = output.shape[axis] if -output.ndim <= axis < output.ndim else 0
    scores = np.moveaxis(output, axis, -1).reshape(-1, classes) if classes else output
    if not classes or labels.size != len(scores):
        raise InputError(
            f"A metric of classes requires an output (batch, ..., classes, ...) with classes on axis {axis}, and "
            f"labels of that shape without it, got {output.shape} and {labels.shape}. Set axis=."
        )
    actual = labels.reshape(-1).astype(np.int64)
    real = (actual >= 0) if ignore_index is None else (actual >= 0) & (actual != ignore_index)
    if (actual[real] >= classes).any():
        raise InputError(
            f"A metric of {classes} classes requires labels below {classes}, got {actual[real].max()}. Count from 0."
        )
    return scores[real], actual[real]


def decided(
    output: np.ndarray, labels: np.ndarray, axis: int, ignore_index: int | None, threshold: float
) -> tuple[np.ndarray, int]:
    """Pairs (actual, predicted) of class numbers, int64 (items, 2), and how many classes there are."""
    is_binary = output.ndim < 2 or (-output.ndim <= axis < output.ndim and output.shape[axis] == 1)
    if is_binary:
        if labels.size != output.size:
            raise InputError(
                f"A metric of yes or no requires a label for each element, got {output.shape} and {labels.shape}. "
                "Pass labels of the shape of the output."
            )
        flat = labels.reshape(-1)
        real = ~np.isnan(flat) & (flat >= 0) if flat.dtype.kind == "f" else flat >= 0
        if ignore_index is not None:
            real &= flat != ignore_index
        predicted = output.reshape(-1)[real] > threshold
        return np.stack([flat[real] > 0.5, predicted], axis=1).astype(np.int64), 2
    scores, actual = by_item(output, labels, axis, ignore_index)
    return np.stack([actual, scores.argmax(1)], axis=1), scores.shape[1]


def _counted(pairs: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(pairs[:, 0] * size + pairs[:, 1], minlength=size * size).reshape(size, size)


def _ratio(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else float("nan")
