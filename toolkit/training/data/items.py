"""Items one by one: datasets of other libraries, which are neither imported nor named here.

A dataset whose items have numbers (``__len__`` and ``__getitem__``, as those of PyTorch and Hugging Face have) becomes
a source; anything else that can be iterated is read in its own order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.training.data.pairs import LABEL_NAMES, Columns, Pair, collate, pair_of
from toolkit.training.data.source import Batch, Rows, Source


def has_numbers(data: Any) -> bool:
    """Whether the elements of ``data`` can be fetched by their numbers."""
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")


class Items(Source):
    """Every element of ``dataset`` is one item: ``(x, label)``, or a dict of columns.

    ``x`` names the column that is fed, several, or ``{input name: column}``; ``y`` that of the labels. Raises
    ``InputError`` for data without numbers; ``StreamedItems`` takes that.
    """

    def __init__(self, dataset: Any, *, x: Columns = None, y: str | None = None, workers: int = 0) -> None:
        if not has_numbers(dataset):
            raise InputError(
                f"Items requires data with __len__ and __getitem__, got {type(dataset).__name__}. "
                "Pass what is iterated only to tk.data.StreamedItems."
            )
        if len(dataset) == 0:
            raise InputError("The data holds no items: pass at least one.")
        self.dataset, self.columns, self.workers = dataset, (x, y), workers
        self.labels = self._column_of_labels(y)

    def _column_of_labels(self, y: str | None) -> np.ndarray | None:
        """The labels of a dataset that stores its data by columns, without reading the others."""
        names = getattr(self.dataset, "column_names", None)
        if not isinstance(names, list):
            return None
        found = next((name for name in ((y,) if y is not None else LABEL_NAMES) if name in names), None)
        return None if found is None else np.asarray(self.dataset[found][:])

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, rows: Rows, seed: int | None) -> Batch:
        numbers = self.numbers(rows).tolist()
        several = getattr(self.dataset, "__getitems__", None)  # one reading for many, where a dataset offers that
        found = several(numbers) if several is not None else [self.dataset[number] for number in numbers]
        return collate([pair_of(item, *self.columns) for item in found])


class StreamedItems:
    """Every element of an iterable, or of what a function returns anew for each pass, is one item, as in ``Items``."""

    def __init__(
        self, data: Iterable[Any] | Callable[[], Iterable[Any]], *, x: Columns = None, y: str | None = None
    ) -> None:
        self.data, self.columns = data, (x, y)

    def __iter__(self) -> Iterator[Pair]:
        for element in self.data() if callable(self.data) else self.data:
            yield pair_of(element, *self.columns)


def grouped(pairs: Iterable[Pair], batch_size: int) -> Iterator[Batch]:
    """Items as batches of ``batch_size``, the last one smaller."""
    waiting: list[Pair] = []
    for pair in pairs:
        waiting.append(pair)
        if len(waiting) == batch_size:
            yield collate(waiting)
            waiting = []
    if waiting:
        yield collate(waiting)
