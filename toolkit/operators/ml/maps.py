"""ZipMap, DictVectorizer and CastMap: rows of a tensor made into dicts, and dicts into rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from toolkit.operators.ml.class_labels import Integers, Strings, labels_of
from toolkit.operators.ml.packing import Packing
from toolkit.operators.ml.rows import DOMAIN, as_rows
from toolkit.operators.record import data_dependent, not_differentiable, operator

CASTS: dict[str, Any] = {"TO_FLOAT": np.float32, "TO_INT64": np.int64, "TO_STRING": object}
Zipped = Callable[[np.ndarray], list[dict[Any, float]]]
MISSING: dict[str, Any] = {"TO_FLOAT": 0.0, "TO_INT64": 0, "TO_STRING": "0.f"}  # what onnxruntime fills gaps with


def zip_map(
    x: np.ndarray, *, classlabels_int64s: Integers = None, classlabels_strings: Strings = None
) -> list[dict[Any, float]]:
    """One dict per row, from label to the value in the label's column, labels in ascending order."""
    return ZIPPED(classlabels_strings, classlabels_int64s)(x)


def zip_maps(*, classlabels_int64s: Integers = None, classlabels_strings: Strings = None) -> Zipped:
    """``zip_map`` for the labels of one node."""
    return _zipped(classlabels_strings, classlabels_int64s)


def _zipped(strings: Strings, integers: Integers) -> Zipped:
    labels = labels_of(strings, integers)
    order, count = labels.argsort(kind="stable"), len(labels)
    names, is_ordered = labels[order].tolist(), bool((order == np.arange(count)).all())

    def zipped(x: np.ndarray) -> list[dict[Any, float]]:
        rows = x if x.ndim == 2 else as_rows(x)
        if rows.shape[1] != count:
            raise ValueError(f"the input must have a column for each of the {count} labels, got {rows.shape[1]}")
        lists = rows.tolist() if is_ordered else rows[:, order].tolist()
        return list(map(dict, map(zip, repeat(names), lists)))  # no bytecode for each row

    return zipped


ZIPPED: Packing[Zipped] = Packing(_zipped)


def dict_vectorizer(
    x: Mapping[Any, Any], *, int64_vocabulary: Integers = None, string_vocabulary: Strings = None
) -> np.ndarray:
    """A single row: the dict's value for each word of the vocabulary, zero (or an empty string) for absent ones."""
    if bool(int64_vocabulary) == bool(string_vocabulary):
        raise ValueError("exactly one vocabulary must be given and not be empty")
    vocabulary: Sequence[Any] = string_vocabulary or int64_vocabulary or ()
    dtype = _dtype_of(x)
    zero = "" if dtype.kind == "O" else 0
    return np.array([[x.get(word, zero) for word in vocabulary]], dtype=dtype)


def _dtype_of(x: Mapping[Any, Any]) -> np.dtype:
    """The element type of a dict's values; Python's floats are float32, as the maps of ZipMap are."""
    value = next(iter(x.values()), 0.0)
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind not in "US":
        return value.dtype
    return np.dtype(object if isinstance(value, str) else np.int64 if isinstance(value, int) else np.float32)


def cast_map(
    x: Mapping[int, Any], *, cast_to: str = "TO_FLOAT", map_form: str = "DENSE", max_map: int = 1
) -> np.ndarray:
    """A single row of a dict's values, ordered by key; SPARSE puts each in the column that its key names."""
    if cast_to not in CASTS or map_form not in ("DENSE", "SPARSE"):
        raise ValueError(f"cast_to={cast_to!r} and map_form={map_form!r} must be what the specification lists")
    keys = sorted(x)
    if map_form == "DENSE":
        return np.array([[_cast(x[key], cast_to) for key in keys]], dtype=CASTS[cast_to]).reshape(1, -1)
    row = np.full((1, max_map), MISSING[cast_to], dtype=CASTS[cast_to])
    if keys and keys[0] < 0:
        raise ValueError(f"the keys of a sparse map must not be negative, got {keys[0]}")
    for key in keys:
        if key < max_map:
            row[0, key] = _cast(x[key], cast_to)
    return row


def _cast(value: Any, cast_to: str) -> Any:
    if cast_to == "TO_STRING":
        return str(value) if isinstance(value, str) else f"{float(value):f}"
    if cast_to == "TO_FLOAT":
        return float(value)
    try:
        return int(value)
    except ValueError:  # a text with a fraction, which is cut off
        return int(float(value))


operator(
    "ZipMap",
    domain=DOMAIN,
    reference=zip_map,
    prepare=zip_maps,
    gradient=not_differentiable("its result is a list of dicts"),
    infer=data_dependent("a sequence of maps"),
)
for _name, _reference in (("DictVectorizer", dict_vectorizer), ("CastMap", cast_map)):
    operator(
        _name,
        domain=DOMAIN,
        reference=_reference,
        gradient=not_differentiable("its input is a dict"),
        infer=data_dependent("the content of a map"),
    )
