"""From files to what a network takes: which array feeds which input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.cli.arrays import Content, Table, read
from toolkit.errors import InputError
from toolkit.graph import Network, Value
from toolkit.runtime.lossless import feeds_of

Arrays = dict[str, np.ndarray]


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
            only = only_input(network, path)
            found[only] = _array(network, only, content, path)
    return feeds_of(network, found)


def _names_input(network: Network, source: str) -> bool:
    name, equals, _ = source.partition("=")
    if equals and name not in network.inputs:
        raise InputError(f"--input {source}: there is no input {name!r}; the inputs are {_inputs(network)}.")
    return bool(equals)


def pick(names: list[str], wanted: str | None, usual: list[str], what: str, option: str, only: bool = True) -> str:
    """The wanted name of those in a file, or a usual one, or the ``only`` one. Raises ``InputError`` where none is."""
    if wanted is not None and wanted not in names:
        raise InputError(f"{what} should be {wanted!r}, which the file lacks: it holds {names}. Check {option}.")
    if wanted is not None:
        return wanted
    found = next((name for name in usual if name in names), names[0] if only and len(names) == 1 else None)
    if found is None:
        raise InputError(f"{what} cannot be told: the file holds {names}. Name the array with {option}.")
    return found


def only_input(network: Network, path: str) -> str:
    """The name of the input that one array is for. Raises ``InputError`` where the network has several."""
    if len(network.inputs) != 1:
        raise InputError(f"{path!r} holds one array, the network takes {_inputs(network)}. Name the input it is for.")
    return next(iter(network.inputs))


def _array(network: Network, name: str, content: Content, path: str) -> np.ndarray:
    if isinstance(content, Table):
        return shaped(network.inputs[name], content.values, path)
    if isinstance(content, dict):
        return content[pick(list(content), None, [name], f"{path!r}: the array for input {name!r}", f"{name}.npy")]
    return content


def shaped(value: Value, rows: np.ndarray, path: str) -> np.ndarray:
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
