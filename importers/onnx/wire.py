"""The protobuf wire format, as far as weights need it: cut the data of large initializers out of a serialized model.

What remains is a valid, small ModelProto for the protobuf library to parse; the cuts say where each tensor's bytes
lie. Only top-level initializers are cut, and only their fixed-width fields. This module judges nothing: whatever it
does not understand raises ``WireError``, and the caller gives the whole message to protobuf instead, unless it is a
``DamagedError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

from onnx import GraphProto, ModelProto, TensorProto

Buffer = bytes | mmap

GRAPH = ModelProto.DESCRIPTOR.fields_by_name["graph"].number
INITIALIZER = GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
RAW_DATA = TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number
CUTTABLE = {
    TensorProto.DESCRIPTOR.fields_by_name[name].number: name for name in ("raw_data", "float_data", "double_data")
}

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
LARGEST_VARINT = 10  # bytes


class WireError(ValueError):
    """The bytes are not in the part of the wire format that this module reads."""


class DamagedError(WireError):
    """The bytes are in no wire format at all: protobuf would not read them either."""


class Cut(NamedTuple):
    """The data of initializer number ``initializer``, bytes ``start`` to ``end`` of the model."""

    initializer: int
    field: str
    start: int
    end: int


class Field(NamedTuple):
    """One field of a message: its key begins at ``key``, its content spans ``start`` to ``end``."""

    number: int
    wire_type: int
    key: int
    start: int
    end: int


def split(data: Buffer, threshold: int) -> tuple[bytes, list[Cut]]:
    """The model without the tensor data of at least ``threshold`` bytes, and the cuts. Raises ``WireError``."""
    cuts: list[Cut] = []
    pieces: list[bytes] = []
    kept = count = 0
    for item in fields(data, 0, len(data)):
        if item.number == GRAPH and item.wire_type == LENGTH_DELIMITED:
            graph, count = _split_graph(data, item, threshold, count, cuts)
            pieces += [data[kept : item.key], prefix(GRAPH, len(graph)), graph]
            kept = item.end
    pieces.append(data[kept:])
    return b"".join(pieces), cuts


def _split_graph(data: Buffer, graph: Field, threshold: int, count: int, cuts: list[Cut]) -> tuple[bytes, int]:
    pieces: list[bytes] = []
    kept = graph.start
    for item in fields(data, graph.start, graph.end):
        if item.number != INITIALIZER or item.wire_type != LENGTH_DELIMITED:
            continue
        cut = _data_field(data, item, threshold) if item.end - item.start >= threshold else None
        if cut is not None:
            rest = data[item.start : cut.key] + data[cut.end : item.end]
            pieces += [data[kept : item.key], prefix(INITIALIZER, len(rest)), rest]
            kept = item.end
            cuts.append(Cut(count, CUTTABLE[cut.number], cut.start, cut.end))
        count += 1
    pieces.append(data[kept : graph.end])
    return b"".join(pieces), count


def _data_field(data: Buffer, tensor: Field, threshold: int) -> Field | None:
    """The one large data field of a tensor; repeated ones are protobuf's to merge."""
    found = [item for item in fields(data, tensor.start, tensor.end) if item.number in CUTTABLE]
    if len(found) != 1 or found[0].wire_type != LENGTH_DELIMITED or found[0].end - found[0].start < threshold:
        return None
    return found[0]


def fields(data: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields of the message between two positions, in order."""
    at = start
    while at < end:
        key_at = at
        key, at = _varint(data, at, end)
        number, wire_type = key >> 3, key & 7
        if wire_type == LENGTH_DELIMITED:
            length, at = _varint(data, at, end)
        elif wire_type == VARINT:
            length = _varint(data, at, end)[1] - at
        elif wire_type in (FIXED32, FIXED64):
            length = 4 if wire_type == FIXED32 else 8
        else:
            raise WireError(f"wire type {wire_type} at byte {key_at}")
        if number == 0 or at + length > end:
            raise DamagedError(f"field {number} of {length} bytes at byte {key_at} does not fit")
        yield Field(number, wire_type, key_at, at, at + length)
        at += length


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for position in range(at, min(end, at + LARGEST_VARINT)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    raise DamagedError(f"no end of the number at byte {at}")


def varint(value: int) -> bytes:
    """A non-negative number, seven bits a byte."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def prefix(number: int, length: int) -> bytes:
    """What precedes ``length`` bytes of the length-delimited field ``number``."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(length)
