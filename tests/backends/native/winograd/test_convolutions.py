"""Convolutions by minimal filtering, in layouts of oneDNN, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node, planned
from toolkit.backends import onednn
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.winograd.convolution import is_convolution
from toolkit.backends.native.winograd.images import Images
from toolkit.backends.onednn.backend import OneDNNBackend
from toolkit.compiler.program import Program, Variable

pytestmark = pytest.mark.skipif(not onednn.available(), reason=f"oneDNN: {onednn.unavailable_reason()}")

USUAL: dict[str, Any] = {"strides": [1, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1], "group": 1}


def _arrays(x: tuple[int, ...], outputs: int, taps: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    weight = random.standard_normal((outputs, x[1], taps, taps)) / np.sqrt(taps**2 * x[1])
    return [array.astype(np.float32) for array in (random.standard_normal(x), weight, random.standard_normal(outputs))]


def _grad(x: tuple[int, ...], outputs: int, pads: list[int], taps: int = 3) -> np.ndarray:
    size = (x[2] + pads[0] + pads[2] - taps + 1, x[3] + pads[1] + pads[3] - taps + 1)
    return np.random.default_rng(1).standard_normal((x[0], outputs, *size)).astype(np.float32)


SHAPES = [
    ((3, 32, 26, 28), 40, [0, 0, 0, 0], 3),  # a panel that is not full
    ((2, 24, 41, 30), 40, [2, 0, 1, 1], 3),
    ((1, 128, 14, 14), 128, [1, 1, 1, 1], 3),  # threads share outputs
    ((2, 264, 6, 6), 80, [1, 1, 1, 1], 3),  # channels in two parts
    ((6, 20, 12, 13), 51, [0, 1, 0, 1], 5),  # vectors that are not full
    ((4, 40, 16, 16), 29, [1, 1, 1, 1], 3),  # results alone do not fill vectors
    ((2, 312, 6, 6), 80, [1, 1, 1, 1], 3),  # few tiles, channels in two parts of which the last is not full
    ((9, 96, 14, 14), 96, [1, 1, 1, 1], 3),  # threads share outputs, and there are many tiles
]
shapes = pytest.mark.parametrize(("x", "outputs", "pads", "taps"), SHAPES)
several = pytest.mark.parametrize("threads", [1, 2])


@several
@shapes
def test_convolution(x: tuple[int, ...], outputs: int, pads: list[int], taps: int, threads: int) -> None:
    arrays, others = _arrays(x, outputs, taps), [OneDNNBackend()]
    check_node("FusedConv", arrays, {**USUAL, "pads": pads}, threads=threads, others=others)


@several
@shapes
def test_gradient_by_the_input(x: tuple[int, ...], outputs: int, pads: list[int], taps: int, threads: int) -> None:
    _, weight, _ = _arrays(x, outputs, taps)
    attributes, others = {**USUAL, "pads": pads, "input_shape": list(x)}, [OneDNNBackend()]
    grad = _grad(x, outputs, pads, taps)
    check_node("ConvInputGradient", [grad, weight], attributes, threads=threads, others=others)


@several
@shapes
def test_gradient_by_the_weight(x: tuple[int, ...], outputs: int, pads: list[int], taps: int, threads: int) -> None:
    image, weight, _ = _arrays(x, outputs, taps)
    grad = _grad(x, outputs, pads, taps)
    options: dict[str, Any] = {"known": (), "threads": threads, "others": [OneDNNBackend()], "tolerance": 2e-5}
    attributes = {**USUAL, "pads": pads, "weight_shape": list(weight.shape)}
    check_node("ConvWeightGradient", [image, grad], {**attributes, "has_bias": 0}, **options)
    check_node("ConvWeightGradient", [image, grad], {**attributes, "has_bias": 1}, outputs=2, **options)


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images lie in blocks of channels, as those do that a library's convolution has made for a training step."""
    lanes = compiler().lanes(np.dtype(np.float32))
    monkeypatch.setattr(Images, "of", lambda shape, layout: Images((shape[2], shape[3]), shape[1], lanes))


@pytest.mark.usefixtures("in_blocks")
@pytest.mark.parametrize(("x", "outputs", "pads", "taps"), [SHAPES[1], SHAPES[3], SHAPES[4]])
def test_channels_in_blocks(x: tuple[int, ...], outputs: int, pads: list[int], taps: int) -> None:
    image, weight, bias = _arrays(x, outputs, taps)
    grad, options = _grad(x, outputs, pads, taps), {"threads": 2, "others": [OneDNNBackend()], "tolerance": 2e-5}
    attributes = {**USUAL, "pads": pads}
    check_node("FusedConv", [image, weight, bias, grad], {**attributes, "activation": "Relu"}, **options)
    check_node("ConvInputGradient", [grad, weight], {**attributes, "input_shape": list(x)}, **options)
    shape: dict[str, Any] = {"weight_shape": list(weight.shape), "has_bias": 1}
    check_node("ConvWeightGradient", [image, grad], {**attributes, **shape}, known=(), outputs=2, **options)


@pytest.mark.parametrize(("activation", "outputs"), [("Relu", 32), ("Clip", 32), ("Sigmoid", 27)])
def test_what_is_fused_comes_behind(activation: str, outputs: int) -> None:
    x, weight, bias = _arrays((2, 16, 33, 33), outputs)
    residual = np.random.default_rng(1).standard_normal((2, outputs, 33, 33)).astype(np.float32)
    attributes = {**USUAL, "activation": activation, "activation_alpha": 0.0, "activation_beta": 6.0}
    options = {"others": [OneDNNBackend()], "threads": 2}
    check_node("FusedConv", [x, weight, bias, residual], attributes, **options)
    check_node("FusedConv", [x, weight, None, residual], attributes, **options)
    check_node("FusedConv", [x, weight], attributes, **options)


def test_the_weight_is_packed_once_and_takes_four_times_its_memory() -> None:
    x, weight, bias = _arrays((1, 16, 64, 64), 32)
    plan = planned("FusedConv", [x, weight, bias], USUAL, others=[OneDNNBackend()])
    sizes = [layout.nbytes for task in plan.tasks for layout in task.kernel.inputs if layout is not None]
    assert 4 * weight.nbytes <= max(size for size in sizes if size < x.nbytes) < 5 * weight.nbytes


@pytest.mark.parametrize(
    "changes",
    [{"strides": [2, 2]}, {"dilations": [2, 2]}, {"group": 2}],
    ids=lambda item: next(iter(item)),
)
def test_leaves_what_is_no_dense_window(changes: dict[str, Any]) -> None:
    def node_of(attributes: dict[str, Any], channels: int) -> bool:
        program = Program(layer="checked")
        x, weight = (
            Variable(name, np.dtype(np.float32), shape)
            for name, shape in (("x", (1, 32, 64, 64)), ("w", (32, channels, 3, 3)))
        )
        weight.constant = np.zeros(weight.shape, np.float32)
        return is_convolution(
            program.append("FusedConv", [x, weight], attributes, domain="toolkit", version=1, outputs=1)
        )

    assert node_of(USUAL, 32)
    assert not node_of({**USUAL, **changes}, 32 // changes.get("group", 1))
