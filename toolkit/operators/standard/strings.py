"""Operators on strings, which are object arrays of ``str``: joining, splitting, normalising, matching.

White space is what Python calls so. Upper and lower case are those of Unicode, character by character, whatever the
locale of a node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.operators.record import DataDependentError, TensorType, data_dependent, not_differentiable, operator
from toolkit.operators.standard.regular_expressions import compiled

STRINGS = not_differentiable("strings have no derivative")
LENGTHS = np.frompyfunc(len, 1, 1)
MOST_CHARACTERS = 1 << 26  # shapes do not tell how long strings are, and nodes that double one grow it without end


def string_concat(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Strings of ``y`` behind those of ``x``, with broadcasting. Raises ``ValueError`` beyond ``MOST_CHARACTERS``."""
    characters = int(np.sum(LENGTHS(x) + LENGTHS(y)))
    if characters > MOST_CHARACTERS:
        raise ValueError(f"the results must hold at most {MOST_CHARACTERS} characters in all, got {characters}")
    return np.asarray(np.add(x, y), dtype=object)


def string_split(
    x: np.ndarray, *, delimiter: str | None = None, maxsplit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The parts of each string along a new last axis, filled up with empty strings, and how many there are of each.

    Without a delimiter any run of white space is one, and none is left at the ends.
    """
    limit = -1 if maxsplit is None else maxsplit
    if delimiter:
        parts = [text.split(delimiter, limit) for text in x.reshape(-1)]
    else:
        parts = [text.strip().split(None, limit) for text in x.reshape(-1)]
    counts = np.array([len(row) for row in parts], dtype=np.int64)
    return padded(parts, "").reshape(*x.shape, -1 if x.size and counts.any() else 0), counts.reshape(x.shape)


def padded(rows: Sequence[Sequence[str]], pad: str) -> np.ndarray:
    """Rows of strings as an array (rows, longest row), filled up with ``pad``."""
    result = np.full((len(rows), max(map(len, rows), default=0)), pad, dtype=object)
    for target, row in zip(result, rows, strict=True):
        target[: len(row)] = row
    return result


def string_normalizer(
    x: np.ndarray,
    *,
    case_change_action: str = "NONE",
    is_case_sensitive: int = 0,
    locale: str | None = None,
    stopwords: Sequence[str] | None = None,
) -> np.ndarray:
    """The strings (C) or (1, C) without stop words, in upper or lower case; one empty string when none is left."""
    _check_row(x.shape)
    if case_change_action not in CASES:
        raise ValueError(f"case_change_action must be one of {', '.join(CASES)}, got {case_change_action!r}")
    texts = x.reshape(-1).tolist()
    if stopwords and is_case_sensitive:
        unwanted = set(stopwords)
        texts = [text for text in texts if text not in unwanted]
    elif stopwords:
        unwanted = set(map(lower, stopwords))
        texts = [text for text in texts if lower(text) not in unwanted]
    found = list(map(CASES[case_change_action], texts)) or [""]
    return np.array(found, dtype=object).reshape(*x.shape[:-1], len(found))


def _check_row(shape: tuple[int, ...]) -> None:
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != 1):
        raise ValueError(f"the strings must have the shape (C) or (1, C), got {shape}")


def upper(text: str) -> str:
    """Upper case of the same length: characters whose upper case is several characters stay."""
    changed = text.upper()
    return changed if len(changed) == len(text) else _one_by_one(text, str.upper)


def lower(text: str) -> str:
    """Lower case of the same length: characters whose lower case is several characters stay."""
    changed = text.lower()
    return changed if len(changed) == len(text) else _one_by_one(text, str.lower)


def _one_by_one(text: str, change: Callable[[str], str]) -> str:
    return "".join(changed if len(changed := change(character)) == 1 else character for character in text)


CASES: dict[str, Callable[[str], str]] = {"NONE": str, "LOWER": lower, "UPPER": upper}


def infer_string_normalizer(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """The type of the input, unless stop words may shorten it."""
    assert types[0] is not None
    dtype, shape = types[0]
    _check_row(shape)
    if attributes.get("stopwords"):
        raise DataDependentError("how many strings are stop words")
    return [(dtype, (*shape[:-1], max(shape[-1], 1)))]


def regex_full_match(x: np.ndarray, *, pattern: str | None = None) -> np.ndarray:
    """Whether the regular expression (in RE2's syntax) matches each string from its beginning to its end."""
    if pattern is None:
        raise ValueError("attribute 'pattern' is required: give a regular expression")
    match = compiled(pattern).fullmatch
    return np.fromiter((match(text) is not None for text in x.reshape(-1)), dtype=bool, count=x.size).reshape(x.shape)


operator("StringConcat", since=20, reference=string_concat, gradient=STRINGS, host_only="it works on strings")
operator(
    "StringSplit",
    since=20,
    reference=string_split,
    gradient=STRINGS,
    infer=data_dependent("how many parts the strings have"),
)
operator(
    "StringNormalizer",
    since=10,
    reference=string_normalizer,
    gradient=STRINGS,
    infer=infer_string_normalizer,
    host_only="it works on strings",
)
operator("RegexFullMatch", since=20, reference=regex_full_match, gradient=STRINGS, host_only="it works on strings")
