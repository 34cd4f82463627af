"""Arrays in files: npz, npy and csv in, npz out. Files are untrusted: nothing pickled is ever loaded."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import InputError
from toolkit.files import replacing


@dataclass(frozen=True)
class Table:
    """A csv file: ``values`` (rows, columns) float64; ``names`` of the columns, ``None`` without a header line."""

    values: np.ndarray
    names: list[str] | None

    def column(self, wanted: str) -> int:
        """The position of a column by its name, or by its number counted from 0 (negative: from the end)."""
        count = self.values.shape[1]
        if self.names is not None and wanted in self.names:
            return self.names.index(wanted)
        if wanted.lstrip("-").isdigit() and -count <= int(wanted) < count:
            return int(wanted) % count
        raise InputError(f"There is no column {wanted!r}: the columns are {self.names or f'0 to {count - 1}'}.")


Content = dict[str, np.ndarray] | np.ndarray | Table


def read(path: str) -> Content:
    """The arrays of an npz file by name, the array of an npy file, or the table of a csv file.

    Raises ``InputError`` for a missing or damaged file and for other formats.
    """
    readers: dict[str, Callable[[str], Content]] = {".npz": _read_npz, ".npy": _read_npy, ".csv": _read_csv}
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        raise InputError(f"{path!r}: data is read from .npz, .npy and .csv files. Convert it, for example with numpy.")
    try:
        return reader(path)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path!r}: check the path.") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path!r} cannot be read ({error}). It is damaged or of another format.") from error


def _read_npz(path: str) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path):  # numpy would read any other format under this name
        pass
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_npy(path: str) -> np.ndarray:
    with open(path, "rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_csv(path: str) -> Table:
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    names = [name.strip() for name in rows.pop(0)] if rows and not all(_is_number(cell) for cell in rows[0]) else None
    if not rows:
        raise InputError(f"{path!r} holds no rows of numbers.")
    width = len(names or rows[0])
    for number, row in enumerate(rows, start=2 if names else 1):
        wrong = next((cell for cell in row if not _is_number(cell)), None)
        if len(row) != width or wrong is not None:
            found = f"{len(row)} cells" if wrong is None else f"{wrong!r}"
            raise InputError(f"{path!r}, row {number}: {width} numbers are expected, got {found}.")
    return Table(np.array(rows, dtype=np.float64), names)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def flat(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Values that may be sequences and maps as arrays: ``name/0`` for elements, ``name/key`` for entries.

    A sequence of maps with the same keys (the probabilities of a classifier) gives one array per key. An optional that
    is empty gives nothing.
    """
    found: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
            value = {key: np.stack([np.asarray(item[key]) for item in value]) for key in value[0]}
        if isinstance(value, (list, tuple)):
            found.update(flat({f"{name}/{index}": item for index, item in enumerate(value)}))
        elif isinstance(value, Mapping):
            found.update(flat({f"{name}/{key}": item for key, item in value.items()}))
        elif value is not None:
            found[name] = np.asarray(value)
    return found


def write_npz(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``path`` whole or not at all. Texts are stored with a fixed width, so that nothing is pickled."""
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:  # not np.savez: it reserves the name "file"
        for name, array in arrays.items():
            plain = array.astype(np.str_) if array.dtype == object else array
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, plain, allow_pickle=False)
