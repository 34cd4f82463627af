"""Activations and their gradients on oneDNN, in plain and blocked layouts, against the operators' references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.onednn.driver import BACKEND, node_of, run
from tests.backends.onednn.test_parts import channels_last
from toolkit.backends.onednn.gelu import FollowedByGelu
from toolkit.backends.onednn.memory import dense, layout_of
from toolkit.backends.protocol import Layout, plain
from toolkit.operators.long_tail import reference_for

CHANNELS_LAST = layout_of(dense(np.dtype(np.float32), (2, 5, 7, 6)).permuted((0, 3, 1, 2)))
X = np.random.default_rng(0).uniform(-4, 4, (2, 6, 5, 7)).astype(np.float32)
UNARY = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.2},
    "Sigmoid": {},
    "Tanh": {},
    "Elu": {"alpha": 0.5},
    "HardSigmoid": {},
    "HardSwish": {},
    "Gelu": {},
    "Mish": {},
    "Abs": {},
    "Exp": {},
    "Neg": {},
    "Reciprocal": {},
    "Round": {},
}


def reference(op_type: str, attributes: dict[str, Any]) -> Any:
    record = node_of(op_type, [X], attributes).record
    if record is not None and record.reference is not None:
        return record.reference
    return reference_for("", op_type, 23, attributes)


def single(result: Any) -> np.ndarray:
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("layout", [None, CHANNELS_LAST], ids=["plain", "channels last"])
@pytest.mark.parametrize("op_type", UNARY)
def test_unary(op_type: str, layout: Layout | None) -> None:
    attributes = UNARY[op_type]
    outcome = run(node_of(op_type, [X], attributes), [X], lying={} if layout is None else {0: layout})
    np.testing.assert_allclose(outcome.y, single(reference(op_type, attributes)(X, **attributes)), rtol=1e-5, atol=2e-6)
    if layout is not None:
        assert outcome.layouts == [layout]
    assert outcome.kernel.in_place == ((0, 0),)


@pytest.mark.parametrize("layout", [None, CHANNELS_LAST], ids=["plain", "channels last"])
@pytest.mark.parametrize("shape", [(), (1, 1, 1), (6, 1, 1), (1, 6, 1, 1)])
def test_parametric_slope(shape: tuple[int, ...], layout: Layout | None) -> None:
    slope = np.random.default_rng(1).uniform(-1, 2, shape).astype(np.float32)
    outcome = run(node_of("PRelu", [X, slope]), [X, slope], lying={} if layout is None else {0: layout})
    np.testing.assert_allclose(outcome.y, np.where(X < 0, X * slope, X), rtol=1e-6)
    if layout is not None:
        assert outcome.layouts == [layout]


@pytest.mark.parametrize("shape", [(5, 1), (6, 5, 7), (2, 1, 1, 1)])
def test_slopes_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    assert not BACKEND.supports(node_of("PRelu", [X, np.zeros(shape, np.float32)]))


def test_square_root() -> None:
    x = np.abs(X)
    np.testing.assert_allclose(run(node_of("Sqrt", [x]), [x]).y, np.sqrt(x), rtol=1e-6)


@pytest.mark.parametrize("op_type", ["Log", "Softplus"])
def test_coarse_functions_are_left_to_others(op_type: str) -> None:
    assert not BACKEND.supports(node_of(op_type, [X]))


def test_clip_needs_bounds_that_are_known() -> None:
    arrays = [X, np.float32(-1).reshape(()), np.float32(2).reshape(())]
    node = node_of("Clip", arrays, constants=[1, 2])
    np.testing.assert_array_equal(run(node, arrays).y, np.clip(X, -1, 2))
    assert not BACKEND.supports(node_of("Clip", arrays))


@pytest.mark.parametrize(
    ("name", "alpha", "beta", "from_output"),
    [
        ("Relu", 0.0, 0.0, 1),
        ("Relu", 0.0, 0.0, 0),
        ("LeakyRelu", 0.1, 0.0, 1),
        ("LeakyRelu", 0.1, 0.0, 0),
        ("Clip", -1.0, 2.0, 1),
        ("Clip", -1.0, 2.0, 0),
        ("Sigmoid", 0.0, 0.0, 1),
        ("Tanh", 0.0, 0.0, 1),
        ("Elu", 0.7, 0.0, 1),
        ("Elu", 0.7, 0.0, 0),
        ("HardSigmoid", 0.2, 0.5, 0),
        ("HardSwish", 0.0, 0.0, 0),
        ("Gelu", 0.0, 0.0, 0),
        ("GeluTanh", 0.0, 0.0, 0),
        ("Silu", 0.0, 0.0, 0),
    ],
)
def test_gradient(name: str, alpha: float, beta: float, from_output: int) -> None:
    numbers = {"activation": name, "activation_alpha": alpha, "activation_beta": beta, "from_output": from_output}
    v = {"Sigmoid": 1 / (1 + np.exp(-X)), "Tanh": np.tanh(X), "Clip": np.clip(X, -1, 2)}.get(name, X)
    v = np.maximum(v, -0.6).astype(np.float32) if name == "Elu" else v.astype(np.float32)
    g = np.random.default_rng(1).standard_normal(X.shape).astype(np.float32)
    node = node_of("ActivationGradient", [g, v], numbers, domain="toolkit")
    outcome = run(node, [g, v], lying={1: CHANNELS_LAST}, training=True)
    np.testing.assert_allclose(outcome.y, node.record.reference(g, v, **numbers), rtol=1e-4, atol=1e-5)
    assert outcome.layouts == [CHANNELS_LAST]


@pytest.mark.parametrize("lying", [{}, {0: channels_last(2, 16, 15, 9)}], ids=["in rows", "channels last"])
def test_the_approximate_gelu_of_many_numbers(lying: dict[int, Layout]) -> None:
    x = np.random.default_rng(0).uniform(-9, 9, (2, 16, 15, 9)).astype(np.float32)
    found = run(node_of("Gelu", [x], {"approximate": "tanh"}), [x], lying=lying)
    exact = x.astype(np.float64)
    exact *= 0.5 + 0.5 * np.tanh(np.sqrt(2 / np.pi) * (exact + 0.044715 * exact**3))
    np.testing.assert_allclose(found.y, exact, rtol=2e-6, atol=1e-7)
    assert found.layouts == [lying.get(0) or plain(x.dtype, x.shape)]


def test_an_approximate_gelu_follows_large_sums() -> None:
    random = np.random.default_rng(0)
    x, w, b, residual = (random.standard_normal(s).astype(np.float32) for s in ((128, 96), (96, 64), (64,), (128, 64)))
    attributes = {"activation": "GeluTanh"}
    node = node_of("FusedMatMul", [x, w, b, residual], attributes, domain="toolkit")
    found = run(node, [x, w, b, residual])
    assert isinstance(found.kernel, FollowedByGelu) and found.kernel.accumulates == (0, 3)
    np.testing.assert_allclose(found.y, node.record.reference(x, w, b, residual, **attributes), rtol=1e-4, atol=1e-5)
    images, windows = x.reshape(2, 4, 16, 96), random.standard_normal((16, 4, 3, 3)).astype(np.float32)
    settings = {"strides": [1, 1], "pads": [1] * 4, "dilations": [1, 1], "group": 1, **attributes}
    node = node_of("FusedConv", [images, windows], settings, domain="toolkit")
    found = run(node, [images, windows])
    assert isinstance(found.kernel, FollowedByGelu)
    np.testing.assert_allclose(found.y, node.record.reference(images, windows, **settings), rtol=1e-4, atol=1e-4)


def test_a_tanh_of_its_own_stays_exact_near_zero() -> None:
    x = np.geomspace(1e-6, 1.0, 64, dtype=np.float32)
    np.testing.assert_allclose(run(node_of("Tanh", [x]), [x]).y, np.tanh(x.astype(np.float64)), rtol=1e-6)
