"""Tokenizer of com.microsoft: strings into tokens, by separators, by an expression for tokens, or into characters."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from toolkit.operators.record import data_dependent, not_differentiable, operator
from toolkit.operators.standard.regular_expressions import compiled
from toolkit.operators.standard.strings import padded

START, END = "\x02", "\x03"
ONE_CHARACTER = re.compile(r"[^\\.^$|?*+()\[\]{}]|\\[^\w\s]")  # as a pattern: itself and nothing else


def tokenizer(
    x: np.ndarray,
    *,
    mark: int,
    mincharnum: int,
    pad_value: str,
    separators: Sequence[str] | None = None,
    tokenexp: str | None = None,
) -> np.ndarray:
    """Tokens of each string along a new last axis, filled up with ``pad_value``; ``mark`` puts marks around them.

    Separators are regular expressions, taken one after the other; a single empty one asks for characters. Tokens
    shorter than ``mincharnum`` are left out. The new axis is empty when there is no token at all, marks or not.
    """
    if x.ndim not in (1, 2):
        raise ValueError(f"the strings must have the shape (C) or (N, C), got {x.shape}")
    if mincharnum < 1:
        raise ValueError(f"mincharnum must be positive, got {mincharnum}")
    split = _splitter(separators, tokenexp, mincharnum)
    if not x.size:
        return x
    rows = [[token for token in split(text) if len(token) >= mincharnum] for text in x.reshape(-1)]
    if not any(rows):
        return np.empty((*x.shape, 0), dtype=object)
    marked = [[START, *row, END] for row in rows] if mark else rows
    return padded(marked, pad_value).reshape(*x.shape, -1)


def _splitter(
    separators: Sequence[str] | None, tokenexp: str | None, mincharnum: int
) -> Callable[[str], Sequence[str]]:
    if separators is not None and list(separators) == [""]:
        if mincharnum > 1:
            raise ValueError(f"characters are 1 long: mincharnum must be 1, got {mincharnum}")
        return list
    if separators:
        return _by_separators(tuple(separators))
    if not tokenexp:
        raise ValueError("attribute 'separators' or 'tokenexp' is required: give regular expressions")
    pattern = compiled(tokenexp)
    return lambda text: [found.group() for found in pattern.finditer(text)]


@cache
def _by_separators(separators: tuple[str, ...]) -> Callable[[str], list[str]]:
    """The function that splits at every separator in turn; runs of single characters are taken at once."""
    steps: list[Callable[[str], list[str]]] = []
    singles: list[str] = []
    for separator in separators:
        if ONE_CHARACTER.fullmatch(separator):
            singles.append(separator)
            continue
        if singles:
            steps.append(re.compile("|".join(map(_quoted, singles))).split)
            singles = []
        steps.append(_between(compiled(separator)))
    if singles:
        steps.append(re.compile("|".join(map(_quoted, singles))).split)

    def split(text: str) -> list[str]:
        pieces = [text]
        for step in steps:
            pieces = [part for piece in pieces for part in step(piece)]
        return pieces

    return split


def _quoted(separator: str) -> str:
    return re.escape(separator[-1])


def _between(pattern: re.Pattern[str]) -> Callable[[str], list[str]]:
    """What stands between matches. Behind a match of nothing the next character goes with it."""

    def split(text: str) -> list[str]:
        pieces, begin = [], 0
        while begin < len(text) and (found := pattern.search(text, begin)) is not None:
            pieces.append(text[begin : found.start()])
            begin = found.end() + (found.end() == found.start())
        return [*pieces, text[begin:]]

    return split


operator(
    "Tokenizer",
    domain="com.microsoft",
    reference=tokenizer,
    gradient=not_differentiable("strings have no derivative"),
    infer=data_dependent("how many tokens the strings have"),
)
