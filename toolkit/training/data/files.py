"""Files of data: npz, npy (mapped into memory) and csv. Files are untrusted: nothing pickled is ever loaded."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from toolkit.errors import InputError
from toolkit.training.data.images import ImageFolder
from toolkit.training.data.pairs import LABEL_NAMES, Columns, pair_of
from toolkit.training.data.source import ArraySource, Source

FilePath = str | os.PathLike[str]
DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, csv.Error)


def from_file(path: FilePath, *, x: Columns = None, y: str | None = None) -> Source:
    """The data of an npz or csv file, or of a folder of images, one folder per class; ``x`` and ``y`` as below.

    Raises ``InputError`` for missing and damaged files and for other formats.
    """
    suffix = Path(path).suffix.lower()
    if Path(path).is_dir():
        return ImageFolder(path)
    if suffix == ".npz":
        return from_npz(path, x=x, y=y)
    if suffix == ".csv":
        return from_csv(path, x=x, y=y)
    raise InputError(
        f"{os.fspath(path)!r}: data is read from .npz and .csv files, from pairs of .npy files (tk.data.from_npy) and "
        "from folders of images. Check the path, or convert it."
    )


def from_npz(path: FilePath, *, x: Columns = None, y: str | None = None) -> ArraySource:
    """The arrays of an npz file; ``x`` and ``y`` name them as in ``Items``: by default ``y`` and all the others."""
    with _reading(path), zipfile.ZipFile(path), np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return ArraySource(*pair_of(arrays, x, y))


def from_npy(x: FilePath | Mapping[str, FilePath], y: FilePath) -> ArraySource:
    """Arrays in npy files, mapped into memory: only the items of a batch are read. ``x`` may be a dict of files."""
    inputs = {name: _mapped(path) for name, path in x.items()} if isinstance(x, Mapping) else _mapped(x)
    return ArraySource(inputs, _mapped(y))


def _mapped(path: FilePath) -> np.ndarray:
    with _reading(path):
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise InputError(f"{os.fspath(path)!r} is an archive of several arrays: read it with tk.data.from_npz.")
    return array


def from_csv(path: FilePath, *, x: Columns = None, y: str | None = None) -> ArraySource:
    """The rows of a csv file with a header: ``x`` (rows, columns) float32, labels from the column ``y``.

    - ``y``: by default the column with one of the usual names. Words become class indices, sorted by name, which
      ``classes`` keeps; whole numbers become integers, other numbers float32
    - ``x``: the columns to feed; by default all others. An empty cell is NaN

    Raises ``InputError`` naming the row and column of what is no number.
    """
    table = _table(path)
    label = y if y is not None else next((name for name in LABEL_NAMES if name in table), None)
    columns = [x] if isinstance(x, str) else list(x) if x is not None else [name for name in table if name != label]
    missing = [name for name in (label, *columns) if name not in table]
    if missing or not columns:
        lacking = "a column of labels" if label is None else f"the columns {missing or 'for x'}"
        raise InputError(
            f"{os.fspath(path)!r} has the columns {list(table)} and lacks {lacking}. Name them with x= and y=."
        )
    assert label is not None
    features = np.stack([_numbers(path, name, table[name]) for name in columns], axis=1)
    labels, classes = _labels(path, label, table[label])
    return ArraySource(features.astype(np.float32), labels, classes)


def _table(path: FilePath) -> dict[str, list[str]]:
    with _reading(path), open(path, newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    names = [name.strip() for name in rows[0]] if rows else []
    if len(rows) < 2 or len(set(names)) < len(names):
        raise InputError(f"{os.fspath(path)!r} needs a header of distinct names and rows below it, got {names[:10]}.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise InputError(f"{os.fspath(path)!r}, row {number}: {len(names)} cells are expected, got {len(row)}.")
    return {name: list(column) for name, column in zip(names, zip(*rows[1:], strict=True), strict=True)}


def _labels(path: FilePath, name: str, cells: list[str]) -> tuple[np.ndarray, list[str] | None]:
    if not all(_is_number(cell) for cell in cells):
        if "" in (stripped := [cell.strip() for cell in cells]):
            raise InputError(f"{os.fspath(path)!r}, row {stripped.index('') + 2}: column {name!r} lacks a label.")
        classes, indices = np.unique(stripped, return_inverse=True)
        return indices.astype(np.int64), classes.tolist()
    numbers = _numbers(path, name, cells)
    is_whole = np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all()
    return numbers.astype(np.int64 if is_whole else np.float32), None


def _numbers(path: FilePath, name: str, cells: list[str]) -> np.ndarray:
    for number, cell in enumerate(cells, start=2):
        if cell.strip() and not _is_number(cell):
            raise InputError(
                f"{os.fspath(path)!r}, row {number}: column {name!r} holds {cell!r} where a number is expected. "
                "Encode it, or leave the column out with x=."
            )
    return np.array([float(cell) if cell.strip() else np.nan for cell in cells])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@contextmanager
def _reading(path: FilePath) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"There is no file {os.fspath(path)!r}: check the path.") from error
    except DAMAGE as error:
        raise InputError(
            f"{os.fspath(path)!r} cannot be read ({error}). It is damaged or of another format."
        ) from error
