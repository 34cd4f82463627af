"""Recipes: the options of a training in a TOML file, under the names of the flags and grouped as ``--help`` does.

A recipe is read as data and never runs anything. Relative paths in it are relative to it.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.cli.settings import Group, Option
from toolkit.cli.suggestions import folded, hint
from toolkit.errors import InputError
from toolkit.files import write_text

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read_recipe(path: str, groups: Sequence[Group]) -> dict[str, Any]:
    """The options that a recipe gives, by name. Raises ``InputError`` naming file and key for whatever is wrong."""
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except FileNotFoundError as error:
        raise InputError(f"There is no recipe {path!r}: check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path!r} is no recipe in TOML: {error}.") from error
    folder = Path(path).parent
    found: dict[str, Any] = {}
    for key, given in document.items():
        group = next((group for group in groups if folded(group.name) == folded(key)), None)
        if group is not None and isinstance(given, dict):
            for name, value in given.items():
                _take(found, path, folder, group.options, name, value, f"{key}.{name}", [])
        else:
            everything = [option for group in groups for option in group.options]
            _take(found, path, folder, everything, key, given, key, [group.name for group in groups])
    return found


def _take(
    found: dict[str, Any],
    path: str,
    folder: Path,
    options: Sequence[Option],
    name: str,
    given: Any,
    key: str,
    tables: list[str],
) -> None:
    option = next((option for option in options if folded(option.name) == folded(name)), None)
    if option is None:
        raise InputError(
            f"{path!r}: there is no option {key!r}{hint(name, [*(item.name for item in options), *tables])}."
        )
    if option.name in found:
        raise InputError(f"{path!r}: {option.name} is given twice. Keep one.")
    try:
        found[option.name] = option.plain(given, lambda one: one if Path(one).is_absolute() else str(folder / one))
    except InputError as error:
        raise InputError(f"{path!r}: {key}: {error}.") from error


def write_recipe(path: str, groups: Sequence[Group], values: Mapping[str, Any]) -> None:
    """Write all options that are not what they are by default, for ``read_recipe``; the file appears whole."""
    folder = os.path.abspath(os.path.dirname(path))
    lines = []
    for group in groups:
        chosen = {
            option.name: option.plain(values[option.name], lambda one: os.path.relpath(one, folder))
            for option in group.options
            if values[option.name] is not None and values[option.name] != option.default
        }
        if chosen:
            lines += ["", f"[{group.name}]", *(f"{key(name)} = {written(value)}" for name, value in chosen.items())]
    write_text(path, "\n".join(lines[1:]) + "\n")


def written(value: Any) -> str:
    """A plain value in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key(str(name))} = {written(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def key(name: str) -> str:
    """A key as it is, or quoted where TOML asks for it."""
    return name if BARE_KEY.fullmatch(name) else written(name)
