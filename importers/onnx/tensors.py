"""TensorProto and SparseTensorProto to arrays: checked against their dims, read only, without a copy where possible."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from onnx import SparseTensorProto, TensorProto

from importers.onnx.elements import (
    BY_CODE,
    STORAGE_DTYPES,
    Element,
    decode_text,
    from_typed,
    raw_content,
    typed_content,
    typed_count,
    unpack,
)
from importers.onnx.external import DataFolder
from importers.onnx.origin import ExternalRange, SparseOrigin, TensorOrigin
from importers.onnx.residue import explicit_defaults, remainder, text
from importers.onnx.stored import StoredFile
from toolkit.errors import ModelError
from toolkit.graph import SparseTensor

STORAGES = ("raw_data", *STORAGE_DTYPES, "string_data")
LARGEST_DENSE = 1 << 31  # bytes; a sparse initializer of a few bytes may claim any size
LARGEST_RANK = 64  # numpy's limit


class Content(NamedTuple):
    """Data that was cut out of the model: the field it belongs to, and its bytes (uint8).

    Where it stays in a ``file``, ``data`` only says where: the array made of it tells type and shape, and need not be
    aligned.
    """

    storage: str
    data: np.ndarray
    file: StoredFile | None = None


def read_tensor(
    tensor: TensorProto, folder: DataFolder, where: str, cut: Content | None = None, *, named: bool = False
) -> tuple[np.ndarray, TensorOrigin]:
    """The array of a tensor and the record of its storage; ``named`` tensors have their name in the graph.

    Raises ``ModelError`` for unknown element types, impossible dims, and data that does not fill the dims.
    """
    element = BY_CODE.get(tensor.data_type)
    if element is None:
        raise ModelError(
            f"{where} has element type {tensor.data_type}, which is none of ONNX's. Export the model again, "
            "or upgrade onnx if the file is newer."
        )
    shape = checked_dims(tensor.dims, where)
    explicit = explicit_defaults(tensor, "name")
    name = "" if named else text(tensor.name)
    external: ExternalRange | None = None
    if tensor.data_location == TensorProto.EXTERNAL:
        external, cut = _external_content(tensor, element, math.prod(shape), folder, where)
    storage = cut.storage if cut is not None else _storage(tensor, where)
    array, stored = _decode(tensor, element, storage, cut, shape, where)
    array.flags.writeable = False
    rest = remainder(tensor, "dims", "data_type", "name", *STORAGES)
    if external is not None:
        storage = ""
    decoded = array if stored is not None else None
    return array, TensorOrigin(storage, name, rest, explicit, stored, decoded, external)


def checked_dims(dims: Iterable[int], where: str) -> tuple[int, ...]:
    """Dims as a shape; raises ``ModelError`` for negative sizes, too many axes and more elements than memory has."""
    shape = tuple(dims)
    if (
        any(size < 0 for size in shape)
        or len(shape) > LARGEST_RANK
        or math.prod(max(size, 1) for size in shape) >= 1 << 62
    ):
        raise ModelError(
            f"{where} has dims {_brief(shape)}; sizes must be 0 or more, at most {LARGEST_RANK} of them, "
            "and fit in memory. The file is damaged or was made to do harm."
        )
    return shape


def _brief(shape: tuple[int, ...]) -> str:
    return str(list(shape[:8])) + (f" and {len(shape) - 8} more" if len(shape) > 8 else "")


def _storage(tensor: TensorProto, where: str) -> str:
    used = [name for name in STORAGES[1:] if len(getattr(tensor, name))]
    if tensor.HasField("raw_data"):
        used.insert(0, "raw_data")
    if len(used) > 1:
        raise ModelError(f"{where} must hold its data once, but fills {' and '.join(used)}. Export the model again.")
    return used[0] if used else ""


def _external_content(
    tensor: TensorProto, element: Element, count: int, folder: DataFolder, where: str
) -> tuple[ExternalRange, Content]:
    if element.storage == "string_data":
        raise ModelError(f"{where} holds strings, which cannot lie in an external file. Export the model again.")
    entries = {text(entry.key): text(entry.value) for entry in tensor.external_data}
    span = folder.find(entries, element.raw_bytes(count), where)
    return span, Content("raw_data", span.file.content[span.offset : span.offset + span.length])


def _decode(
    tensor: TensorProto, element: Element, storage: str, cut: Content | None, shape: tuple[int, ...], where: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """The array, and the stored content where encoding the array would not give it back."""
    count = math.prod(shape)
    if storage == "":
        _require_count(0, count, "elements", shape, where)
        return np.empty(shape, element.dtype), None
    if storage == "raw_data" and element.storage != "string_data":
        if cut is not None and cut.file is not None:
            _require_count(cut.data.size, element.raw_bytes(count), "bytes", shape, where)
            return cut.data.view(element.dtype).reshape(shape), None
        data = cut.data if cut is not None else np.frombuffer(tensor.raw_data, np.uint8)
        return _from_raw(data, element, shape, where)
    if storage != element.storage:
        raise ModelError(
            f"{where} is of type {TensorProto.DataType.Name(element.code)} and must keep its data in {element.storage}"
            f"{'' if element.storage == 'string_data' else ' or raw_data'}, but keeps it in {storage}. "
            "Export the model again."
        )
    if storage == "string_data":
        _require_count(len(tensor.string_data), count, "strings", shape, where)
        array = np.empty(count, np.object_)
        array[:] = [decode_text(text) for text in tensor.string_data]
        return array.reshape(shape), None
    if cut is not None:
        stored = _aligned(cut.data, STORAGE_DTYPES[storage], where)
    else:
        stored = np.array(getattr(tensor, storage), STORAGE_DTYPES[storage])
    _require_count(stored.size, typed_count(element, count), "numbers", shape, where)
    flat = from_typed(stored, element, count)
    faithful = element.storage != "int32_data" or np.array_equal(typed_content(flat, element), stored)
    return flat.reshape(shape), None if faithful else stored


def _from_raw(
    data: np.ndarray, element: Element, shape: tuple[int, ...], where: str
) -> tuple[np.ndarray, np.ndarray | None]:
    count = math.prod(shape)
    _require_count(data.size, element.raw_bytes(count), "bytes", shape, where)
    if not element.packed:
        return _aligned(data, element.dtype, where).reshape(shape), None
    array = unpack(data, element.bits, count).view(element.dtype)
    faithful = np.array_equal(raw_content(array, element)[-1:], data[-1:])
    return array.reshape(shape), None if faithful else data


def _aligned(data: np.ndarray, dtype: np.dtype, where: str) -> np.ndarray:
    """Bytes as elements: a view where the address allows it, or else a copy (kernels expect aligned data)."""
    if data.size % dtype.itemsize:
        raise ModelError(f"{where} has {data.size} bytes of data, which are no whole number of {dtype} elements.")
    array = data.view(dtype)
    return array if array.flags.aligned else array.copy()


def _require_count(got: int, required: int, unit: str, shape: tuple[int, ...], where: str) -> None:
    if got != required:
        raise ModelError(
            f"{where} has dims {_brief(shape)} and requires {required} {unit} of data, got {got}. "
            "The file is damaged: export or download it again."
        )


def read_sparse(sparse: SparseTensorProto, folder: DataFolder, where: str) -> tuple[SparseTensor, SparseOrigin]:
    """A sparse tensor and the record of its storage; every index lies inside the shape, or ``ModelError``."""
    shape = checked_dims(sparse.dims, where)
    values, values_origin = read_tensor(sparse.values, folder, f"The values of {where}")
    indices, positions_origin = read_tensor(sparse.indices, folder, f"The indices of {where}")
    linear = indices.shape == values.shape[:1]
    if indices.dtype != np.int64 or values.ndim != 1 or not (linear or indices.shape == (values.size, len(shape))):
        raise ModelError(
            f"{where} requires values (count,) and int64 indices (count,) or (count, {len(shape)}), got values "
            f"{values.dtype} {values.shape} and indices {indices.dtype} {indices.shape}. Export the model again."
        )
    limits = np.array([math.prod(shape)] if linear else shape, np.int64)
    if indices.size and ((indices < 0) | (indices >= limits)).any():
        raise ModelError(f"{where} has indices outside of its dims {_brief(shape)}. The file is damaged.")
    rest = remainder(sparse, "values", "indices", "dims")
    return SparseTensor(values, indices, shape), SparseOrigin(values_origin, positions_origin, rest)


def densified(sparse: SparseTensor, where: str) -> np.ndarray:
    """The dense, read-only array of a sparse initializer; ``ModelError`` when it would not reasonably fit."""
    size = math.prod(sparse.shape) * sparse.values.dtype.itemsize
    if size > LARGEST_DENSE or sparse.values.dtype == np.object_:
        raise ModelError(
            f"{where} is sparse with dims {_brief(sparse.shape)}; dense it must be numbers of at most "
            f"{LARGEST_DENSE} bytes, got {sparse.values.dtype} of {size} bytes."
        )
    array = sparse.dense()
    array.flags.writeable = False
    return array
