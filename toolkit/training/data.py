"""Data for training: arrays cut into batches, or batches as somebody else makes them, checked against the network.

Inputs are converted only where nothing is lost (uint8 pixels to float32); anything else is the caller's decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.graph.network import Network
from toolkit.runtime.feeds import named, sizes

Batch = tuple[Any, Any]  # (x, labels); x is an array, or a dict of arrays by input name


class Batches:
    """Data that can be gone through once an epoch: ``(x, labels)`` as arrays, or an iterable of such batches.

    ``items`` is the number of items, ``None`` where only the iterable knows. Raises ``InputError`` for arrays of
    different lengths and for data that is neither.
    """

    def __init__(self, data: Any, batch_size: int) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size requires a whole number of at least 1, got {batch_size!r}.")
        self.batch_size = batch_size
        self._arrays: tuple[dict[str, np.ndarray] | np.ndarray, np.ndarray] | None = None
        self.items: int | None = None
        if isinstance(data, (tuple, list)) and len(data) == 2 and not _is_batch(data[0]):
            self._arrays = _as_arrays(data[0]), np.asarray(data[1])
            self.items = _length(*self._arrays)
        elif isinstance(data, Iterable) and not isinstance(data, (Mapping, str, bytes, np.ndarray)):
            self._batches = data
        else:
            raise InputError(
                f"Data must be (x, labels) or an iterable of (x, labels) batches, got {type(data).__name__}. "
                "Pass a tuple of arrays, x as a dict by input name where there are several inputs."
            )

    def __call__(self, random: np.random.Generator | None = None) -> Iterator[Batch]:
        """One pass, in an order drawn from ``random`` where given; the last batch may be smaller."""
        if self._arrays is None:
            yield from self._given()
            return
        x, labels = self._arrays
        assert self.items is not None
        order = None if random is None else random.permutation(self.items)
        for start in range(0, self.items, self.batch_size):
            stop = min(start + self.batch_size, self.items)
            rows = slice(start, stop) if order is None else order[start:stop]
            yield ({name: array[rows] for name, array in x.items()} if isinstance(x, dict) else x[rows]), labels[rows]

    def _given(self) -> Iterator[Batch]:
        empty = True
        for batch in self._batches:
            if not _is_batch(batch):
                raise InputError(
                    f"The data yields {type(batch).__name__} where (x, labels) is expected. Yield a tuple of both."
                )
            empty = False
            yield batch[0], batch[1]
        if empty:
            raise InputError(
                "The data yields no batch. An iterator serves one epoch only: pass arrays, a list of batches, or an "
                "object whose __iter__ starts anew."
            )


def feeds_of(network: Network, x: Any) -> dict[str, np.ndarray]:
    """``x`` as ``{input name: array}``, converted where nothing is lost.

    Raises ``InputError`` for missing and unknown names, types that do not convert without loss, and shapes that do not
    fit; sizes are checked against the network's declaration.
    """
    if not isinstance(x, Mapping) and len(network.inputs) == 1:
        x = {next(iter(network.inputs)): x}
    if isinstance(x, Mapping):
        x = {name: _lossless(network, name, item) for name, item in x.items()}
    arrays = named(network, x)
    batch, _ = sizes(network, arrays)
    if batch == 0:
        raise InputError("The batch holds no items: leave empty batches out.")
    return arrays


def _lossless(network: Network, name: str, given: Any) -> Any:
    value = network.inputs.get(name)
    if value is None or value.dtype is None or not isinstance(given, np.ndarray) or given.dtype == value.dtype:
        return given
    return given.astype(value.dtype) if np.can_cast(given.dtype, value.dtype, "safe") else given


def _is_batch(item: Any) -> bool:
    """A tuple of two, or a list of two that starts with an array or a dict: not the rows of a nested list."""
    pair = isinstance(item, (tuple, list)) and len(item) == 2
    return pair and (isinstance(item, tuple) or isinstance(item[0], (np.ndarray, Mapping)))


def _as_arrays(x: Any) -> dict[str, np.ndarray] | np.ndarray:
    return {name: np.asarray(item) for name, item in x.items()} if isinstance(x, Mapping) else np.asarray(x)


def _length(x: dict[str, np.ndarray] | np.ndarray, labels: np.ndarray) -> int:
    named_arrays = {**(x if isinstance(x, dict) else {"x": x}), "labels": labels}
    lengths = {name: len(array) if array.ndim else None for name, array in named_arrays.items()}
    if len(set(lengths.values())) != 1 or None in lengths.values():
        found = ", ".join(f"{name!r} {array.shape}" for name, array in named_arrays.items())
        raise InputError(f"All arrays need the same number of items on their first axis, got {found}. Cut them alike.")
    length = int(labels.shape[0])
    if length == 0:
        raise InputError("The data holds no items: pass at least one.")
    return length
