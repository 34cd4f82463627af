"""Labelled data from files: which array holds the labels, and which ones feed the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from toolkit.cli.arrays import Table, read
from toolkit.cli.feeds import Arrays, only_input, pick, shaped
from toolkit.errors import InputError
from toolkit.graph import Network
from toolkit.training.data import feeds_of, from_csv
from toolkit.training.data.pairs import LABEL_NAMES

Labels = Arrays | np.ndarray


def read_labelled(
    network: Network, path: str, x: str | None, y: str | Mapping[str, str] | None
) -> tuple[Arrays, Labels, Sequence[str] | None]:
    """Feeds, labels, and the names of the classes where the labels of a csv file are words.

    - ``x``: the array that feeds the only input; by default the one of the input's name, ``x``, or the only one left.
    - ``y``: the array, or csv column, of the labels; by default one of the usual names. For losses that read labels of
      several names, arrays by these names

    Raises ``InputError`` when an array cannot be told or does not fit.
    """
    wanted: Mapping[str, str | None] = y if isinstance(y, Mapping) else {"": y}
    if Path(path).suffix.lower() == ".csv":
        return _from_csv(network, path, next(iter(wanted.values())))
    content = read(path)
    if not isinstance(content, dict):
        raise InputError(f"{path!r} is a single array: labels are needed too. Name their npy file with --y.")
    found = {name: _label_name(list(content), path, key) for name, key in wanted.items()}
    several = {name: content[label] for name, label in found.items()}
    labels = several.get("", several)
    rest = {name: array for name, array in content.items() if name not in found.values()}
    return _fed(network, path, x, rest), labels, None


def _fed(network: Network, path: str, x: str | None, rest: Arrays) -> Arrays:
    if len(network.inputs) > 1 and x is None:
        return feeds_of(network, {name: array for name, array in rest.items() if name in network.inputs})
    only = only_input(network, path)
    source = pick(list(rest), x, [only, "x", "X"], f"{path!r}: the array for input {only!r}", "--x")
    return feeds_of(network, {only: rest[source]})


def _from_csv(network: Network, path: str, y: str | None) -> tuple[Arrays, np.ndarray, Sequence[str] | None]:
    only = only_input(network, path)
    try:
        table = read(path)
    except InputError:  # words among the numbers: fine for labels, and else told by name
        source = from_csv(path, y=y)
        assert isinstance(source.x, np.ndarray) and source.labels is not None
        features, labels, classes = source.x, source.labels, source.classes
    else:
        assert isinstance(table, Table)
        label = table.column(_label_name(table.names or [], path, y) if y is None else y)
        features, labels, classes = np.delete(table.values, label, axis=1), table.values[:, label], None
        labels = labels.astype(np.int64) if np.array_equal(labels, np.rint(labels)) else labels
    return feeds_of(network, {only: shaped(network.inputs[only], features, path)}), labels, classes


def _label_name(names: list[str], path: str, y: str | None) -> str:
    return pick(names, y, list(LABEL_NAMES), f"{path!r}: the labels", "--y", only=False)
