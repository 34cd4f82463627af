"""Cases of ``toolkit.operators.microsoft.linear_attention``."""

from __future__ import annotations

from typing import Any

from tests.support.case import Case, Given, uniform


def row(name: str, *inputs: Given | None, note: str = "", **given: Any) -> Case:
    return Case(
        name, list(inputs), given, version=1, domain="com.microsoft", note=note, outputs=2, gradient_tolerance=1e-4
    )


HEADS = {"q_num_heads": 2, "kv_num_heads": 2}
TOKENS = [uniform("N", 4, 6), uniform("N", 4, 6, low=-0.7, high=0.7), uniform("N", 4, 4)]
STATE, DECAY, BETA = (
    uniform("N", 2, 3, 2),
    uniform("N", 4, 2, low=-1.0, high=0.0),
    uniform("N", 4, 2, low=0.1, high=0.9),
)

CASES = [
    row("LinearAttention", *TOKENS, None, DECAY, BETA, **HEADS),
    row("LinearAttention", *TOKENS, STATE, update_rule="linear", chunk_size=2, **HEADS, note="linear"),
    row("LinearAttentionGate", uniform("N", 4, 2), uniform(2), uniform(2, low=-1.0, high=-0.1), uniform("N", 4, 2)),
    row("CausalConvWithState", uniform("N", 4, 6), uniform(4, 1, 3), uniform(4), activation="silu"),
    row(
        "CausalConvWithState",
        uniform("N", 4, 6),
        uniform(4, 1, 3),
        None,
        uniform("N", 4, 4),
        dilation=2,
        note="dilation",
    ),
    row(
        "CausalConvWithState",
        uniform("N", 6, 2, 2),
        uniform(4, 1, 3),
        None,
        uniform("N", 2, 2, 2),
        channels_last=1,
        note="channels last",
    ),
]
