"""Which items, how often: weights against unbalanced classes, and splits that keep the classes in proportion."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.runtime.feeds import arrayed
from toolkit.training.data.recognition import source_of
from toolkit.training.data.source import Source, Subset


def class_weights(labels: Any, classes: int | None = None) -> np.ndarray:
    """One float32 weight per class that gives all classes the same weight in sum: items / (classes * items of it).

    - ``labels``: class indices of any shape; ``classes``: how many there are, by default those that occur

    A class without items weighs 0. Raises ``InputError`` for labels that are no class indices.
    """
    indices = _indices(labels)
    count = int(indices.max()) + 1 if classes is None else classes
    if indices.max() >= count:
        raise InputError(f"class_weights: labels must lie in [0, {count - 1}], got {indices.max()}. Raise classes=.")
    occurs = np.bincount(indices, minlength=count)
    present = np.count_nonzero(occurs)
    return np.divide(indices.size, present * occurs, out=np.zeros(count), where=occurs > 0).astype(np.float32)


def item_weights(labels: Any) -> np.ndarray:
    """One weight per item that makes every class as likely as any other when items are drawn; they sum to 1."""
    weights = class_weights(labels)[_indices(labels)].astype(np.float64)
    return weights / weights.sum()


def split(data: Any, fraction: float = 0.2, *, stratify: Any = None, seed: int = 0) -> tuple[Subset, Subset]:
    """Two parts of ``data``: one to train on, and ``fraction`` of the items to hold out.

    - ``stratify``: keep every class in proportion (or what these class indices say, one for each item); by default
      where the labels are class indices
    - the order within the parts is that of the data; ``seed`` decides who goes where

    Raises ``InputError`` when a part would be empty, and for data whose items have no numbers.
    """
    source = source_of(data)
    if not isinstance(source, Source):
        raise InputError(
            f"split requires arrays, files or a dataset with numbered items, got {type(data).__name__}. "
            "Read an iterable into arrays first, or split before it is made."
        )
    held_out = round(len(source) * fraction) if 0 < fraction < 1 else 0
    if not 0 < held_out < len(source):
        raise InputError(
            f"split: fraction={fraction} of {len(source)} items leaves a part without any. Choose one between 0 and 1."
        )
    labels = source.labels if stratify is None or isinstance(stratify, bool) else arrayed(stratify)
    if stratify is None:
        by_class = labels is not None and labels.ndim == 1 and labels.dtype.kind in "iub"
    else:
        by_class = stratify is not False
    if by_class and labels is not None and len(labels) != len(source):
        raise InputError(f"split: stratify requires a class for each of {len(source)} items, got {len(labels)}.")
    if by_class and labels is None:
        raise InputError("split: stratify=True needs labels that are known without reading the items. Leave it out.")
    order = np.random.default_rng(seed).permutation(len(source))
    if by_class:
        order = order[_spread(_indices(labels)[order])]
    return Subset(source, np.sort(order[held_out:])), Subset(source, np.sort(order[:held_out]))


def _spread(labels: np.ndarray) -> np.ndarray:
    """An order in which every stretch has the classes in proportion: each item at its place within its class."""
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.argsort(place, kind="stable")


def _indices(labels: Any) -> np.ndarray:
    array = arrayed(labels)
    if array.dtype.kind not in "iub" or array.size == 0 or array.min() < 0:
        raise InputError(
            f"Weights by class require class indices from 0 on, got {array.dtype} {array.shape}. "
            "Map names to indices first: np.unique(labels, return_inverse=True)."
        )
    return array.reshape(-1).astype(np.int64)
