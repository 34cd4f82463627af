"""Reorders on the device, compiled for the host: rows to channels last and back, in every rank and element size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cuda.host import COMPILER, HostKernels
from toolkit.backends.cuda.layouts import channels_last, memory_order, on_device
from toolkit.backends.cuda.transfer import Pack, Unpack, permutation, transfer
from toolkit.backends.protocol import Layout, Resources, plain

SHAPES = [(2, 3, 5), (1, 16, 9), (2, 3, 4, 5), (3, 40, 8, 33), (1, 1, 7, 7), (2, 4, 3, 2, 5)]
TYPES = [np.dtype(name) for name in ("uint8", "float16", "float32", "float64")]
TURNS = [(dtype, shape, is_back) for dtype in TYPES for shape in SHAPES for is_back in (False, True)]


def layouts(dtype: np.dtype, shape: tuple[int, ...], is_back: bool) -> tuple[Layout, Layout]:
    rows, last = on_device(dtype, shape), channels_last(dtype, shape)
    return (last, rows) if is_back else (rows, last)


def in_memory(array: np.ndarray, layout: Layout) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(memory_order(layout)))


@pytest.mark.skipif(COMPILER is None, reason="needs g++")
def test_elements_go_to_their_places(tmp_path: Path) -> None:
    launches = [permutation(*layouts(*turn)) for turn in TURNS]
    kernels = HostKernels([launch.function for launch in launches], tmp_path)
    for turn, launch in zip(TURNS, launches, strict=True):
        dtype, shape, _ = turn
        source, target = layouts(*turn)
        array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
        given, made = in_memory(array, source), np.zeros(array.nbytes, np.uint8)
        kernels.launch(launch, [given.ctypes.data], [made.ctypes.data], 0)
        np.testing.assert_array_equal(made, in_memory(array, target).view(np.uint8).reshape(-1), err_msg=str(turn))


def test_what_crosses_the_border_in_an_order_of_the_device_takes_room_for_the_rows() -> None:
    rows, last = plain(TYPES[2], (2, 3, 4, 5)), channels_last(TYPES[2], (2, 3, 4, 5))
    there, back = transfer(rows, last, Resources(1)), transfer(last, rows, Resources(1))
    assert isinstance(there, Unpack)
    assert isinstance(back, Pack)
    assert there.workspace == back.workspace == rows.nbytes
