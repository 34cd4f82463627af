"""Sources: data whose items have numbers, so that any of them can be fetched in any order.

A source hands out batches of items by their numbers and is safe to ask from several threads at once. It decides neither
the order nor the size of batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.runtime.feeds import arrayed

Batch = tuple[Any, Any]  # (x, labels), each an array or a dict of arrays: by input name, by term of the loss
Arrays = dict[str, np.ndarray] | np.ndarray
Rows = np.ndarray | slice


class Source(ABC):
    """Items with numbers. Derive from it for data of your own kind.

    ``labels`` holds the labels of all items where they are known without reading the items, ``classes`` their names
    where the source has made class indices of names. ``workers`` threads are used unless ``Batches`` says otherwise.
    """

    labels: np.ndarray | None = None
    classes: Sequence[str] | None = None
    workers: int = 0

    @abstractmethod
    def __len__(self) -> int:
        """The number of items."""

    @abstractmethod
    def batch(self, rows: Rows, seed: int | None) -> Batch:
        """The items ``rows`` (numbers, or a slice of them) as ``(x, labels)`` with a batch axis in front.

        ``seed`` belongs to the pass; what is drawn for an item may depend on it and the item's number only, so that no
        order of threads changes it. ``None`` asks for the items as they are.
        """

    def numbers(self, rows: Rows) -> np.ndarray:
        """``rows`` as an array of item numbers."""
        return np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows)


class ArraySource(Source):
    """Arrays with the items on their first axis: ``x`` (items, ...) or a dict of such, ``labels`` (items, ...)
    or a dict of such, for losses of several terms.

    Memory-mapped arrays are read batch by batch; tensors of other libraries are taken through DLPack without a copy.
    Raises ``InputError`` for arrays of different lengths, and for none at all.
    """

    def __init__(self, x: Any, labels: Any, classes: Sequence[str] | None = None) -> None:
        self.x, self.targets = arrays_of(x), arrays_of(labels)
        self.labels = self.targets if isinstance(self.targets, np.ndarray) else None
        self.classes = classes
        self._length = _length(self.x, self.targets)

    def __len__(self) -> int:
        return self._length

    def batch(self, rows: Rows, seed: int | None) -> Batch:
        return _cut(self.x, rows), _cut(self.targets, rows)


class Subset(Source):
    """The items ``rows`` of another source, renumbered from 0."""

    def __init__(self, source: Source, rows: np.ndarray) -> None:
        self.source, self.rows = source, np.asarray(rows)
        self.labels = None if source.labels is None else source.labels[self.rows]
        self.classes, self.workers = source.classes, source.workers

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Rows, seed: int | None) -> Batch:
        return self.source.batch(self.rows[rows], seed)


def arrays_of(given: Any) -> Any:
    """An array, or a dict of arrays (or of further dicts), for whatever stands for it; ``None`` for no labels."""
    if isinstance(given, Mapping):
        return {name: arrays_of(item) for name, item in given.items()}
    return None if given is None else arrayed(given)


def _cut(arrays: Any, rows: Rows) -> Any:
    if isinstance(arrays, dict):
        return {name: _cut(item, rows) for name, item in arrays.items()}
    return None if arrays is None else arrays[rows]


def _flat(name: str, arrays: Any) -> dict[str, np.ndarray]:
    """The arrays of labels by what they are called in messages."""
    if isinstance(arrays, dict):
        return {key: array for inner, item in arrays.items() for key, array in _flat(f"{name} {inner!r}", item).items()}
    return {} if arrays is None else {name: arrays}


def _length(x: Arrays, labels: Arrays) -> int:
    named_arrays = {**(x if isinstance(x, dict) else {"x": x}), **_flat("labels", labels)}
    lengths = {name: len(array) if array.ndim else None for name, array in named_arrays.items()}
    if len(set(lengths.values())) != 1 or None in lengths.values():
        found = ", ".join(f"{name!r} {array.shape}" for name, array in named_arrays.items())
        raise InputError(f"All arrays need the same number of items on their first axis, got {found}. Cut them alike.")
    length = int(next(iter(lengths.values())) or 0)
    if length == 0:
        raise InputError("The data holds no items: pass at least one.")
    return length
