"""Blocks of three convolutions row by row, in layouts of oneDNN, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.backends.native.checked import check_node
from toolkit.backends import native, onednn
from toolkit.backends.onednn.backend import OneDNNBackend

if native.unavailable_reason() is not None or not onednn.available():
    pytest.skip("needs llvmlite and oneDNN", allow_module_level=True)

several = pytest.mark.parametrize("threads", [1, 2])


def _check(
    x: tuple[int, ...],
    wide: int,
    outputs: int,
    *,
    threads: int,
    strides: tuple[int, int] = (1, 1),
    taps: tuple[int, int] = (3, 3),
    pads: tuple[int, ...] = (1, 1, 1, 1),
    activations: tuple[str, str, str] = ("Clip", "Clip", ""),
    widens: bool = True,
    adds: bool = False,
) -> None:
    random = np.random.default_rng(0)

    def drawn(*shape: int, depth: int = 1) -> np.ndarray:
        return (random.standard_normal(shape) / np.sqrt(depth)).astype(np.float32)

    first = [drawn(wide, x[1], 1, 1, depth=x[1]), drawn(wide)] if widens else [None, None]
    arrays = [drawn(*x), *first, drawn(wide, 1, *taps, depth=9), drawn(wide)]
    arrays += [drawn(outputs, wide, 1, 1, depth=wide), drawn(outputs)]
    if adds:
        sizes = [(x[axis + 2] + pads[axis] + pads[axis + 2] - taps[axis]) // strides[axis] + 1 for axis in range(2)]
        arrays.append(drawn(x[0], outputs, *sizes))
    numbers = {"activation_alpha": [0.0] * 3, "activation_beta": [1.5] * 3}
    attributes: dict[str, Any] = {"strides": strides, "pads": pads, "activations": activations, **numbers}
    options: dict[str, Any] = {"known": range(1, 7), "threads": threads, "others": [OneDNNBackend()]}
    check_node("InvertedResidual", arrays, attributes, **options)


@several
def test_threads_share_rows_of_large_images(threads: int) -> None:
    _check((1, 24, 40, 30), 144, 24, threads=threads, adds=True, activations=("Relu", "HardSwish", "Relu"))


@several
def test_a_share_of_rows_ends_inside_an_image(threads: int) -> None:
    _check((3, 16, 33, 37), 96, 24, threads=threads, strides=(2, 2))


@several
@pytest.mark.parametrize("batch", [1, 2])
def test_threads_share_panels_of_small_images(batch: int, threads: int) -> None:
    _check((batch, 32, 7, 7), 192, 40, threads=threads, adds=True, activations=("Clip", "Clip", "Relu"))


@several
def test_nothing_to_widen(threads: int) -> None:
    _check((2, 32, 12, 12), 32, 16, threads=threads, widens=False)


@several
@pytest.mark.parametrize(
    ("strides", "taps", "pads"),
    [
        ((1, 1), (5, 5), (2, 2, 1, 1)),
        ((2, 1), (3, 5), (0, 0, 1, 3)),
        ((4, 3), (2, 2), (0, 1, 0, 0)),  # windows that leave out rows and columns
        ((1, 2), (3, 3), (0, 0, 0, 0)),
    ],
)
def test_windows(strides: tuple[int, int], taps: tuple[int, int], pads: tuple[int, ...], threads: int) -> None:
    _check((2, 16, 14, 13), 96, 40, threads=threads, strides=strides, taps=taps, pads=pads)


@pytest.mark.parametrize("counts", [(8, 8, 8), (8, 24, 56), (24, 40, 16), (56, 112, 80)])
def test_channels_that_fill_half_a_vector(counts: tuple[int, int, int]) -> None:
    channels, wide, outputs = counts
    _check((1, channels, 9, 5), wide, outputs, threads=1)
