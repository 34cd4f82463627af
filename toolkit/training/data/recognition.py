"""What a user hands in as data, recognised: arrays, a file or folder, numbered items, or an iterable of others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.training.data.files import from_file
from toolkit.training.data.items import Items, StreamedItems, has_numbers
from toolkit.training.data.pairs import is_array, is_item, is_pair, pair_of
from toolkit.training.data.source import ArraySource, Source

Stream = Iterable[Any] | Callable[[], Iterable[Any]]


def source_of(data: Any) -> Source | Stream:
    """``data`` as a source where its items have numbers, else as an iterable or a function that returns one.

    A list, or a dataset of others, holds items when the labels of its first element are no array with an axis of items,
    else batches. Raises ``InputError`` for what is neither.
    """
    if isinstance(data, (Source, StreamedItems)):
        return data
    if isinstance(data, (str, os.PathLike)):
        return from_file(data)
    if (
        isinstance(data, (tuple, list))
        and len(data) == 2
        and not is_pair(data[0])
        and (isinstance(data, tuple) or not isinstance(data[1], Mapping))
    ):
        return ArraySource(data[0], data[1])
    if isinstance(data, Mapping):
        return _from_mapping(data)
    if not isinstance(data, (bytes, np.ndarray)) and not is_array(data):
        if has_numbers(data):
            return Items(data) if len(data) and is_item(pair_of(data[0])) else _in_order(data)
        if callable(data) or isinstance(data, Iterable):
            return data
    raise InputError(
        f"Data must be (x, labels), a path, a dataset or an iterable of (x, labels) batches, got "
        f"{type(data).__name__}. Pass a tuple of arrays, x as a dict by input name where there are several inputs."
    )


def _from_mapping(data: Mapping[str, Any]) -> Source:
    try:
        return ArraySource(*pair_of(data))
    except InputError as error:
        raise InputError(f"Data must be (x, labels) or hold a column of labels, got dict: {error}") from error


def _in_order(data: Any) -> Iterable[Any]:
    """Numbered batches as an iterable; not everything with numbers can be iterated."""
    return data if isinstance(data, (list, tuple)) else _Numbered(data)


class _Numbered:
    def __init__(self, data: Any) -> None:
        self.data = data

    def __iter__(self) -> Any:
        return (self.data[number] for number in range(len(self.data)))


def elements(stream: Stream) -> tuple[Iterable[Any], bool]:
    """One pass over a stream as pairs, and whether they are items rather than batches."""
    found = iter(stream() if callable(stream) else stream)
    first = next(found, None)
    if first is None:
        raise InputError(
            "The data yields no batch. An iterator serves one epoch only: pass arrays, a list of batches, or an "
            "object whose __iter__ starts anew."
        )
    first = pair_of(first)
    return chain([first], map(pair_of, found)), isinstance(stream, StreamedItems) or is_item(first)
