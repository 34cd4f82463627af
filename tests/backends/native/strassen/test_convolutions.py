"""Convolutions with windows of one position by seven products, in layouts of oneDNN, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.backends.native.checked import check_learning, check_node
from toolkit.backends import onednn
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.strassen import convolution, sizes
from toolkit.backends.native.strassen.sizes import is_pointwise
from toolkit.backends.native.winograd.images import Images
from toolkit.backends.onednn.backend import OneDNNBackend
from toolkit.compiler.program import Node, Program, Variable

pytestmark = pytest.mark.skipif(not onednn.available(), reason=f"oneDNN: {onednn.unavailable_reason()}")


USUAL: dict[str, Any] = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "group": 1}
SHAPES = [
    ((2, 128, 7, 7), 256, 1),  # an odd number of positions, in tiles of two heights
    ((1, 256, 10, 12), 128, 1),
    ((3, 192, 9, 15), 320, 1),
    ((2, 128, 14, 13), 128, 2),
]
shapes = pytest.mark.parametrize(("x", "outputs", "stride"), SHAPES)
several = pytest.mark.parametrize("threads", [1, 2])


def _arrays(x: tuple[int, ...], outputs: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    weight = random.standard_normal((outputs, x[1], 1, 1)) / np.sqrt(x[1])
    return [array.astype(np.float32) for array in (random.standard_normal(x), weight, random.standard_normal(outputs))]


def _result(x: tuple[int, ...], outputs: int, stride: int) -> tuple[int, ...]:
    return x[0], outputs, -(-x[2] // stride), -(-x[3] // stride)


@pytest.fixture(autouse=True)
def taken_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "LEAST_PRODUCTS", 0)
    monkeypatch.setattr(sizes, "VECTOR", compiler().vector_nbytes)


@pytest.fixture(params=["last", "blocks"])
def laid(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images lie with channels last, or in blocks of them, as a library's convolution has made them."""
    if request.param == "blocks":
        lanes = compiler().lanes(np.dtype(np.float32))
        monkeypatch.setattr(Images, "of", lambda shape, layout: Images((shape[2], shape[3]), shape[1], lanes))


@several
@shapes
@pytest.mark.usefixtures("laid")
def test_convolution(x: tuple[int, ...], outputs: int, stride: int, threads: int) -> None:
    arrays, others = _arrays(x, outputs), [OneDNNBackend()]
    check_node("FusedConv", arrays, {**USUAL, "strides": [stride] * 2}, threads=threads, others=others)


@several
@shapes
@pytest.mark.usefixtures("laid")
def test_convolution_with_residual(x: tuple[int, ...], outputs: int, stride: int, threads: int) -> None:
    residual = np.random.default_rng(1).standard_normal(_result(x, outputs, stride)).astype(np.float32)
    attributes = {**USUAL, "strides": [stride] * 2, "activation": "Relu"}
    options: dict[str, Any] = {"threads": threads, "others": [OneDNNBackend()]}
    check_node("FusedConv", [*_arrays(x, outputs), residual], attributes, **options)


@several
@pytest.mark.parametrize(("x", "outputs", "stride"), [item for item in SHAPES if item[2] == 1])
@pytest.mark.usefixtures("laid")
def test_gradient_by_the_input(x: tuple[int, ...], outputs: int, stride: int, threads: int) -> None:
    _, weight, _ = _arrays(x, outputs)
    grad = np.random.default_rng(1).standard_normal(_result(x, outputs, stride)).astype(np.float32)
    attributes = {**USUAL, "input_shape": list(x)}
    check_node("ConvInputGradient", [grad, weight], attributes, threads=threads, others=[OneDNNBackend()])


@several
@shapes
@pytest.mark.usefixtures("laid")
def test_gradient_by_the_weight(x: tuple[int, ...], outputs: int, stride: int, threads: int) -> None:
    image, weight, _ = _arrays(x, outputs)
    grad = np.random.default_rng(1).standard_normal(_result(x, outputs, stride)).astype(np.float32)
    attributes = {**USUAL, "strides": [stride] * 2, "weight_shape": list(weight.shape), "has_bias": 0}
    options: dict[str, Any] = {"known": (), "threads": threads, "others": [OneDNNBackend()], "tolerance": 2e-5}
    check_node("ConvWeightGradient", [image, grad], attributes, **options)


@several
@pytest.mark.parametrize("stride", [1, 2])  # where there are fewer positions than outputs, threads share these
@pytest.mark.parametrize("is_near", [True, False])
def test_weights_that_change_are_packed_by_the_kernel(
    is_near: bool, stride: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEAST_POSITIONS", "FEW_POSITIONS"):
        monkeypatch.setattr(sizes, name, 0)
    if not is_near:
        for name in ("GROUP_NBYTES", "WHOLE_NBYTES"):
            monkeypatch.setattr(convolution, name, 1)
    layers = [tk.layers.Convolution(256, 1, strides=stride, bias=False), tk.layers.Convolution(128, 1, bias=False)]
    steps = check_learning(layers, (128, 9, 11), threads)
    assert "compiled" in {step.kernel for step in steps if "Conv" in step.operator}


def _node(changes: dict[str, Any], weight: tuple[int, ...]) -> Node:
    program = Program(layer="checked")
    x, filters = Variable("x", np.dtype(np.float32), (2, 128, 16, 16)), Variable("w", np.dtype(np.float32), weight)
    filters.constant = np.zeros(weight, np.float32)
    return program.append("FusedConv", [x, filters], {**USUAL, **changes}, domain="toolkit", version=1, outputs=1)


@pytest.mark.parametrize(
    ("changes", "weight"),
    [
        ({"group": 2}, (256, 64, 1, 1)),
        ({"pads": [1, 1, 1, 1]}, (256, 128, 1, 1)),
        ({"pads": [1, 1, 1, 1]}, (256, 128, 3, 3)),
        ({}, (200, 128, 1, 1)),  # whose halves are no whole panels
    ],
)
def test_leaves_what_is_not_pointwise(changes: dict[str, Any], weight: tuple[int, ...]) -> None:
    assert is_pointwise(_node({}, (256, 128, 1, 1)))
    assert not is_pointwise(_node(changes, weight))


def test_leaves_what_is_small_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    node = _node({}, (256, 128, 1, 1))
    monkeypatch.setattr(sizes, "LEAST_PRODUCTS", 1 << 27)
    assert not is_pointwise(node)
