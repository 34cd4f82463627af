"""Cases of ``toolkit.operators.standard.gated_activation``."""

from tests.support.case import Case, uniform

CASES = [
    Case("SwiGLU", [uniform("N", 5), uniform("N", 5)], version=28),
    Case("SwiGLU", [uniform("N", 2, 3), uniform("N", 2, 3)], {"alpha": 1.7}, version=28, note="alpha"),
    Case(
        "SwiGLU",
        [uniform("N", 5, dtype="float16"), uniform("N", 5, dtype="float16")],
        version=28,
        tolerance=5e-3,
        note="float16",
    ),
]
