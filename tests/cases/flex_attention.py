"""Cases of ``toolkit.operators.standard.flex_attention``."""

from __future__ import annotations

from typing import Any

import onnx
import onnx.parser

from tests.support.case import Case, Given, uniform

Q, K, V = uniform("N", 4, 3, 8), uniform("N", 2, 5, 8), uniform("N", 2, 5, 6)


def body(expression: str) -> onnx.GraphProto:
    """A graph ``float x -> float y`` of one operator."""
    return onnx.parser.parse_graph(f"body (float[a, b, c, d] x) => (float[a, b, c, d] y) {{ y = {expression} }}")


def flex(*inputs: Given, note: str, **given: Any) -> Case:
    """One row; bodies make it one without gradient."""
    settings: dict[str, Any] = {"differentiable": []} if "score_mod" in given or "prob_mod" in given else {}
    return Case(
        "FlexAttention",
        list(inputs),
        given,
        version=1,
        domain="ai.onnx.preview",
        judge="onnx.reference",
        tolerance=5e-3 if "float16" in note else 1e-5,
        gradient_tolerance=5e-3 if "float16" in note else 1e-4,
        note=note,
        **settings,
    )


CASES = [
    flex(uniform("N", 2, 3, 4), uniform("N", 2, 3, 4), uniform("N", 2, 3, 4), note="plain"),
    flex(Q, K, V, scale=0.2, note="grouped heads"),
    flex(Q, K, V, score_mod=body("Tanh(x)"), note="scores changed"),
    flex(Q, K, V, score_mod=body("Abs(x)"), prob_mod=body("Sqrt(x)"), note="both changed"),
    flex(*(uniform("N", 2, 3, 4, dtype="float16") for _ in range(3)), note="float16"),
]
