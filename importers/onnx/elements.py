"""The element types of ONNX: numpy dtype, width and how each is kept in the typed fields of TensorProto.

Sub-byte types are one element a byte in memory and packed in files, first element in the lowest bits.
"""

from __future__ import annotations

from typing import NamedTuple

import ml_dtypes
import numpy as np
from onnx import TensorProto


class Element(NamedTuple):
    """One element type. ``unit`` is the dtype that typed storage converts through, ``bits`` the width in raw data."""

    code: int
    dtype: np.dtype
    storage: str
    unit: np.dtype
    bits: int

    @property
    def packed(self) -> bool:
        return self.bits < 8

    def raw_bytes(self, count: int) -> int:
        """Bytes of raw data that ``count`` elements take."""
        return -(-count * self.bits // 8)


STORAGE_DTYPES: dict[str, np.dtype] = {
    "float_data": np.dtype(np.float32),
    "double_data": np.dtype(np.float64),
    "int32_data": np.dtype(np.int32),
    "int64_data": np.dtype(np.int64),
    "uint64_data": np.dtype(np.uint64),
}

_TABLE: list[tuple[str, type | np.dtype, str, type, int]] = [
    ("FLOAT", np.float32, "float_data", np.float32, 32),
    ("UINT8", np.uint8, "int32_data", np.uint8, 8),
    ("INT8", np.int8, "int32_data", np.int8, 8),
    ("UINT16", np.uint16, "int32_data", np.uint16, 16),
    ("INT16", np.int16, "int32_data", np.int16, 16),
    ("INT32", np.int32, "int32_data", np.int32, 32),
    ("INT64", np.int64, "int64_data", np.int64, 64),
    ("STRING", np.object_, "string_data", np.object_, 0),
    ("BOOL", np.bool_, "int32_data", np.uint8, 8),
    ("FLOAT16", np.float16, "int32_data", np.uint16, 16),
    ("DOUBLE", np.float64, "double_data", np.float64, 64),
    ("UINT32", np.uint32, "uint64_data", np.uint32, 32),
    ("UINT64", np.uint64, "uint64_data", np.uint64, 64),
    ("COMPLEX64", np.complex64, "float_data", np.float32, 64),
    ("COMPLEX128", np.complex128, "double_data", np.float64, 128),
    ("BFLOAT16", ml_dtypes.bfloat16, "int32_data", np.uint16, 16),
    ("FLOAT8E4M3FN", ml_dtypes.float8_e4m3fn, "int32_data", np.uint8, 8),
    ("FLOAT8E4M3FNUZ", ml_dtypes.float8_e4m3fnuz, "int32_data", np.uint8, 8),
    ("FLOAT8E5M2", ml_dtypes.float8_e5m2, "int32_data", np.uint8, 8),
    ("FLOAT8E5M2FNUZ", ml_dtypes.float8_e5m2fnuz, "int32_data", np.uint8, 8),
    ("UINT4", ml_dtypes.uint4, "int32_data", np.uint8, 4),
    ("INT4", ml_dtypes.int4, "int32_data", np.uint8, 4),
    ("FLOAT4E2M1", ml_dtypes.float4_e2m1fn, "int32_data", np.uint8, 4),
    ("FLOAT8E8M0", ml_dtypes.float8_e8m0fnu, "int32_data", np.uint8, 8),
    ("UINT2", ml_dtypes.uint2, "int32_data", np.uint8, 2),
    ("INT2", ml_dtypes.int2, "int32_data", np.uint8, 2),
    ("FLOAT6E2M3", ml_dtypes.float6_e2m3fn, "int32_data", np.uint8, 6),
    ("FLOAT6E3M2", ml_dtypes.float6_e3m2fn, "int32_data", np.uint8, 6),
]

_KNOWN = dict(TensorProto.DataType.items())  # an older onnx knows fewer types
BY_CODE: dict[int, Element] = {
    _KNOWN[name]: Element(_KNOWN[name], np.dtype(dtype), storage, np.dtype(unit), bits)
    for name, dtype, storage, unit, bits in _TABLE
    if name in _KNOWN
}
BY_DTYPE: dict[np.dtype, Element] = {element.dtype: element for element in BY_CODE.values()}


def unpack(data: np.ndarray, bits: int, count: int) -> np.ndarray:
    """``count`` codes of ``bits`` bits from packed bytes: uint8, (count,)."""
    if 8 % bits == 0:
        codes = np.empty((data.size, 8 // bits), np.uint8)
        for slot in range(8 // bits):
            codes[:, slot] = (data >> (slot * bits)) & ((1 << bits) - 1)
        return codes.reshape(-1)[:count]
    flags = np.unpackbits(data, bitorder="little", count=count * bits).reshape(count, bits)
    return np.packbits(flags, axis=1, bitorder="little").reshape(-1)


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Packed bytes of uint8 codes (count,), padded with zero bits."""
    if 8 % bits == 0:
        slots = 8 // bits
        padded = np.zeros(-(-codes.size // slots) * slots, np.uint8)
        padded[: codes.size] = codes & ((1 << bits) - 1)
        packed = np.zeros(padded.size // slots, np.uint8)
        for slot in range(slots):
            packed |= padded[slot::slots] << (slot * bits)
        return packed
    flags = np.unpackbits(codes.reshape(-1, 1), axis=1, bitorder="little", count=bits)
    return np.packbits(flags.reshape(-1), bitorder="little")


def raw_content(array: np.ndarray, element: Element) -> np.ndarray:
    """The bytes of an array as raw data holds them: uint8, without a copy where the array is contiguous."""
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return pack(content, element.bits) if element.packed else content


def typed_content(array: np.ndarray, element: Element) -> np.ndarray:
    """The numbers of an array as its typed field holds them."""
    if element.bits in (2, 4):
        units = raw_content(array, element)
    else:
        units = np.ascontiguousarray(array).reshape(-1).view(element.unit)
    return units.astype(STORAGE_DTYPES[element.storage], copy=False)


def from_typed(stored: np.ndarray, element: Element, count: int) -> np.ndarray:
    """The elements (count,) that the numbers of a typed field stand for."""
    units = stored.astype(element.unit, copy=False)
    if element.bits in (2, 4):
        units = unpack(units, element.bits, count)
    return units.view(element.dtype)


def typed_count(element: Element, count: int) -> int:
    """How many numbers the typed field of ``count`` elements holds."""
    if element.bits in (2, 4):
        return element.raw_bytes(count)
    return count * 2 if element.dtype.kind == "c" else count


def encode_text(text: str | bytes) -> bytes:
    """A string as files hold it."""
    return text.encode("utf-8") if isinstance(text, str) else bytes(text)


def decode_text(content: bytes) -> str | bytes:
    """A string from a file; bytes that are not UTF-8 stay bytes."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content
