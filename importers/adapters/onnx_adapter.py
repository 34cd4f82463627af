"""The ``.onnx_adapter`` format of ONNX Runtime: a flatbuffer of named tensors.

::

    Adapter   = format_version: int32, adapter_version: int32, model_version: int32, parameters: [Parameter]
    Parameter = name: string, dims: [int64], data_type: int32 (as in TensorProto), raw_data: [uint8]

A flatbuffer has tables that begin with the way back to a list of field offsets, so fields may be missing and in any
order. Every offset is checked against the file.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from toolkit.errors import ModelError
from toolkit.graph.adapter_tensors import FIRST, SECOND, AdapterTensors

IDENTIFIER = b"TORT"
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def read_onnx_adapter(path: Path) -> AdapterTensors:
    """An adapter from an ``.onnx_adapter`` file. Its matrices have the scale taken in. Raises ``ModelError``."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in parse_onnx_adapter(path.read_bytes(), repr(str(path))).items():
        layer, _, kind = name.rpartition("/")
        if not layer or not kind.startswith("lora_"):
            raise ModelError(
                f"{str(path)!r}: the parameter {name!r} is not called LAYER/{FIRST} or the like, as those of this "
                "toolkit are, so its layer cannot be told."
            )
        layers.setdefault(layer, {})[kind] = array
    incomplete = [layer for layer, matrices in layers.items() if not {FIRST, SECOND} <= matrices.keys()]
    if incomplete or not layers:
        raise ModelError(f"{str(path)!r} must hold {FIRST} and {SECOND} of each layer; {incomplete[:3]} lack one.")
    second = next(iter(layers.values()))[SECOND]
    rank = second.shape[0] if second.ndim == 2 else second.shape[1]
    kind = "dora" if any(len(matrices) > 2 for matrices in layers.values()) else "lora"
    return AdapterTensors(kind, rank, float(rank), layers=layers)


def parse_onnx_adapter(content: bytes, label: str) -> dict[str, np.ndarray]:
    """The parameters of an adapter by name. Raises ``ModelError`` for anything that is not such a file."""
    if content[4:8] != IDENTIFIER:
        raise ModelError(f"{label} is not an .onnx_adapter file: it lacks the mark {IDENTIFIER!r}.")
    reader = _Reader(content)
    try:
        root = reader.number("<I", 0)
        found = {}
        for position in reader.references(reader.field(root, 3)):
            name, array = _parameter(reader, position)
            found[name] = array
        return found
    except (struct.error, UnicodeDecodeError, ValueError, KeyError, OverflowError) as error:
        raise ModelError(f"{label} is a damaged .onnx_adapter file ({error}). Save the adapter again.") from error


def _parameter(reader: _Reader, position: int) -> tuple[str, np.ndarray]:
    name = bytes(reader.elements(reader.field(position, 0), 1)).decode()
    dims = [number for (number,) in struct.iter_unpack("<q", reader.elements(reader.field(position, 1), 8))]
    kind_at = reader.field(position, 2, is_reference=False)
    kind = reader.number("<i", kind_at) if kind_at is not None else 0
    if kind not in FLOATS:
        raise ValueError(f"{name!r} has the element type {kind}, which is not one of floating-point numbers")
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    data = reader.elements(reader.field(position, 3), 1)
    if min(dims, default=0) < 0 or math.prod(dims) * dtype.itemsize != len(data):
        raise ValueError(f"{name!r} of shape {dims} has {len(data)} bytes")
    return name, np.frombuffer(data, dtype).reshape(dims)


class _Reader:
    """Follows offsets; raises ``ValueError`` where one leads out of the file."""

    def __init__(self, content: bytes) -> None:
        self.content = memoryview(content)

    def number(self, form: str, position: int) -> int:
        if not 0 <= position <= len(self.content) - struct.calcsize(form):
            raise ValueError(f"an offset leads to {position}")
        return int(struct.unpack_from(form, self.content, position)[0])

    def field(self, table: int, index: int, *, is_reference: bool = True) -> int | None:
        """Where a field of a table lies, or what it refers to; ``None`` for one that is missing."""
        listing = table - self.number("<i", table)
        at = 4 + 2 * index
        offset = self.number("<H", listing + at) if at < self.number("<H", listing) else 0
        if not offset:
            return None
        place = table + offset
        return place + self.number("<I", place) if is_reference else place

    def elements(self, vector: int | None, size: int) -> memoryview:
        """The bytes of a vector of elements of ``size`` bytes."""
        if vector is None:
            return self.content[:0]
        length = self.number("<I", vector) * size
        if vector + 4 + length > len(self.content):
            raise ValueError(f"a vector of {length} bytes leads out of the file")
        return self.content[vector + 4 : vector + 4 + length]

    def references(self, vector: int | None) -> list[int]:
        """The tables that a vector of references leads to."""
        if vector is None:
            return []
        count = len(self.elements(vector, 4)) // 4
        places = [vector + 4 + 4 * index for index in range(count)]
        return [place + self.number("<I", place) for place in places]
