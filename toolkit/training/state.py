"""What an object remembers, as plain values and arrays: taken and given back without running code from a file.

A metric or a schedule of somebody's own is resumed like one of the toolkit's: whatever of its attributes is a number, a
text, an array, a list or dictionary of such, or an object with such attributes, is remembered. Attributes that are none
of these (functions, modules, open files) are settings: they stay as the object has them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
PLAIN = (bool, int, float, str, type(None))
SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "deque": deque}
DEEPEST = 8  # objects in objects; what lies deeper is structure that no figure is kept in


def remembered(item: object, arrays: Arrays, name: str, depth: int = 0) -> dict[str, Any]:
    """The attributes of ``item`` for JSON; its arrays are put into ``arrays`` under names that begin with ``name``."""
    found = {}
    for key, value in vars(item).items():
        title, own = f"{name}/{key}", Arrays()
        if _is_object(value) and depth < DEEPEST:
            found[key] = {"object": remembered(value, arrays, title, depth + 1)}
        elif not _is_object(value) and (plain := list(_plain(value, own, title))):
            found[key] = plain[0]
            arrays.update(own)
    return found


def recall(item: object, plain: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Give ``item`` back what ``remembered`` took from it, or from another object of its kind."""
    for key, value in plain.items():
        if isinstance(value, dict) and "object" in value:
            recall(getattr(item, key), value["object"], arrays)
        else:
            vars(item)[key] = _value(value, arrays, vars(item).get(key))


def _is_object(value: Any) -> bool:
    return hasattr(value, "__dict__") and not isinstance(value, (type, np.ndarray)) and not callable(value)


def _plain(value: Any, arrays: Arrays, name: str) -> Iterator[Any]:
    """The one plain form of a value, or nothing where it has none."""
    if type(value) in PLAIN:
        yield value
    elif isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        arrays[name] = np.array(value)
        yield {"array": name}
    elif type(value) is dict and all(isinstance(key, str) for key in value):
        items = {key: list(_plain(item, arrays, f"{name}/{key}")) for key, item in value.items()}
        if all(items.values()):
            yield {"dict": {key: item[0] for key, item in items.items()}}
    elif kind := next((kind for kind, sequence in SEQUENCES.items() if type(value) is sequence), None):
        parts = [list(_plain(item, arrays, f"{name}/{at}")) for at, item in enumerate(value)]
        if all(parts):
            yield {kind: [part[0] for part in parts]}


def _value(plain: Any, arrays: Mapping[str, np.ndarray], present: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    if kind == "array":
        found = arrays[content]
        return found[()] if isinstance(present, np.generic) else found.copy()
    if kind == "dict":
        return {key: _value(item, arrays, None) for key, item in content.items()}
    items = [_value(item, arrays, None) for item in content]
    return (
        deque(items, present.maxlen if isinstance(present, deque) else None)
        if kind == "deque"
        else (SEQUENCES[kind](items))
    )
