"""The ``.onnx_adapter`` format of ONNX Runtime, a flatbuffer (see ``importers.adapters.onnx_adapter``).

Both of its tables have four fields of four bytes, so one list of field offsets serves all of them, and everything can
be written from front to back.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from onnx import helper

from importers.adapters.onnx_adapter import IDENTIFIER

FORMAT_VERSION = 1
LISTING_AT, ROOT_AT, ALIGNMENT = 8, 20, 16
LISTING = struct.pack("<6H", 12, 20, 4, 8, 12, 16)  # its own size, the size of a table, where the four fields lie
TABLE = 20


def onnx_adapter(parameters: Mapping[str, np.ndarray], adapter_version: int, model_version: int) -> bytes:
    """The content of a file."""
    out = bytearray(struct.pack("<I", ROOT_AT) + IDENTIFIER + LISTING)
    vector = ROOT_AT + TABLE
    versions = (FORMAT_VERSION, adapter_version, model_version)
    out += struct.pack("<4iI", ROOT_AT - LISTING_AT, *versions, vector - (ROOT_AT + 16))
    out += struct.pack("<I", len(parameters)) + bytes(4 * len(parameters))
    for index, (name, array) in enumerate(parameters.items()):
        entry = vector + 4 + 4 * index
        struct.pack_into("<I", out, entry, _append_table(out, name, array) - entry)
    return bytes(out)


def _append_table(out: bytearray, name: str, array: np.ndarray) -> int:
    """Append one Parameter; returns where its table begins."""
    table = _pad(out, 4)
    out += bytes(TABLE)
    text, dims = name.encode(), struct.pack(f"<{array.ndim}q", *array.shape)
    name_at = _append_vector(out, text + b"\0", len(text), 4)
    dims_at = _append_vector(out, dims, array.ndim, 8)
    data_at = _append_vector(out, array.tobytes(), array.nbytes, ALIGNMENT)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    places = (name_at - (table + 4), dims_at - (table + 8), kind, data_at - (table + 16))
    struct.pack_into("<i2IiI", out, table, table - LISTING_AT, *places)
    return table


def _append_vector(out: bytearray, content: bytes, count: int, alignment: int) -> int:
    """Append a vector whose first element is aligned; returns where it begins, which is its count."""
    while (len(out) + 4) % alignment:
        out += b"\0"
    place = len(out)
    out += struct.pack("<I", count) + content
    return place


def _pad(out: bytearray, alignment: int) -> int:
    out += bytes(-len(out) % alignment)
    return len(out)
