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
    """Everything about a pool that does not depend on the tokens of a call."""

    def __init__(self, pool: tuple[Any, ...], counts: tuple[int, ...]) -> None:
        words = {word: number for number, word in enumerate(dict.fromkeys(pool))}
        self._words = words
        encoded = np.array([words[word] for word in pool], dtype=np.int64)
        self.grams: list[_Grams] = []
        first = 0
        for size, (begin, end) in enumerate(zip(counts, (*counts[1:], len(pool)), strict=True), 1):
            if not 0 <= begin <= end <= len(pool) or (end - begin) % size:
                raise ValueError(f"ngram_counts {counts} must ascend and leave whole {size}-grams of {len(pool)} items")
            if end > begin:
                self.grams.append(_Grams(encoded[begin:end].reshape(-1, size), first, len(words)))
            first += (end - begin) // size
        self.n_grams = first

    def encode(self, tokens: np.ndarray) -> np.ndarray:
        """The numbers of the tokens, ``UNKNOWN`` for those that no n-gram has."""
        number = self._words.get
        flat = [number(token, UNKNOWN) for token in tokens.reshape(-1).tolist()]
        return np.array(flat, dtype=np.int64).reshape(tokens.shape)


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
    pool = _pool(tuple(items), tuple(ngram_counts))
    if pool.n_grams != len(ngram_indexes) or (weights and len(weights) != pool.n_grams):
        raise ValueError(f"ngram_indexes and weights must have one entry for each of {pool.n_grams} n-grams")
    rows = pool.encode(x.reshape(1, -1) if x.ndim < 2 else x)
    counts = _counted(rows, pool, range(min_gram_length, max_gram_length + 1), max_skip_count)
    if mode == "IDF":
        counts = np.minimum(counts, 1)
    values = counts.astype(np.float32)
    if mode != "TF" and weights:
        values *= np.asarray(weights, dtype=np.float32)
    result = np.zeros((len(rows), max(ngram_indexes) + 1), dtype=np.float32)
    np.add.at(result.T, np.asarray(ngram_indexes), values.T)
    return result[0] if x.ndim < 2 else result


def _counted(rows: np.ndarray, pool: _Pool, sizes: range, max_skip_count: int) -> np.ndarray:
    """How often each n-gram of the pool occurs in each row; single tokens have no gaps."""
    total = np.zeros(len(rows) * pool.n_grams, dtype=np.int64)
    offsets = np.arange(len(rows))[:, None] * pool.n_grams
    for grams in pool.grams:
        if grams.size not in sizes:
            continue
        for gap in range(1, 2 if grams.size == 1 else max_skip_count + 2):
            found = grams.find(rows, gap)
            total += np.bincount((found + offsets)[found != UNKNOWN], minlength=total.size)
    return total.reshape(len(rows), pool.n_grams)


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
)
