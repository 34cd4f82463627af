"""Small convolutions: every geometry, around vectors and panels, with whatever is fused behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from toolkit.backends import native
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.elementwise.spelling import ACTIVATIONS

if native.unavailable_reason() is not None:
    pytest.skip("needs llvmlite", allow_module_level=True)

# (batch, channels, spatial...), (outputs, channels of a group, taps...), and what differs from the usual geometry
GEOMETRIES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 1, 5), (1, 1, 1), {}),
    ((2, 3, 11), (17, 3, 3), {"pads": [1, 1]}),
    ((1, 4, 9), (8, 4, 4), {"strides": [2], "pads": [3, 0], "dilations": [2]}),
    ((1, 5, 7, 9), (20, 5, 1, 1), {}),
    ((2, 3, 8, 9), (5, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((1, 2, 13, 12), (9, 2, 5, 4), {"strides": [3, 2], "pads": [0, 2, 1, 0]}),
    ((1, 3, 9, 40), (33, 3, 2, 3), {"dilations": [2, 3]}),
    ((1, 3, 9, 41), (7, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 0]}),  # rows that vectors share
    ((1, 24, 40, 60), (3, 24, 3, 3), {"pads": [1, 1, 1, 1]}),  # bands of rows
    ((1, 3, 12, 84), (18, 3, 8, 8), {"strides": [4, 4]}),  # rows that vectors are not read from
    ((1, 2, 9, 9), (2, 1, 7, 7), {"group": 2, "pads": [3, 3, 3, 3], "strides": [1, 2]}),
    ((1, 6, 10), (6, 1, 3), {"group": 6, "pads": [1, 1]}),
    ((2, 4, 9, 21), (4, 1, 3, 3), {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 2, 11, 33), (2, 1, 5, 5), {"group": 2, "pads": [2, 2, 2, 2]}),
    ((1, 3, 6, 8), (3, 1, 2, 5), {"group": 3, "dilations": [2, 1], "pads": [0, 4, 0, 0]}),
]
PARAMETERS = {"LeakyRelu": (0.1, 0.0), "Clip": (-0.5, 0.7), "Elu": (0.7, 0.0), "HardSigmoid": (0.2, 0.5)}


def check(
    x: tuple[int, ...],
    w: tuple[int, ...],
    given: dict[str, Any],
    bias: bool = True,
    residual: bool = False,
    threads: int = 1,
) -> None:
    rank = len(x) - 2
    usual = {"strides": [1] * rank, "dilations": [1] * rank, "pads": [0] * 2 * rank, "group": 1}
    attributes = {**usual, **given}
    room = [size + attributes["pads"][axis] + attributes["pads"][rank + axis] for axis, size in enumerate(x[2:])]
    windows = zip(room, w[2:], attributes["strides"], attributes["dilations"], strict=True)
    sizes = [(size - (taps - 1) * dilation - 1) // stride + 1 for size, taps, stride, dilation in windows]
    random = np.random.default_rng(0)
    shapes = [x, w, (w[0],) if bias else None, (x[0], w[0], *sizes) if residual else None]
    arrays = [None if shape is None else random.standard_normal(shape).astype(np.float32) for shape in shapes]
    check_node("FusedConv", arrays, attributes, threads=threads)


@pytest.mark.parametrize(("x", "w", "given"), GEOMETRIES, ids=str)
def test_every_geometry(x: tuple[int, ...], w: tuple[int, ...], given: dict[str, Any]) -> None:
    check(x, w, given)


@pytest.mark.parametrize("registers", [16, 32])
@pytest.mark.parametrize(("size", "outputs"), [(7, 37), (70, 19)], ids=str)
def test_every_number_of_registers(size: int, outputs: int, registers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler(), "registers", registers)
    check((1, 3, 5, size), (outputs, 3, 3, 3), {"pads": [1, 1, 1, 1]})


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize(("bias", "residual"), [(False, False), (True, True), (False, True)])
def test_what_is_added(bias: bool, residual: bool, group: int) -> None:
    check((2, 4, 6, 7), (4, 4 // group, 3, 3), {"group": group, "activation": "Relu"}, bias, residual)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str) -> None:
    alpha, beta = PARAMETERS.get(activation, (0.0, 0.0))
    check((1, 3, 9), (5, 3, 2), {"activation": activation, "activation_alpha": alpha, "activation_beta": beta})


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("group", [1, 24])
def test_large_ones_are_divided_among_threads(group: int, threads: int) -> None:
    geometry = {"pads": [1, 1, 1, 1], "group": group}
    size = 14 if group == 1 else 36
    check((2, 24, size, size), (24, 24 // group, 3, 3), geometry, residual=True, threads=threads)
    if group == 1:
        check((1, 24, 600), (20, 24, 3), {"pads": [1, 1]}, threads=threads)
