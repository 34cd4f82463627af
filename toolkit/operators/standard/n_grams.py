"""TfIdfVectorizer: how often each n-gram of a pool occurs in rows of tokens, with gaps of up to some tokens.

Tokens become numbers once, by a hash table; n-grams are then looked up for all rows and positions together, one token
after the other: what the first tokens make together is a number too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from toolkit.operators.record import TensorType, not_differentiable, operator

UNKNOWN = -1
MODES = ("TF", "IDF", "TFIDF")


class _Level:
    """The beginnings of some length that n-grams of the pool have: ``keys`` (sorted) and their numbers."""

    def __init__(self, keys: np.ndarray) -> None:
        self.keys, self.numbers = np.unique(keys, return_inverse=True)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The number of each key, ``UNKNOWN`` where there is none."""
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, UNKNOWN)


class _Grams:
    """The n-grams of one length: how to find them, and which one of the pool each is."""

    def __init__(self, tokens: np.ndarray, first: int, vocabulary: int) -> None:
        self.size, self._vocabulary = tokens.shape[1], vocabulary
        self._levels = []
        number = tokens[:, 0]
        for column in tokens.T[1:]:
            level = _Level(number * vocabulary + column)
            self._levels.append(level)
            number = level.numbers
        if len(np.unique(number)) < len(number):
            raise ValueError(f"an n-gram of length {self.size} stands more than once in the pool")
        self._pool = np.full(max(vocabulary, len(number)), UNKNOWN, dtype=np.int64)
        self._pool[number] = first + np.arange(len(number))

    def find(self, tokens: np.ndarray, gap: int) -> np.ndarray:
        """Positions in the pool of what starts at each token (rows, positions), ``UNKNOWN`` for what it has not."""
        starts = tokens.shape[1] - (self.size - 1) * gap
        if starts < 1:
            return np.empty((len(tokens), 0), dtype=np.int64)
        number = tokens[:, :starts]
        for step, level in enumerate(self._levels, 1):
            following = tokens[:, step * gap : step * gap + starts]
            is_known = (number != UNKNOWN) & (following != UNKNOWN)
            number = np.where(is_known, level.find(number * self._vocabulary + following), UNKNOWN)
        return np.where(number != UNKNOWN, self._pool[number], UNKNOWN)


class _Pool:
    """Everything about a pool that does not depend on the tokens of a call: its n-grams, their columns and weights."""

    def __init__(
        self,
        pool: tuple[Any, ...],
        starts: tuple[int, ...],
        columns: tuple[int, ...],
        weights: tuple[float, ...] | None,
    ) -> None:
        self._words = {word: number for number, word in enumerate(dict.fromkeys(pool))}
        encoded = np.array([self._words[word] for word in pool], dtype=np.int64)
        self.grams: list[_Grams] = []
        first = 0
        for size, (begin, end) in enumerate(zip(starts, (*starts[1:], len(pool)), strict=True), 1):
            if not 0 <= begin <= end <= len(pool) or (end - begin) % size:
                raise ValueError(f"ngram_counts {starts} must ascend and leave whole {size}-grams of {len(pool)} items")
            if end > begin:
                self.grams.append(_Grams(encoded[begin:end].reshape(-1, size), first, len(self._words)))
            first += (end - begin) // size
        if first != len(columns) or (weights is not None and len(weights) != first):
            raise ValueError(f"ngram_indexes and weights must have one entry for each of {first} n-grams")
        self.columns = np.array(columns, dtype=np.int64)
        self.width = max(columns) + 1
        self.weights = None if weights is None else np.array(weights, dtype=np.float32)

    def encode(self, tokens: np.ndarray) -> np.ndarray:
        """The numbers of the tokens, ``UNKNOWN`` for those that no n-gram has."""
        number = self._words.get
        flat = [number(token, UNKNOWN) for token in tokens.reshape(-1).tolist()]
        return np.array(flat, dtype=np.int64).reshape(tokens.shape)

    def occurrences(self, rows: np.ndarray, sizes: range, max_skip_count: int) -> np.ndarray:
        """Row times pool size plus position in the pool, for all n-grams there are; single tokens have no gaps."""
        offsets = np.arange(len(rows))[:, None] * len(self.columns)
        parts = [np.empty(0, dtype=np.int64)]
        for grams in self.grams:
            if grams.size in sizes:
                for gap in range(1, 2 if grams.size == 1 else max_skip_count + 2):
                    found = grams.find(rows, gap)
                    parts.append((found + offsets)[found != UNKNOWN])
        return np.concatenate(parts)


_pool = lru_cache(maxsize=32)(_Pool)


def tf_idf_vectorizer(
    x: np.ndarray,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: Sequence[int],
    ngram_indexes: Sequence[int],
    pool_int64s: Sequence[int] | None = None,
    pool_strings: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
) -> np.ndarray:
    """Counts (TF), weights of what occurs (IDF) or weighted counts (TFIDF) of n-grams, per row of tokens."""
    if x.ndim > 2:
        raise ValueError(f"the tokens must have the shape (C) or (N, C), got {x.shape}")
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    items = pool_strings if pool_strings is not None else pool_int64s
    if items is None or (pool_strings is not None) != (x.dtype == object):
        raise ValueError("strings need pool_strings and integers need pool_int64s")
    pool = _pool(tuple(items), tuple(ngram_counts), tuple(ngram_indexes), tuple(weights) if weights else None)
    rows = pool.encode(x.reshape(1, -1) if x.ndim < 2 else x)
    found = pool.occurrences(rows, range(min_gram_length, max_gram_length + 1), max_skip_count)
    if mode == "IDF":
        found = np.unique(found)
    row, gram = np.divmod(found, len(pool.columns))
    weight = None if mode == "TF" or pool.weights is None else pool.weights[gram]
    total = np.bincount(row * pool.width + pool.columns[gram], weight, minlength=len(rows) * pool.width)
    return total.astype(np.float32).reshape(*x.shape[:-1], pool.width)


def infer_tf_idf_vectorizer(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """The rows, and one column for each coordinate up to the largest."""
    assert types[0] is not None
    shape = types[0][1]
    if len(shape) > 2:
        raise ValueError(f"the tokens must have the shape (C) or (N, C), got {shape}")
    return [(np.dtype(np.float32), (*shape[:-1], max(attributes["ngram_indexes"]) + 1))]


operator(
    "TfIdfVectorizer",
    since=9,
    reference=tf_idf_vectorizer,
    gradient=not_differentiable("it counts tokens"),
    infer=infer_tf_idf_vectorizer,
    host_only="its vocabulary is looked up there",
)
