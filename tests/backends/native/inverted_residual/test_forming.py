"""Which convolutions in a row become one node, and that it computes what they computed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.models import network
from toolkit.backends import native, onednn
from toolkit.backends.native.convolution import convolution
from toolkit.backends.native.inverted_residual import forming
from toolkit.graph import Network

if native.unavailable_reason() is not None or not onednn.available():
    pytest.skip("needs llvmlite and oneDNN", allow_module_level=True)

BLOCK = "toolkit::InvertedResidual"
WIDEN, FILTER, NARROW = (
    "a = Conv(x, w1, b1) b = Relu(a)",
    "c = Conv <{}> (b, w2) d = HardSwish(c)",
    "e = Conv(d, w3, b3)",
)
DEPTHWISE = "group = 32, pads = [1, 1, 1, 1]"


@pytest.fixture(autouse=True)
def left_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions of these small images are the library's, as those of large ones."""
    monkeypatch.setattr(convolution, "MOST_PRODUCTS", (0, 0))
    monkeypatch.setattr(forming, "LEAST_NBYTES", 0)


def _network(body: str, outputs: str = "float[N, 16, 9, 9] y", channels: int = 32) -> Network:
    weights = {"w1": (channels, 16, 1, 1), "b1": (channels,), "w2": (channels, 1, 3, 3), "w3": (16, channels, 1, 1)}
    return network(f"block (float[N, 16, 9, 9] x) => ({outputs}) {{ {body} }}", **weights, b3=(16,))


def _operators(made: Network, training: bool = False) -> list[str]:
    """The operators of a context that finds what numpy finds."""
    x = np.random.default_rng(1).standard_normal((2, 16, 9, 9)).astype(np.float32)
    context = made.context(batch_size=2, training=training)
    found = context.forward(x) if training else context.run(x)
    expected = made.context(batch_size=2, backend="numpy").run(x)
    for name, y in expected.items():
        np.testing.assert_allclose(found[name], y, rtol=1e-4, atol=1e-4)
    return [step.operator for step in context.explain().steps if step.operator != "Reorder"]


def _block(ending: str = "y = Identity(e)", filters: str = DEPTHWISE) -> str:
    return f"{WIDEN} {FILTER.format(filters)} {NARROW} {ending}"


@pytest.mark.parametrize("ending", ["y = Identity(e)", "y = Add(x, e)", "f = Add(e, x) y = Relu(f)"])
def test_three_convolutions_become_one_node(ending: str) -> None:
    assert _operators(_network(_block(ending))) == [BLOCK]


def test_two_convolutions_become_one_node() -> None:
    body = "c = Conv <group = 16, pads = [1, 1, 1, 1]> (x, w2) y = Conv(c, w3)"
    weights = {"w2": (16, 1, 3, 3), "w3": (8, 16, 1, 1)}
    made = network(f"block (float[N, 16, 9, 9] x) => (float[N, 8, 9, 9] y) {{ {body} }}", **weights)
    assert _operators(made) == [BLOCK]


def test_the_end_of_a_block_does_not_begin_the_next_one() -> None:
    body = (
        "c = Conv <group = 16, pads = [1, 1, 1, 1]> (x, w2) d = Conv(c, w3)"
        "e = Conv <group = 16, pads = [1, 1, 1, 1]> (d, w4) y = Conv(e, w5)"
    )
    weights = {"w2": (16, 1, 3, 3), "w3": (16, 16, 1, 1), "w4": (16, 1, 3, 3), "w5": (8, 16, 1, 1)}
    made = network(f"block (float[N, 16, 9, 9] x) => (float[N, 8, 9, 9] y) {{ {body} }}", **weights)
    assert _operators(made) == [BLOCK] * 2


def test_what_is_read_elsewhere_is_kept() -> None:
    wide = ", float[N, 32, 9, 9] {}"
    outputs = "float[N, 16, 9, 9] y"
    assert _operators(_network(_block(), outputs + wide.format("d"))) == ["toolkit::FusedConv"] * 3
    assert _operators(_network(_block(), outputs + wide.format("b"))) == ["toolkit::FusedConv", BLOCK]


@pytest.mark.parametrize("filters", ["group = 32, dilations = [2, 2], pads = [2, 2, 2, 2]"])
def test_other_convolutions_stay_what_they_are(filters: str) -> None:
    assert BLOCK not in _operators(_network(_block(filters=filters)))


def test_small_images_that_are_not_widened_are_left_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forming, "LEAST_NBYTES", 1 << 20)
    made = _network(_block(filters="group = 16, pads = [1, 1, 1, 1]"), channels=16)
    assert _operators(made) == ["toolkit::FusedConv"] * 3


def test_channels_that_fill_no_vector_are_left_to_the_library() -> None:
    made = _network(_block(filters="group = 12, pads = [1, 1, 1, 1]"), channels=12)
    assert _operators(made) == ["toolkit::FusedConv"] * 3


def test_nothing_is_formed_where_gradients_are_computed() -> None:
    assert BLOCK not in _operators(_network(_block()), training=True)
