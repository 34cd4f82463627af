"""com.microsoft MurmurHash3: the 32-bit hash of every element, of numbers by their bytes, of strings by their UTF-8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import TensorType, not_differentiable, operator

FIRST_FACTOR, SECOND_FACTOR = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)
FINAL_FACTORS = (np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35))


def _turned(x: np.ndarray, count: int) -> np.ndarray:
    """The bits of every word, turned to the left."""
    return (x << np.uint32(count)) | (x >> np.uint32(32 - count))


def _scrambled(block: np.ndarray) -> np.ndarray:
    return _turned(block * FIRST_FACTOR, 15) * SECOND_FACTOR


def murmur_hash(words: np.ndarray, tail: np.ndarray, length: int, seed: int) -> np.ndarray:
    """Hashes of keys of ``length`` bytes each: whole words (count, words), and the bytes after them as one number."""
    state = np.full(len(words), seed, dtype=np.uint32)
    for block in words.T:
        state = _turned(state ^ _scrambled(block), 13) * np.uint32(5) + np.uint32(0xE6546B64)
    if length % 4:
        state = state ^ _scrambled(tail)
    state = state ^ np.uint32(length)
    for shift, factor in zip((16, 13), FINAL_FACTORS, strict=True):
        state = (state ^ (state >> np.uint32(shift))) * factor
    return np.asarray(state ^ (state >> np.uint32(16)))


def _of_strings(x: np.ndarray, seed: int) -> np.ndarray:
    """Strings of one length are hashed together."""
    keys = [item.encode() if isinstance(item, str) else bytes(item) for item in x.reshape(-1)]
    lengths = np.asarray([len(key) for key in keys], dtype=np.int64)
    hashes = np.empty(len(keys), dtype=np.uint32)
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        padded = b"".join(keys[index].ljust(-(-length // 4) * 4, b"\0") for index in chosen)
        words = np.frombuffer(padded, dtype="<u4").astype(np.uint32).reshape(len(chosen), -1)
        whole = int(length) // 4
        tail = words[:, whole] if length % 4 else np.zeros(len(chosen), np.uint32)
        hashes[chosen] = murmur_hash(words[:, :whole], tail, int(length), seed)
    return hashes


def _murmur_hash(x: np.ndarray, *, positive: int = 1, seed: int = 0) -> np.ndarray:
    seed %= 1 << 32
    if x.dtype == object:
        hashes = _of_strings(x, seed)
    else:
        words = np.ascontiguousarray(x).reshape(-1, 1).view(np.uint32)
        hashes = murmur_hash(words, np.zeros(len(words), np.uint32), x.dtype.itemsize, seed)
    return hashes.reshape(x.shape).view(np.uint32 if positive else np.int32)


def _infer(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert inputs[0] is not None
    return [(np.dtype(np.uint32 if attributes.get("positive", 1) else np.int32), inputs[0][1])]


operator(
    "MurmurHash3",
    domain=MICROSOFT,
    reference=_murmur_hash,
    gradient=not_differentiable("a hash jumps as its key changes"),
    infer=_infer,
    host_only="its keys are cut into words there",
)
