"""Cases of ``toolkit.operators.standard.rotary_embedding``."""

from __future__ import annotations

from tests.support.case import Case, Given, integers, uniform

POSITIONS = integers("N", 3, low=0, high=7)


def caches(*shape: int | str) -> list[Given]:
    """Cosines and sines; nothing asks them to be of real angles."""
    return [uniform(*shape, low=-1.0, high=1.0), uniform(*shape, low=-1.0, high=1.0)]


CASES = [
    Case("RotaryEmbedding", [uniform("N", 2, 3, 8), *caches(7, 4), POSITIONS], note="heads first"),
    Case("RotaryEmbedding", [uniform("N", 3, 16), *caches(7, 4), POSITIONS], {"num_heads": 2}, note="three axes"),
    Case("RotaryEmbedding", [uniform("N", 2, 3, 8), *caches("N", 3, 4)], note="without positions"),
    Case(
        "RotaryEmbedding",
        [uniform("N", 2, 3, 8), *caches(7, 4), POSITIONS],
        {"interleaved": 1},
        note="interleaved",
    ),
    Case(
        "RotaryEmbedding",
        [uniform("N", 3, 16), *caches(7, 2), POSITIONS],
        {"num_heads": 2, "rotary_embedding_dim": 4, "interleaved": 1},
        note="some features",
    ),
]
