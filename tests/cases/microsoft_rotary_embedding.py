"""Cases of ``toolkit.operators.microsoft.rotary_embedding``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, integers, uniform, variable

CACHES = [uniform(16, 4, low=-1.0, high=1.0), uniform(16, 4, low=-1.0, high=1.0)]
POSITIONS = integers("N", 3, low=0, high=16)
STREAMS = integers(3, "N", 3, low=0, high=16)


def row(name: str, *inputs: Given | None, note: str = "", judge: Any = None, outputs: int = 1, **given: Any) -> Case:
    return Case(
        name, list(inputs), given, version=1, domain="com.microsoft", note=note, judge=judge, outputs=outputs,
        tolerance=1e-2 if judge is judge_gemma else 1e-5,
    )  # fmt: skip


def judge_gemma(angles: Any, query: Any, query_turned: Any, key: Any, key_turned: Any) -> Any:
    sine, cosine = np.sin(angles)[:, None], np.cos(angles)[:, None]
    turned = query * cosine + query_turned * sine, key * cosine + key_turned * sine
    return tuple(item.astype(np.float16) for item in turned)


HALF = uniform("N", 2, 3, 4, dtype="float16")
CASES = [
    row("RotaryEmbedding", uniform("N", 3, 16), POSITIONS, *CACHES),
    row("RotaryEmbedding", uniform("N", 3, 16), variable([4]), *CACHES, note="one position"),
    row("RotaryEmbedding", uniform("N", 2, 3, 8), POSITIONS, *CACHES, interleaved=1, note="heads first, interleaved"),
    row(
        "RotaryEmbedding",
        uniform("N", 3, 24),
        POSITIONS,
        *CACHES,
        num_heads=2,
        rotary_embedding_dim=8,
        note="some features",
    ),
    row(
        "MRotaryEmbedding",
        uniform("N", 3, 16),
        STREAMS,
        *CACHES,
        num_heads=2,
        rotary_embedding_dim=8,
        mrope_section=[2, 1, 1],
    ),
    row(
        "MRotaryEmbedding",
        uniform("N", 2, 3, 8),
        STREAMS,
        *CACHES,
        mrope_section=[2, 1, 1],
        mrope_layout=1,
        note="mixed",
    ),
    row("GemmaRotaryEmbedding", uniform("N", 3, 4), HALF, HALF, HALF, HALF, outputs=2, judge=judge_gemma),
]
