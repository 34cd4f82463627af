"""Cases of ``toolkit.operators.microsoft.decoding``."""

from __future__ import annotations

from tests.support.case import Case, integers, spread, uniform

CASES = [
    *(
        Case(
            "NGramRepeatBlock",
            [integers("N", 9, low=0, high=3), uniform("N", 5)],
            {"ngram_size": size},
            version=1,
            domain="com.microsoft",
            differentiable=[],  # what is blocked is infinite
            note=f"{size}",
        )
        for size in (2, 3, 4)
    ),
    Case(
        "NGramRepeatBlock",
        [integers("N", 4, low=0, high=10**6), uniform("N", 5)],
        {"ngram_size": 4},
        version=1,
        domain="com.microsoft",
        note="nothing repeats",
    ),
    *(
        Case(
            "DynamicTimeWarping",
            [spread(*shape, low=0.0, high=9.0)],
            version=1,
            domain="com.microsoft",
            note=f"{shape}",
        )
        for shape in ((5, 7), (1, 8, 4), (1, 3))
    ),
]
