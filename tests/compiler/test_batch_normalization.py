"""Where BatchNormalization is folded into the layer beside it, and that the same comes out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.support.interpret import interpret
from tests.support.models import network
from toolkit.compiler.bind import bind
from toolkit.compiler.pipeline import optimise_for_inference

CHANNELS = dict.fromkeys("sbm", (6,))
NORMAL = "BatchNormalization({}, s, b, m, v)"
# what lies around the normalisation, further weights, and whether it disappears
ROWS = {
    "behind a product": ("p = Gemm(x, w, c) y = " + NORMAL.format("p"), {"w": (5, 6), "c": (6,)}, True),
    "behind, without a bias": ("p = MatMul(x, w) y = " + NORMAL.format("p"), {"w": (5, 6)}, True),
    "in front of a product": ("r = Relu(x) n = " + NORMAL.format("r") + " y = MatMul(n, w)", {"w": (6, 4)}, True),
    "in front, turned": (
        "n = " + NORMAL.format("x") + " p = Gemm <transB = 1, alpha = 0.5> (n, w, c) y = Tanh(p)",
        {"w": (4, 6), "c": (4,)},
        True,
    ),
    "in front of several": (
        "n = " + NORMAL.format("x") + " p = MatMul(n, w) y = Concat <axis = 1> (p, n)",
        {"w": (6, 4)},
        False,
    ),
    "a full bias": ("n = " + NORMAL.format("x") + " y = Gemm(n, w, c)", {"w": (6, 4), "c": (3, 4)}, False),
    "as the second factor": ("n = " + NORMAL.format("x") + " y = MatMul(w, n)", {"w": (4, 3)}, False),
    "between products": (
        "p = MatMul(x, w) q = " + NORMAL.format("p") + " y = MatMul(q, u)",
        {"w": (5, 6), "u": (6, 3)},
        True,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_folded(name: str) -> None:
    body, weights, disappears = ROWS[name]
    size = 5 if weights["w"] == (5, 6) else 6
    net = network(f"folded (float[N, {size}] x) => (float[N, M] y) {{ {body} }}", v=(6,), **CHANNELS, **weights)
    net.parameters["v"].assign(np.linspace(0.5, 2.0, 6, dtype=np.float32))
    x = np.random.default_rng(0).standard_normal((3, size)).astype(np.float32)
    found = []
    for optimises in (False, True):
        program = bind(net, 3)
        if optimises:
            optimise_for_inference(program)
            left = Counter(node.op_type for node in program.nodes)
            assert (left["BatchNormalization"] == 0) is disappears
        read = [item for node in program.nodes for item in node.inputs if item is not None]
        feeds = {item: item.parameter.array for item in read if item.parameter is not None}
        found.append(interpret(program, {**feeds, program.inputs["x"]: x}, [program.outputs["y"]])[0])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)
