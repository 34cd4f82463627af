"""Convolutions of few tiles by weights that change with each step, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

import toolkit as tk
from toolkit.backends import onednn
from toolkit.backends.native.winograd.convolution import is_convolution
from toolkit.backends.native.winograd.few_tiles import are_few
from toolkit.backends.native.winograd.tiles import Tiles
from toolkit.compiler.program import Program, Variable
from toolkit.graph.parameter import Parameter

FLOAT32 = np.dtype(np.float32)
pytestmark = pytest.mark.skipif(not onednn.available(), reason=f"oneDNN: {onednn.unavailable_reason()}")


def _check(layers: list[tk.layers.Convolution], size: tuple[int, int], threads: int) -> None:
    """Results and gradients of convolutions of 320 channels."""
    network = tk.layers.Sequential(layers).network((320, *size))
    x = np.random.default_rng(0).standard_normal((3, 320, *size)).astype(np.float32)
    found = []
    for backend in ("cpu", "numpy"):
        context = network.context(batch_size=3, training=True, backend=backend, threads=threads)
        (name, y), *_ = context.forward(x).items()
        grad = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
        found.append((y, context.backward({name: grad})))
        kernels = [step.kernel for step in context.explain().steps if step.operator == "Reorder"]
        assert backend == "numpy" or "compiled" not in kernels, "the weight is read as it is"
    (y, grads), (expected, expected_grads) = found
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())
    for kind in ("inputs", "parameters"):
        for name, grad in expected_grads[kind].items():
            np.testing.assert_allclose(grads[kind][name], grad, atol=2e-5 * np.abs(grad).max())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("size", "taps"), [((13, 15), 3), ((14, 7), 3), ((12, 9), 5)])
def test_weights_that_change_are_seen_by_the_kernel(size: tuple[int, int], taps: int, threads: int) -> None:
    _check([tk.layers.Convolution(128, taps), tk.layers.Convolution(64, taps, bias=False)], size, threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [(22, 23), (16, 16)])
def test_windows_two_positions_apart(size: tuple[int, int], threads: int) -> None:
    _check([tk.layers.Convolution(512, 3, strides=2, pads=1), tk.layers.Convolution(64, 3)], size, threads)


def test_few_tiles_repay_themselves_sooner_where_the_weight_changes() -> None:
    program = Program(layer="checked")
    x, weight = (Variable(name, FLOAT32, shape) for name, shape in (("x", (8, 512, 14, 14)), ("w", (512, 512, 3, 3))))
    attributes = {"strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [1, 1], "group": 1}
    node = program.append("FusedConv", [x, weight], attributes, domain="toolkit", version=1, outputs=1)
    assert not is_convolution(node), "the weight is not known"
    zeros = np.zeros(weight.shape, FLOAT32)
    weight.parameter = Parameter("w", zeros)
    assert is_convolution(node)
    weight.parameter, weight.constant = None, zeros
    assert not is_convolution(node)


def test_which_are_few() -> None:
    def tiles(batch: int, channels: int, outputs: int) -> Tiles:
        return Tiles.of((batch, channels, 14, 14), (batch, outputs, 14, 14), 3, (1, 1))

    few = tiles(8, 256, 256)
    assert are_few(few, (256, 256, 3, 3), 2, is_turned=False)
    assert are_few(tiles(8, 128, 256), (128, 256, 3, 3), 2, is_turned=True)
    assert not are_few(tiles(32, 256, 256), (256, 256, 3, 3), 2, is_turned=False)
    assert not are_few(tiles(8, 640, 256), (256, 640, 3, 3), 2, is_turned=False), "windows are not near"
    assert not are_few(tiles(8, 256, 250), (250, 256, 3, 3), 2, is_turned=False), "panels are not full"
    assert not are_few(tiles(8, 250, 256), (256, 250, 3, 3), 2, is_turned=False), "vectors are not full"
    half = few._replace(is_narrow=True)
    assert not are_few(half, (256, 256, 3, 3), 2, is_turned=False)
    panel = few.outputs // 8
    assert not are_few(tiles(8, 256, panel), (panel, 256, 3, 3), 2, is_turned=False), "a thread would be idle"
