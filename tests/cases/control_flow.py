"""Cases of ``toolkit.operators.standard.control_flow``."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser

from tests.support.case import Case, constant, plain, uniform


def body(text: str) -> onnx.GraphProto:
    """A graph in ONNX's textual syntax."""
    return onnx.parser.parse_graph(text)


STEP = body(
    """step (int64 i, bool c, float[N, 3] v) => (bool d, float[N, 3] w, float[N, 3] seen) {
        d = Identity (c)
        w = Tanh (v)
        seen = Neg (w)
    }"""
)
SUM = body(
    """sum (float[N, 3] s, float[N, 3] x) => (float[N, 3] t, float[N, 3] z) {
        t = Add (s, x)
        z = Identity (t)
    }"""
)
ROW = body("row (float[3] s, float[3] x) => (float[3] t, float[3] z) { t = Add (s, x) z = Identity (t) }")
BRANCHES = {
    "then_branch": body("one () => (float[2] a) { a = Constant <value = float[2] {1.0, 2.0}> () }"),
    "else_branch": body("two () => (float[3] b) { b = Constant <value = float[3] {3.0, 4.0, 5.0}> () }"),
}

CASES = [
    Case("If", [constant(True)], BRANCHES, version=13, note="then"),
    Case("If", [constant(False)], BRANCHES, version=16, note="else"),
    Case(
        "Loop",
        [plain(3), plain(True), uniform("N", 3)],
        {"body": STEP},
        version=16,
        outputs=2,
        note="counted",
    ),
    Case(
        "Loop",
        [plain(0), plain(True), uniform("N", 3)],
        {"body": STEP},
        version=13,
        outputs=2,
        note="not at all",
        judge=lambda count, condition, x, **_: (x, np.zeros((0, 0, 3), np.float32)),
    ),
    Case("Scan", [uniform("N", 3), uniform(4, "N", 3)], {"body": SUM, "num_scan_inputs": 1}, version=16, outputs=2),
    Case(
        "Scan",
        [uniform("N", 3), uniform("N", 4, 3)],
        {
            "body": SUM,
            "num_scan_inputs": 1,
            "scan_input_axes": [1],
            "scan_input_directions": [1],
            "scan_output_axes": [-1],
            "scan_output_directions": [1],
        },
        version=11,
        outputs=2,
        note="other axes, backwards",
    ),
    Case(
        "Scan",
        [None, uniform("N", 3), uniform("N", 4, 3)],
        {"body": ROW, "num_scan_inputs": 1},
        version=8,
        outputs=2,
        note="of batches",
        judge=lambda lengths, start, xs, **_: (start + xs.sum(1), start[:, None] + xs.cumsum(1)),
    ),
]
