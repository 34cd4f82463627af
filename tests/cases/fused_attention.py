"""Cases of ``toolkit.operators.standard.fused_attention``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.support.case import Case, Given, constant, dtype_of, uniform
from tests.support.numeric import numeric_gradients

HEADS, QUERIES, KEYS, SIZE, WIDTH = 2, 3, 4, 8, 16
RATIO = 0.3
HIDDEN = [[0, 0, 0, -1e4]] * QUERIES


def seen(x: Any, swap: int) -> Any:
    return np.swapaxes(x, -3, -2) if swap else x


def naive(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    kept: Any = 1,
    *,
    ratio: float = 0.0,
    scale: Any = 1,
    is_causal: Any = 0,
    **swaps: int,
) -> tuple[Any, Any]:
    """Attention by the definition; only for small scores."""
    q, k, v = (seen(item, swaps.get(f"swap{letter}", 0)) for item, letter in zip((q, k, v), "QKV", strict=True))
    powers = np.exp(scale * np.einsum("...qd,...kd->...qk", q, k) + (0 if mask is None else mask))
    powers = np.tril(powers) if is_causal else powers
    total = powers.sum(-1, keepdims=True)
    weights = powers / total * kept / (1 - ratio)
    return seen(np.einsum("...qk,...kd->...qd", weights, v), swaps.get("swapY", 0)), np.log(total)


def judge(*arrays: Any, **attributes: Any) -> Any:
    """As many outputs as there are."""
    return naive(*arrays, **attributes)


def judge_result(*arrays: Any, **attributes: Any) -> Any:
    """The result alone."""
    return naive(*arrays, **attributes)[0]


def judge_gradient(g: Any, q: Any, k: Any, v: Any, y: Any, logarithm: Any, *behind: Any, **attributes: Any) -> Any:
    """By brute force; y and the logarithm follow from the others here."""
    return numeric_gradients(lambda q, k, v: naive(q, k, v, *behind, **attributes)[0], [q, k, v], g)


def laid(length: int, size: int, swap: int, rank: int = 4) -> tuple[Any, ...]:
    """The shape in memory of something with ``HEADS`` heads; without a batch axis the heads vary with the batch."""
    if rank == 3:
        return (length, "N", size) if swap else ("N", length, size)
    return ("N", length, HEADS, size) if swap else ("N", HEADS, length, size)


def operands(swaps: dict[str, int], rank: int = 4, dtype: str = "float32") -> list[Given]:
    """q, k and v, the same whenever they are asked for."""
    sizes = {"Q": (QUERIES, SIZE), "K": (KEYS, SIZE), "V": (KEYS, WIDTH)}
    return [
        fixed(number, laid(*size, swaps.get(f"swap{letter}", 0), rank), dtype)
        for number, (letter, size) in enumerate(sizes.items())
    ]


def fixed(number: int, shape: tuple[Any, ...], dtype: str = "float32") -> Given:
    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        sizes = [batch if size == "N" else size for size in shape]
        return np.random.default_rng(number).uniform(-1, 1, sizes).astype(dtype_of(dtype))

    return Given(make)


def result(index: int, given: list[Given], behind: Sequence[Given | None], attributes: dict[str, Any]) -> Given:
    """An output of the forward operator on the same operands."""

    def make(random: np.random.Generator, batch: int) -> np.ndarray:
        arrays = [None if item is None else item.make(random, batch) for item in (*given, *behind)]
        found = naive(*(None if item is None else item.astype(np.float64) for item in arrays), **attributes)[index]
        return np.asarray(found, np.float32)

    return Given(make)


def rows(note: str, mask: list[Given] | None = None, rank: int = 4, **attributes: Any) -> list[Case]:
    """Forward with and without what is kept, and the gradient."""
    settings = {"scale": 0.35, **attributes}
    mask, given = mask or [], operands(settings, rank)
    g = uniform(*laid(QUERIES, WIDTH, settings.get("swapY", 0), rank), low=-1, high=1)
    common: dict[str, Any] = {"domain": "toolkit", "version": 1, "note": note, "gradient_tolerance": 1e-4}
    kept = [result(index, given, mask, settings) for index in (0, 1)]
    backward = [g, *given, *kept, *mask]
    return [
        Case("ScaledDotProductAttention", [*given, *mask], settings, outputs=2, seeded=[0], judge=judge, **common),
        Case(
            "ScaledDotProductAttentionGradient",
            backward,
            settings,
            outputs=3,
            judge=judge_gradient,
            tolerance=1e-4,
            **common,
        ),
    ]


def kept_of(random: np.random.Generator, batch: int) -> np.ndarray:
    """Which weights are kept, the same whenever it is asked for."""
    return np.random.default_rng(9).random((batch, HEADS, QUERIES, KEYS)) >= RATIO


def dropping(note: str, mask: list[Given] | None = None, **attributes: Any) -> list[Case]:
    """Forward, which draws, and the gradient of what was kept."""
    settings = {"scale": 0.35, "ratio": RATIO, **attributes}
    given, behind = operands(settings), [*(mask or [None]), Given(kept_of)]
    g = uniform(*laid(QUERIES, WIDTH, settings.get("swapY", 0)), low=-1, high=1)
    made = [result(index, given, behind, settings) for index in (0, 1)]
    common: dict[str, Any] = {"domain": "toolkit", "version": 1, "note": note, "gradient_tolerance": 1e-4}
    return [
        Case("DroppingAttention", [*given, *(mask or [])], settings, outputs=3, seeded=[0], **common),
        Case(
            "ScaledDotProductAttentionGradient",
            [g, *given, *made, *behind],
            settings,
            outputs=3,
            judge=judge_gradient,
            tolerance=1e-4,
            **common,
        ),
    ]


LAID_LAST = {f"swap{letter}": 1 for letter in "QKVY"}
CASES = [
    *rows("heads first"),
    *rows("positions first", **LAID_LAST),
    *rows("causal", is_causal=1, swapK=1, swapY=1),
    *rows("mask", [constant(HIDDEN)], swapQ=1, swapV=1),
    *rows("mask by sample", [fixed(3, ("N", 1, 1, KEYS))], **LAID_LAST),
    *rows("no batch axis", rank=3, **LAID_LAST),
    *dropping("dropped"),
    *dropping("dropped and mask", [constant(HIDDEN)], **LAID_LAST),
    Case(
        "ScaledDotProductAttention",
        operands(LAID_LAST),
        {"scale": 0.35, **LAID_LAST},
        domain="toolkit",
        version=1,
        judge=judge_result,
        gradient_tolerance=1e-4,
        note="result alone",
    ),
    Case(
        "ScaledDotProductAttention",
        operands(LAID_LAST, dtype="float16"),
        {"scale": 0.35, **LAID_LAST},
        domain="toolkit",
        version=1,
        judge=judge_result,
        tolerance=5e-3,
        gradient_tolerance=1e-4,
        note="float16",
    ),
]
