"""From files to what a network takes: which array feeds which input, and which one holds the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from toolkit.cli.arrays import Content, Table, read
from toolkit.errors import InputError
from toolkit.graph import Network, Value
from toolkit.training.data import feeds_of, from_csv
from toolkit.training.data.pairs import LABEL_NAMES

Arrays = dict[str, np.ndarray]
Labels = Arrays | np.ndarray


def read_inputs(network: Network, sources: Sequence[str]) -> Arrays:
    """Feeds from ``NAME=FILE``, or ``FILE`` for an npz with arrays by input name or for the only input.

    Raises ``InputError`` for names, element types and shapes that do not fit the network.
    """
    found: Arrays = {}
    for source in sources:
        name, _, path = source.partition("=") if _names_input(network, source) else ("", "", source)
        content = read(path)
        if name:
            found[name] = _array(network, name, content, path)
        elif isinstance(content, dict) and not (len(content) == len(network.inputs) == 1):
            found.update(content)
        else:
            only = _only_input(network, path)
            found[only] = _array(network, only, content, path)
    return feeds_of(network, found)


def _names_input(network: Network, source: str) -> bool:
    name, equals, _ = source.partition("=")
    if equals and name not in network.inputs:
        raise InputError(f"--input {source}: there is no input {name!r}; the inputs are {_inputs(network)}.")
    return bool(equals)


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
    only = _only_input(network, path)
    source = _pick(list(rest), x, [only, "x", "X"], f"{path!r}: the array for input {only!r}", "--x")
    return feeds_of(network, {only: rest[source]})


def _from_csv(network: Network, path: str, y: str | None) -> tuple[Arrays, np.ndarray, Sequence[str] | None]:
    only = _only_input(network, path)
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
    return feeds_of(network, {only: _shaped(network.inputs[only], features, path)}), labels, classes


def _label_name(names: list[str], path: str, y: str | None) -> str:
    return _pick(names, y, list(LABEL_NAMES), f"{path!r}: the labels", "--y", only=False)


def _pick(names: list[str], wanted: str | None, usual: list[str], what: str, option: str, only: bool = True) -> str:
    if wanted is not None and wanted not in names:
        raise InputError(f"{what} should be {wanted!r}, which the file lacks: it holds {names}. Check {option}.")
    if wanted is not None:
        return wanted
    found = next((name for name in usual if name in names), names[0] if only and len(names) == 1 else None)
    if found is None:
        raise InputError(f"{what} cannot be told: the file holds {names}. Name the array with {option}.")
    return found


def _only_input(network: Network, path: str) -> str:
    if len(network.inputs) != 1:
        raise InputError(f"{path!r} holds one array, the network takes {_inputs(network)}. Name the input it is for.")
    return next(iter(network.inputs))


def _array(network: Network, name: str, content: Content, path: str) -> np.ndarray:
    if isinstance(content, Table):
        return _shaped(network.inputs[name], content.values, path)
    if isinstance(content, dict):
        return content[_pick(list(content), None, [name], f"{path!r}: the array for input {name!r}", f"{name}.npy")]
    return content


def _shaped(value: Value, rows: np.ndarray, path: str) -> np.ndarray:
    """Rows of a csv file as items of an input: text has no element type and no axes, so it takes the input's."""
    unit = value.unit_shape
    sizes = [] if unit is None else [size for size in unit if isinstance(size, int)]
    if unit is not None and len(sizes) == len(unit):
        if rows.shape[1] != int(np.prod(sizes)):
            raise InputError(
                f"{path!r} has {rows.shape[1]} columns of features, input {value.name!r} {value.describe()} takes "
                f"{int(np.prod(sizes))} numbers per item. Drop or add columns (--y names the one with the labels)."
            )
        rows = rows.reshape(len(rows), *sizes)
    return rows if value.dtype is None else rows.astype(value.dtype)


def _inputs(network: Network) -> str:
    return ", ".join(f"{name!r} {value.describe()}" for name, value in network.inputs.items())
