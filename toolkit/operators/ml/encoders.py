"""LabelEncoder, CategoryMapper and OneHotEncoder: values looked up in lists that the attributes hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.ml.lookup_table import LookupTable
from toolkit.operators.ml.packing import Packing
from toolkit.operators.ml.rows import DOMAIN, FLOAT, STRING, Types, first
from toolkit.operators.record import TensorType, not_differentiable, operator

CHOICE = not_differentiable("it looks values up in a list, so it is constant between its steps", slope_is_zero=True)
INTEGER = np.dtype(np.int64)

Strings = Sequence[str] | None
Integers = Sequence[int] | None
Floats = Sequence[float] | None


def _strings(values: Sequence[str]) -> np.ndarray:
    return np.array(list(values), dtype=object)


STRING_TABLE = Packing(lambda values: LookupTable.of(_strings(values)))
INTEGER_TABLE = Packing(lambda values: LookupTable.of(np.asarray(values, np.int64)))


def _mapped(table: LookupTable, x: np.ndarray, values: np.ndarray, default: Any) -> np.ndarray:
    """``values`` at the positions of ``x`` in the table, ``default`` where it is not there."""
    extended = np.append(values, np.array([default], values.dtype))  # the last one, which -1 picks
    return np.asarray(extended[table.find(x)])


def label_encoder_1(
    x: np.ndarray, *, classes_strings: Strings = None, default_int64: int = -1, default_string: str = "_Unused"
) -> np.ndarray:
    """Version 1: strings to their position in the list, or positions to the strings there."""
    classes = classes_strings or []
    if x.dtype == STRING:
        return _mapped(STRING_TABLE(classes), x, np.arange(len(classes)), default_int64)
    names = np.append(_strings(classes), np.array([default_string], dtype=object))
    return np.asarray(names[np.where((x >= 0) & (x < len(classes)), x, -1)])


def _infer_exchanged(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    """Integers for strings, strings for integers."""
    dtype, shape = first(types)
    return [(INTEGER if dtype == STRING else STRING, shape)]


def _only(kind: str, *choices: Any) -> Any:
    """The one choice that is given. Raises ``ValueError`` for none or several."""
    found = [item for item in choices if item is not None]
    if len(found) != 1:
        raise ValueError(f"exactly one of the {kind}_* attributes must be given, got {len(found)}")
    return found[0]


def _vector(kind: str, strings: Strings, integers: Integers, floats: Floats, tensor: np.ndarray | None) -> np.ndarray:
    values = _only(kind, strings or None, integers or None, floats or None, tensor)
    if tensor is not None:
        return _with_object_strings(tensor).reshape(-1)
    return _strings(values) if strings else np.asarray(values, np.int64 if integers else np.float32)


def _with_object_strings(tensor: np.ndarray) -> np.ndarray:
    return np.asarray(tensor, STRING if tensor.dtype.kind in "US" else tensor.dtype)


def _encoding(*given: Any) -> tuple[LookupTable, np.dtype, np.ndarray]:
    """The table of the keys, their type and the values, from four attributes of each."""
    keys, values = _vector("keys", *given[:4]), _vector("values", *given[4:])
    if len(keys) != len(values):
        raise ValueError(f"{len(keys)} keys need as many values, got {len(values)}")
    return LookupTable.of(keys), keys.dtype, values


ENCODING = Packing(_encoding)


def label_encoder(
    x: np.ndarray,
    *,
    keys_strings: Strings = None,
    keys_int64s: Integers = None,
    keys_floats: Floats = None,
    keys_tensor: np.ndarray | None = None,
    values_strings: Strings = None,
    values_int64s: Integers = None,
    values_floats: Floats = None,
    values_tensor: np.ndarray | None = None,
    default_string: str = "_Unused",
    default_int64: int = -1,
    default_float: float = -0.0,
    default_tensor: np.ndarray | None = None,
) -> np.ndarray:
    """From version 2 on: keys to the values at the same place, the default of the values' type for other keys."""
    keys = (keys_strings, keys_int64s, keys_floats, keys_tensor)
    table, kind, values = ENCODING(*keys, values_strings, values_int64s, values_floats, values_tensor)
    if kind != x.dtype:
        raise ValueError(f"the keys must be of the input's type {x.dtype.name}, got {kind.name}")
    if default_tensor is not None and default_tensor.size:
        return _mapped(table, x, values, _with_object_strings(default_tensor).reshape(-1)[0])
    defaults = {"O": default_string, "i": default_int64, "f": default_float}
    return _mapped(table, x, values, defaults[values.dtype.kind])


def _infer_label_encoder(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    tensor = attributes.get("values_tensor")
    names = {"values_strings": STRING, "values_int64s": INTEGER, "values_floats": FLOAT}
    given = [dtype for name, dtype in names.items() if attributes.get(name)]
    return [(_only("values", *given, None if tensor is None else _with_object_strings(tensor).dtype), first(types)[1])]


def category_mapper(
    x: np.ndarray,
    *,
    cats_int64s: Integers = None,
    cats_strings: Strings = None,
    default_int64: int = -1,
    default_string: str = "_Unused",
) -> np.ndarray:
    """Strings to the integers at the same place, integers to strings."""
    integers, strings = cats_int64s or [], cats_strings or []
    if len(integers) != len(strings):
        raise ValueError(f"{len(integers)} integers need as many strings, got {len(strings)}")
    if x.dtype == STRING:
        return _mapped(STRING_TABLE(strings), x, np.asarray(integers, np.int64), default_int64)
    return _mapped(INTEGER_TABLE(integers), x, _strings(strings), default_string)


def one_hot_encoder(
    x: np.ndarray, *, cats_int64s: Integers = None, cats_strings: Strings = None, zeros: int = 1
) -> np.ndarray:
    """One more axis, as long as the list of categories, with a one at the category's position.

    Numbers are cut to integers. Raises ``ValueError`` for an unknown category when ``zeros`` is 0.
    """
    categories = _only("cats", cats_int64s or None, cats_strings or None)
    if (x.dtype == STRING) != bool(cats_strings):
        raise ValueError(f"the categories must be of the input's kind, which is {x.dtype.name}")
    table = STRING_TABLE(categories) if cats_strings else INTEGER_TABLE(categories)
    position = table.find(x if cats_strings else x.astype(np.int64))
    if not zeros and position.size and position.min() < 0:
        unknown = x.reshape(-1)[int(position.argmin())]
        raise ValueError(f"{unknown!r} is not among the categories, and zeros=0 asks for an error")
    return np.asarray(position[..., None] == np.arange(len(categories)), np.float32)


def _infer_one_hot(types: Types, attributes: dict[str, Any], _: Any) -> list[TensorType]:
    categories = _only("cats", attributes.get("cats_int64s") or None, attributes.get("cats_strings") or None)
    return [(FLOAT, (*first(types)[1], len(categories)))]


operator(
    "LabelEncoder",
    domain=DOMAIN,
    reference=label_encoder_1,
    gradient=CHOICE,
    infer=_infer_exchanged,
    host_only="its tables are looked up there",
)
for _since in (2, 4):
    operator(
        "LabelEncoder",
        domain=DOMAIN,
        since=_since,
        reference=label_encoder,
        gradient=CHOICE,
        infer=_infer_label_encoder,
        host_only="its tables are looked up there",
    )
operator(
    "CategoryMapper",
    domain=DOMAIN,
    reference=category_mapper,
    gradient=CHOICE,
    infer=_infer_exchanged,
    host_only="its tables are looked up there",
)
operator(
    "OneHotEncoder",
    domain=DOMAIN,
    reference=one_hot_encoder,
    gradient=CHOICE,
    infer=_infer_one_hot,
    host_only="its tables are looked up there",
)
