"""Convolutions of few tiles by weights that change with each step, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.backends.native.checked import check_learning, check_node, planned
from toolkit.backends import onednn
from toolkit.backends.native.winograd.few_tiles import are_few
from toolkit.backends.native.winograd.tiles import Tiles
from toolkit.backends.onednn.backend import OneDNNBackend

pytestmark = pytest.mark.skipif(not onednn.available(), reason=f"oneDNN: {onednn.unavailable_reason()}")


def _check(layers: list[tk.layers.Convolution], size: tuple[int, int], threads: int) -> None:
    """Results and gradients of convolutions of 320 channels."""
    kernels = [step.kernel for step in check_learning(layers, (320, *size), threads) if step.operator == "Reorder"]
    assert "compiled" not in kernels, "the weight is read as it is"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("size", "taps"), [((13, 15), 3), ((14, 7), 3), ((12, 9), 5)])
def test_weights_that_change_are_seen_by_the_kernel(size: tuple[int, int], taps: int, threads: int) -> None:
    _check([tk.layers.Convolution(128, taps), tk.layers.Convolution(64, taps, bias=False)], size, threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [(22, 23), (16, 16)])
def test_windows_two_positions_apart(size: tuple[int, int], threads: int) -> None:
    _check([tk.layers.Convolution(512, 3, strides=2, pads=1), tk.layers.Convolution(64, 3)], size, threads)


def test_few_tiles_see_a_weight_whose_filters_would_take_long_to_read() -> None:
    random = np.random.default_rng(0)
    x, weight = (random.standard_normal(shape).astype(np.float32) for shape in ((8, 512, 14, 14), (512, 512, 3, 3)))
    assert not Tiles.strided(x.shape, (8, 512, 7, 7), (1, 1)).is_worth_while
    attributes = {"strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [1, 1], "group": 1}
    options: dict[str, Any] = {"others": [OneDNNBackend()], "threads": 2}
    check_node("FusedConv", [x, weight], attributes, **options)
    plan = planned("FusedConv", [x, weight], attributes, **options)
    sizes = [layout.nbytes for task in plan.tasks for layout in task.kernel.inputs if layout is not None]
    assert max(sizes) == weight.nbytes


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
