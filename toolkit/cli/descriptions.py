"""Descriptions: objects in words, as ``focal:gamma=2`` says it on a command line and a table says it in a recipe.

Here is the grammar alone: ``KIND:NAME=VALUE,NAME=VALUE``. A value is written as in TOML; lists and tables may hold bare
words, ``[encoder/*,head]``, and a description within another one stands in parentheses, ``then=(cosine:end=0.1)``. What
kinds there are is the affair of ``toolkit.cli.kinds``.
"""

from __future__ import annotations

import tomllib
from typing import Any

from toolkit.errors import InputError

KIND = "kind"
PAIRS = {"(": ")", "[": "]", "{": "}"}
QUOTES = "\"'"


def parsed(text: str, *, has_kind: bool = True) -> dict[str, Any]:
    """A description as a table with ``kind`` and the parameters. Raises ``InputError`` for what is none."""
    kind, _, rest = text.partition(":") if has_kind else ("", "", text)
    values: dict[str, Any] = {KIND: kind.strip()} if has_kind else {}
    for item in split(rest):
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            example = "KIND:NAME=VALUE,NAME=VALUE" if has_kind else "NAME=VALUE,NAME=VALUE"
            raise InputError(f"{text!r}: {example} is expected, got {item!r}")
        values[name.strip()] = literal(value.strip())
    return values


def literal(text: str) -> Any:
    """A value as TOML reads it; else a list, a table, the inside of parentheses, a number, or the text itself."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        document = {}
    if len(document) == 1 and isinstance(document["value"], (bool, int, float, str, list, dict)):
        return document["value"]
    inside = text[1:-1]
    if PAIRS.get(text[:1]) == text[-1:] and len(text) > 1:
        if text[0] == "(":
            return inside
        if text[0] == "[":
            return [literal(item) for item in split(inside)]
        return parsed(inside, has_kind=False)
    try:
        return float(text)  # Python's spelling of numbers is wider than TOML's: .5
    except ValueError:
        return text


def split(text: str) -> list[str]:
    """The parts between commas that stand outside of brackets and quotes. Raises ``InputError`` for open brackets."""
    parts, waiting, quote = [""], "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in QUOTES:
            quote = letter
        elif letter in PAIRS:
            waiting += PAIRS[letter]
        elif waiting and letter == waiting[-1]:
            waiting = waiting[:-1]
        elif letter in PAIRS.values():
            raise InputError(f"{text!r}: there is a {letter!r} that closes nothing")
        elif letter == "," and not waiting:
            parts.append("")
            continue
        parts[-1] += letter
    if waiting or quote:
        raise InputError(f"{text!r}: a {waiting[-1:] or quote!r} is missing")
    return [part.strip() for part in parts if part.strip()]
