"""Descriptors as values, conversions between layouts, and the library's errors."""

from __future__ import annotations

import gc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tests.backends.onednn.driver import BACKEND, convert, download, resources, upload
from toolkit.backends.onednn import library
from toolkit.backends.onednn.memory import any_format, dense, descriptor_of, layout_of, same_shape, strided, vector
from toolkit.backends.onednn.primitive import FORWARD_INFERENCE, SRC, WEIGHTS, PrimitiveDescriptor, describe
from toolkit.backends.protocol import Layout, plain
from toolkit.errors import BackendError

FLOAT32 = np.dtype(np.float32)


def described_convolution(channels: int, filters: int, group: int = 1) -> PrimitiveDescriptor:
    weight = (filters, channels, 3, 3) if group == 1 else (group, filters // group, channels // group, 3, 3)
    shapes = [(1, channels, 9, 9), weight, None, (1, filters, 9, 9)]
    operands = [None if shape is None else any_format(FLOAT32, shape) for shape in shapes]
    return describe(
        "convolution_forward", FORWARD_INFERENCE, 1, *operands, *map(vector, [(1, 1), (0, 0), (1, 1), (1, 1)])
    )


def packed(channels: int, filters: int, group: int = 1) -> Layout:
    """The layout of a packed convolution weight."""
    shape = (filters, channels // group, 3, 3)
    return layout_of(described_convolution(channels, filters, group).argument(WEIGHTS), shape)


def test_row_major_descriptors_become_plain_layouts() -> None:
    assert layout_of(dense(FLOAT32, (2, 3, 4))) == plain(FLOAT32, (2, 3, 4))
    assert layout_of(dense(FLOAT32, (1, 3, 1, 4)).permuted((2, 1, 0, 3))).is_plain
    assert not layout_of(dense(FLOAT32, (2, 3, 4)).permuted((2, 0, 1))).is_plain


def test_a_scalar_is_a_vector_of_one() -> None:
    assert dense(FLOAT32, ()).shape == (1,)
    assert layout_of(dense(FLOAT32, ()), ()) == plain(FLOAT32, ())


def test_equal_arrangements_are_equal_layouts() -> None:
    nhwc = strided(FLOAT32, (2, 16, 3, 5), (240, 1, 80, 16))
    assert layout_of(nhwc) == layout_of(dense(FLOAT32, (2, 3, 5, 16)).permuted((0, 3, 1, 2)))
    assert hash(layout_of(nhwc)) == hash(layout_of(dense(FLOAT32, (2, 3, 5, 16)).permuted((0, 3, 1, 2))))
    assert layout_of(nhwc) != plain(FLOAT32, (2, 16, 3, 5))
    assert packed(32, 64) == packed(32, 64)
    assert packed(32, 64) != layout_of(dense(FLOAT32, (64, 32, 3, 3)))


def test_permuting_and_reshaping_views() -> None:
    turned = dense(FLOAT32, (2, 3, 4)).permuted((2, 0, 1))
    assert turned.shape == (4, 2, 3)
    assert turned.loops == ((1, 2, 12), (2, 3, 4), (0, 4, 1))
    viewed = dense(FLOAT32, (2, 3, 4)).reshaped((6, 4))
    assert viewed is not None
    assert viewed.shape == (6, 4)
    assert dense(FLOAT32, (2, 3, 4)).permuted((0, 2, 1)).reshaped((2, 12)) is None


def test_a_layout_may_fit_another_tensor() -> None:
    layout = layout_of(dense(FLOAT32, (2, 3, 4)).permuted((0, 2, 1)))
    assert same_shape(layout, (2, 4, 3)) is layout
    assert same_shape(layout, (2, 4)).is_plain


def test_descriptors_outlive_what_they_were_asked_from() -> None:
    descriptor = described_convolution(32, 64).argument(SRC)
    gc.collect()
    assert descriptor.shape == (1, 32, 9, 9)


@pytest.mark.parametrize(("channels", "filters", "group"), [(32, 64, 1), (5, 7, 1), (32, 32, 32), (8, 16, 4)])
def test_weights_survive_packing(channels: int, filters: int, group: int) -> None:
    layout = packed(channels, filters, group)
    array = np.random.default_rng(0).standard_normal(layout.shape).astype(np.float32)
    np.testing.assert_array_equal(download(upload(array, layout)), array)
    again = convert(upload(array, layout), packed(channels, filters, group))
    np.testing.assert_array_equal(download(again), array)


def test_layouts_that_group_axes_differently_meet_in_row_major_order() -> None:
    array = np.random.default_rng(0).standard_normal((32, 1, 3, 3)).astype(np.float32)
    grouped = packed(32, 32, 32)
    turned = layout_of(dense(FLOAT32, (3, 3, 32, 1)).permuted((2, 3, 0, 1)))
    np.testing.assert_array_equal(download(convert(upload(array, grouped), turned)), array)
    np.testing.assert_array_equal(download(convert(upload(array, turned), grouped)), array)


def test_plain_copies_of_any_type() -> None:
    for dtype in (np.int64, np.bool_, np.float64, ml_dtypes.bfloat16):
        array = np.arange(6).reshape(2, 3).astype(dtype)
        layout = plain(array.dtype, array.shape)
        source, target = upload(array), upload(np.zeros_like(array))
        assert not BACKEND.reorder(layout, layout, resources()).bind([source], [target], None)()
        np.testing.assert_array_equal(target.array, array)


def test_padding_counts_as_memory() -> None:
    layout = packed(5, 7)
    assert layout.nbytes >= 5 * 7 * 9 * 4
    assert descriptor_of(layout).nbytes == layout.nbytes


def test_bad_operands_are_reported() -> None:
    with pytest.raises(BackendError, match="cannot describe matmul: invalid arguments"):
        describe("matmul", dense(FLOAT32, (2, 3)), dense(FLOAT32, (4, 5)), None, dense(FLOAT32, (2, 5)))
    with pytest.raises(BackendError, match=r"dnnl_memory_desc_create_with_strides failed: invalid arguments"):
        strided(FLOAT32, (2, -3), (3, 1))
    with pytest.raises(BackendError, match="has no argument 41"):
        described_convolution(8, 8).argument(41)


def test_a_missing_library_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(library.OVERRIDE, str(tmp_path / "libnothing.so"))
    monkeypatch.setattr(library, "load", library.load.__wrapped__)  # the cached one stays: primitives belong to it
    with pytest.raises(BackendError, match=r"Install 'onednn-cpu-gomp'.*let ONNX_TOOLKIT_ONEDNN name a library"):
        library.load()
    assert not library.available()
    assert "libnothing.so" in (library.unavailable_reason() or "")


def test_undeclared_functions_are_named() -> None:
    with pytest.raises(AttributeError, match="'shuffle' is not among the functions"):
        library.load().shuffle  # noqa: B018
