"""A bias and an activation meet their convolution past axes of size one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.models import network
from toolkit.compiler.bind import bind
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.graph import Network

START = """last = Constant <value = int64[1] {-1}> () c = Conv(x, w) s = Squeeze(c, last)
    six = Constant <value = float {6.0}> () """
WEIGHTS = {"w": (4, 3, 3, 1), "bias": (4, 1), "w2": (4, 4, 1, 1), "wide": (1, 4, 1), "each": (6,)}


def behind(body: str) -> Network:
    return network(f"line (float[N, 3, 8, 1] x) => (float[N, 4, M] y) {{ {START} {body} }}", **WEIGHTS)


@pytest.mark.parametrize(
    ("body", "operators"),
    [
        ("y = Relu(s)", {"FusedConv", "Reshape"}),
        ("b = Add(s, bias) y = Gelu(b)", {"FusedConv", "Reshape"}),
        ("b = Add(wide, s) y = Clip(b, six)", {"FusedConv", "Reshape"}),
        ("u = Unsqueeze(s, last) r = Relu(u) y = Squeeze(r, last)", {"FusedConv", "Squeeze"}),
        ("r = Relu(s) u = Unsqueeze(r, last) k = Conv(u, w2) y = Squeeze(k, last)", {"FusedConv", "Squeeze"}),
        ("y = Sub(six, s)", {"FusedConv", "Reshape", "Sub"}),
        ("y = Mul(s, each)", {"FusedConv", "Mul", "Reshape"}),
        ("r = Relu(s) y = Add(s, r)", {"Add", "FusedConv", "Relu", "Squeeze"}),
        ("y = Softmax(s)", {"FusedConv", "Softmax", "Squeeze"}),
    ],
)
def test_what_is_elementwise_comes_before_the_view(body: str, operators: set[str]) -> None:
    program = optimise_for_inference(bind(behind(body), 2))
    assert {node.op_type for node in program.nodes} == operators
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 1)).astype(np.float32)
    plain = behind("y = Identity(s)").run(x, backend="numpy")["y"]
    net = behind(body)
    found = {backend: net.run(x, backend=backend)["y"] for backend in ("cpu", "numpy")}
    np.testing.assert_allclose(found["cpu"], found["numpy"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["numpy"], expected(body, plain, net), rtol=1e-4, atol=1e-5)


def expected(body: str, s: np.ndarray, net: Network) -> np.ndarray:
    """What the body says, of the convolution's result without its last axis."""
    named = {name: net.parameters[name].array for name in WEIGHTS}
    start = START.replace("c = Conv(x, w) s = Squeeze(c, last)", "")
    rest = f"rest (float[N, 4, 6] s) => (float[N, 4, M] y) {{ {start} {body} }}"
    made = network(rest, **{name: shape for name, shape in WEIGHTS.items() if name != "w"})
    for name in made.parameters:
        if name in named:
            made.parameters[name].assign(named[name])
    return made.run(s, backend="numpy")["y"]
