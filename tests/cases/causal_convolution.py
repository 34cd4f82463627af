"""Cases of ``toolkit.operators.standard.causal_convolution``."""

from tests.support.case import Case, uniform

X, WEIGHT = uniform("N", 4, 6), uniform(4, 1, 3)

CASES = [
    Case("CausalConvWithState", [X, WEIGHT], version=27, outputs=2),
    Case(
        "CausalConvWithState",
        [X, WEIGHT, uniform(4), uniform("N", 4, 2)],
        {"activation": "silu"},
        version=27,
        outputs=2,
        note="bias, state and activation",
    ),
    Case("CausalConvWithState", [uniform("N", 4, 1), WEIGHT], version=27, outputs=2, note="shorter than the state"),
]
