"""Conversions whose results are NaN, every pair of element types, and what BitCast and texts refuse."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from toolkit.operators import wire
from toolkit.operators.standard.cast import bit_cast, cast_to, convert

HOLDERS = [
    wire.element_dtype(number)
    for name, number in TensorProto.DataType.items()
    if name not in ("UNDEFINED", "COMPLEX64", "COMPLEX128")
]
NAN = 255


@pytest.mark.parametrize("source", HOLDERS, ids=str)
def test_every_pair_of_types_keeps_one(source: np.dtype) -> None:
    one = convert(np.ones((1, 2), np.float32), source)
    for target in HOLDERS:
        found = convert(one, target)
        assert (found.dtype, found.shape) == (target, (1, 2))
        assert convert(found, np.dtype(np.float32)).tolist() == [[1.0, 1.0]], str(target)


@pytest.mark.parametrize(
    ("mode", "saturate", "expected"),
    [
        ("up", 1, [0, 0, 127, 128, 128, 254, 254, NAN]),
        ("up", 0, [NAN, 0, 127, 128, 128, NAN, NAN, NAN]),
        ("down", 0, [NAN, 0, 127, 127, 127, 254, NAN, NAN]),
        ("nearest", 0, [NAN, 0, 127, 127, 128, NAN, NAN, NAN]),
        ("nearest", 1, [0, 0, 127, 127, 128, 254, 254, NAN]),
    ],
)
def test_power_of_two_rounds_as_asked(mode: str, saturate: int, expected: list[int]) -> None:
    x = np.array([0, 2.0**-127, 1, 1.4, 1.5, 3e38, np.inf, np.nan], np.float32)
    found = cast_to(x, to=TensorProto.FLOAT8E8M0, round_mode=mode, saturate=saturate)
    assert found.view(np.uint8).tolist() == expected


def test_negative_number_is_no_power_of_two() -> None:
    assert convert(np.float32([-1.0]), np.dtype(ml_dtypes.float8_e8m0fnu)).view(np.uint8).tolist() == [NAN]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("float8_e4m3fn", [np.nan, np.nan, np.nan, 448]),
        ("float8_e4m3fnuz", [np.nan, np.nan, np.nan, np.nan]),
        ("float8_e5m2", [np.nan, np.inf, -np.inf, 448]),
        ("float8_e5m2fnuz", [np.nan, np.nan, np.nan, 448]),
    ],
)
def test_float8_that_does_not_saturate_overflows(name: str, expected: list[float]) -> None:
    x = np.array([np.nan, np.inf, -1e9, 464.0], np.float32)
    found = convert(x, np.dtype(getattr(ml_dtypes, name)), saturate=0)
    np.testing.assert_array_equal(found.astype(np.float32), np.array(expected, np.float32))


def test_round_mode_must_be_known() -> None:
    with pytest.raises(ValueError, match="round_mode must be one of up, down, nearest, got 'even'"):
        cast_to(np.ones(1, np.float32), to=TensorProto.FLOAT8E8M0, round_mode="even")


def test_text_must_be_a_number() -> None:
    with pytest.raises(ValueError, match="Hello"):
        cast_to(np.array(["Hello"], object), to=TensorProto.INT32)


def test_bits_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"same width, got float32 \(32 bits\) and int64 \(64 bits\)"):
        bit_cast(np.ones(1, np.float32), to=TensorProto.INT64)


def test_negative_nibbles_become_large_ones() -> None:
    x = np.array([-1, -8, 7]).astype(ml_dtypes.int4)
    assert bit_cast(x, to=TensorProto.UINT4).astype(np.int32).tolist() == [15, 8, 7]
