"""Pairs of x and labels, as others spell them: tuples, lists, and dicts with a column of labels; items and batches.

What cannot be told apart is asked for, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.runtime.feeds import arrayed

LABEL_NAMES = ("y", "label", "labels", "target", "targets", "class")
Columns = str | Sequence[str] | Mapping[str, str] | None  # one column, several, or {input name: column}
Pair = tuple[Any, Any]


def is_pair(given: Any) -> bool:
    """A tuple of two, or a list of two that starts with an array or a dict: not the rows of a nested list."""
    if isinstance(given, tuple):
        return len(given) == 2
    return isinstance(given, list) and len(given) == 2 and (isinstance(given[0], Mapping) or is_array(given[0]))


def is_array(given: Any) -> bool:
    """Whether ``given`` is an array of numpy, or one that another library can hand over."""
    return hasattr(given, "__dlpack__") or hasattr(given, "__array_interface__") or hasattr(given, "__array__")


def pair_of(element: Any, x: Columns = None, y: str | None = None) -> Pair:
    """``(x, labels)`` from a pair, or from a dict by its columns.

    By default the labels are the column with one of the usual names, and x is the other one, or a dict of the others.
    Raises ``InputError`` for columns that are missing and for elements that are neither.
    """
    if isinstance(element, Mapping):
        return _from_columns(element, x, y)
    if not is_pair(element):
        raise InputError(
            f"The data yields {type(element).__name__} where (x, labels) is expected. Yield a tuple of both, or a dict."
        )
    if x is not None or y is not None:
        raise InputError(
            f"The data yields pairs, which have no columns to name: leave x={x!r} and y={y!r} out, or yield dicts."
        )
    return element[0], element[1]


def _from_columns(element: Mapping[str, Any], x: Columns, y: str | None) -> Pair:
    label = y if y is not None else next((name for name in LABEL_NAMES if name in element), None)
    names = [name for name in element if name != label]
    wanted = {name: name for name in names} if x is None else _mapping(x)
    missing = [name for name in (label, *wanted.values()) if name not in element]
    if missing or not wanted:
        lacking = "a column of labels" if label is None else f"the columns {missing or 'for x'}"
        raise InputError(
            f"The data has the columns {list(element)} and lacks {lacking}. "
            "Name them: tk.data.Items(data, x=..., y=...)."
        )
    assert label is not None
    if isinstance(x, str) or (x is None and len(names) == 1):
        return element[next(iter(wanted.values()))], element[label]
    return {name: element[column] for name, column in wanted.items()}, element[label]


def _mapping(x: str | Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    if isinstance(x, str):
        return {x: x}
    return dict(x) if isinstance(x, Mapping) else {name: name for name in x}


def is_item(pair: Pair) -> bool:
    """Whether a pair is one item rather than a batch: its labels have no axis, or none of them as many rows as x has.

    What has no labels at all is a batch.
    """
    x, labels = pair
    if labels is None:
        return False
    counts = {_rows(item) for item in _parts(x)}
    return None in counts or len(counts) > 1 or not counts & {_rows(part) for part in _parts(labels)}


def _parts(given: Any) -> list[Any]:
    """The arrays of a part of a pair: one, or those of a dict, which may hold further dicts."""
    if isinstance(given, Mapping):
        return [part for item in given.values() for part in _parts(item)]
    return [] if given is None else [given]


def _rows(part: Any) -> int | None:
    """The length of the first axis, ``None`` for what has no axis."""
    if isinstance(part, (list, tuple)):  # rows of different lengths are no array yet
        return len(part)
    array = arrayed(part)
    return len(array) if array.ndim else None


def collate(pairs: Sequence[Pair]) -> Pair:
    """Items as one batch: every part with a new first axis. Raises ``InputError`` where items have different shapes."""
    return _collated("x", [pair[0] for pair in pairs]), _collated("labels", [pair[1] for pair in pairs])


def _collated(what: str, parts: Sequence[Any]) -> dict[str, np.ndarray] | np.ndarray:
    if isinstance(parts[0], Mapping):
        return {name: _stack(name, [part[name] for part in parts]) for name in parts[0]}
    return _stack(what, parts)


def _stack(name: str, parts: Sequence[Any]) -> np.ndarray:
    arrays = [arrayed(part) for part in parts]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise InputError(
            f"The items of a batch need equal shapes, got {name!r} of {shapes[0]} and {shapes[1]}. "
            "Resize or pad them first, or use batch_size=1."
        )
    return np.stack(arrays)
