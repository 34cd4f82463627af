"""From a path, bytes or a proto to a parsed model without its large weights, and those weights apart.

The file is mapped to find the weights, and each of them is read once; nothing of it is held twice. Kernels like their
data at multiples of a cache line, which offsets in a protobuf file are not: so every tensor gets an aligned place in
one buffer. The large tensors of a large file stay there until somebody needs them (see ``stored``).
"""

from __future__ import annotations

import mmap
import os
import stat
from io import FileIO
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto, TensorProto

from importers.onnx.elements import BY_CODE
from importers.onnx.stored import StoredFile
from importers.onnx.tensors import Content
from importers.onnx.wire import Cut, DamagedError, WireError, split
from toolkit.errors import ModelError

SMALLEST_CUT = 1024  # bytes; below this the bookkeeping costs more than the copy
ALIGNMENT = 64  # bytes
LARGE_FILE = 1 << 25  # bytes; of smaller files everything is read at once
SMALLEST_LEFT = 1 << 16  # bytes; smaller tensors are read with the model
CAN_LEAVE = os.name == "posix" and hasattr(os, "preadv")  # elsewhere a mapped file could not be replaced
LARGEST_PROTOBUF = (1 << 31) - 1  # bytes; protobuf reads and writes no more


class ParsedModel(NamedTuple):
    """A model, the data cut out of its initializers (by position), its folder and the name messages call it by."""

    proto: ModelProto
    weights: dict[int, Content]
    source: str | None
    label: str


def read_model(source: str | os.PathLike[str] | bytes | ModelProto) -> ParsedModel:
    """Read and parse. Raises ``ModelError`` for what is no file, no protobuf or truncated."""
    if isinstance(source, ModelProto):
        return _read_bytes(_serialized(source), "The model proto")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _read_bytes(bytes(source), "The model in memory")
    if isinstance(source, (str, os.PathLike)):
        return _read_file(os.fspath(source))
    raise ModelError(
        f"load() requires a path, bytes or an onnx.ModelProto, got {type(source).__name__}. Pass one of these."
    )


def _serialized(proto: ModelProto) -> bytes:
    try:
        return proto.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise ModelError(f"The model proto cannot be serialized: {error}. Save it with external data.") from error


def _read_bytes(data: bytes, label: str) -> ParsedModel:
    proto, cuts = _parse(data, label)
    buffer = _Buffer(cuts)
    for cut, place in zip(cuts, buffer.places, strict=True):
        place[:] = np.frombuffer(data, np.uint8, cut.end - cut.start, cut.start)
    return ParsedModel(proto, buffer.contents(), None, label)


def _read_file(path: str) -> ParsedModel:
    label = f"The file {path!r}"
    try:
        file = FileIO(path, opener=_open_without_waiting)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{label} cannot be opened: {getattr(error, 'strerror', error)}. Check the path and its permissions."
        ) from error
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{label} must be an ONNX file, but is no regular file. Pass the path of the .onnx file.")
        if status.st_size == 0:
            raise ModelError(f"{label} is empty. Export or download the model again.")
        if status.st_size > LARGEST_PROTOBUF:
            raise ModelError(
                f"{label} has {status.st_size} bytes, but an ONNX file holds at most {LARGEST_PROTOBUF}: more weights "
                "must lie beside it. Export it again with external data."
            )
        stored = StoredFile(file, label)
        proto, cuts = _parse(stored.mapped, label)
        is_large = CAN_LEAVE and status.st_size >= LARGE_FILE
        left = {cut for cut in cuts if is_large and _may_stay(cut, proto)}
        buffer = _Buffer([cut for cut in cuts if cut not in left])
        for cut, place in zip(buffer.cuts, buffer.places, strict=True):
            file.seek(cut.start)
            _fill(file, place, label)
    staying = {cut.initializer: Content(cut.field, stored.span(cut.start, cut.end), stored) for cut in left}
    return ParsedModel(proto, {**buffer.contents(), **staying}, os.path.abspath(path), label)


def _may_stay(cut: Cut, proto: ModelProto) -> bool:
    """Whether a tensor is large, and its bytes are its elements as they are."""
    tensor = proto.graph.initializer[cut.initializer]
    element = BY_CODE.get(tensor.data_type)
    is_plain = element is not None and not element.packed and tensor.data_location != TensorProto.EXTERNAL
    return is_plain and cut.field == "raw_data" and cut.end - cut.start >= SMALLEST_LEFT


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a named pipe would wait for its writer


def _fill(file: FileIO, place: np.ndarray, label: str) -> None:
    view = place.data
    while len(view):
        count = file.readinto(view)
        if not count:
            raise ModelError(f"{label} became shorter while it was read. Load it again when it is complete.")
        view = view[count:]


def _parse(data: bytes | mmap.mmap, label: str) -> tuple[ModelProto, list[Cut]]:
    proto = ModelProto()
    try:
        try:
            rest, cuts = split(data, SMALLEST_CUT)
        except DamagedError:
            raise
        except WireError:
            rest, cuts = data[:], []
        proto.ParseFromString(rest)
    except (DamagedError, DecodeError) as error:
        raise ModelError(
            f"{label} is no ONNX model, or only a part of one: {len(data)} bytes that do not parse as a protobuf "
            "ModelProto. Check that the download or copy is complete."
        ) from error
    return proto, cuts


class _Buffer:
    """One allocation with an aligned place for every cut."""

    def __init__(self, cuts: list[Cut]) -> None:
        self.cuts = cuts
        offsets, size = [], 0
        for cut in cuts:
            offsets.append(size)
            size += -(-(cut.end - cut.start) // ALIGNMENT) * ALIGNMENT
        memory = np.empty(size + ALIGNMENT, np.uint8)
        first = -memory.ctypes.data % ALIGNMENT
        self.places = [
            memory[first + offset : first + offset + cut.end - cut.start]
            for cut, offset in zip(cuts, offsets, strict=True)
        ]

    def contents(self) -> dict[int, Content]:
        for place in self.places:
            place.flags.writeable = False
        return {cut.initializer: Content(cut.field, place) for cut, place in zip(self.cuts, self.places, strict=True)}
