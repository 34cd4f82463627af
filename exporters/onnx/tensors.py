"""Arrays to TensorProto, in the storage that the file had: the same field, or raw data for what has no record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from onnx import SparseTensorProto, TensorProto

from importers.onnx.elements import BY_DTYPE, STORAGE_DTYPES, Element, encode_text, raw_content, typed_content
from importers.onnx.origin import ExternalFile, ExternalRange, SparseOrigin, TensorOrigin
from importers.onnx.wire import prefix
from toolkit.errors import ModelError
from toolkit.graph import Parameter, SparseTensor


class Place(NamedTuple):
    """Where a data file is written: its location beside the model, and its digest where that is another one now."""

    location: str
    digest: str | None


Places = Mapping[ExternalFile, Place]
NOWHERE: Places = {}


class StoredTensor(NamedTuple):
    """A tensor as the file will have it: the message without raw data, the raw data (uint8), and where it lies."""

    header: TensorProto
    raw: np.ndarray | None
    external: ExternalRange | None


def store(array: np.ndarray, origin: object, name: str, what: str, places: Places = NOWHERE) -> StoredTensor:
    """Encode an array; ``origin`` is its ``TensorOrigin``, if it has one. Raises ``ModelError`` for foreign dtypes.

    The message of a tensor whose data file has one of the ``places`` names that.
    """
    element = BY_DTYPE.get(array.dtype if array.dtype.kind != "U" else np.dtype(np.object_))
    if element is None:
        raise ModelError(f"{what} has dtype {array.dtype}, which no ONNX tensor can have. Convert it first.")
    record = origin if isinstance(origin, TensorOrigin) else TensorOrigin(_default_storage(element))
    header = TensorProto()
    header.MergeFromString(record.rest)
    header.dims.extend(array.shape)
    header.data_type = element.code
    if name or "name" in record.explicit:
        header.name = name
    stored = record.stored if record.stored is not None and array is record.decoded else None
    if record.external is not None:
        if record.external.file in places:
            _point_at(header, places[record.external.file])
        return StoredTensor(header, raw_content(array, element) if stored is None else stored, record.external)
    storage = _fitting_storage(record.storage, element, array.size)
    if storage == "raw_data":
        return StoredTensor(header, raw_content(array, element) if stored is None else stored, None)
    if storage == "string_data":
        header.string_data.extend(encode_text(text) for text in array.reshape(-1).tolist())
    elif storage:
        _extend(header, storage, typed_content(array, element) if stored is None else stored)
    return StoredTensor(header, None, None)


def tensor_proto(array: np.ndarray, origin: object, name: str, what: str, places: Places = NOWHERE) -> TensorProto:
    """The whole message. External data without a place is taken in: a message on its own has no folder."""
    header, raw, external = store(array, origin, name, what, places)
    if external is not None and external.file in places:
        return header
    if external is not None:
        header.ClearField("external_data")
        header.ClearField("data_location")
    if raw is not None:
        header.raw_data = raw.tobytes()
    return header


def sparse_proto(
    sparse: SparseTensor, origin: object, name: str, what: str, places: Places = NOWHERE
) -> SparseTensorProto:
    """A sparse tensor; its values bear the name."""
    record = origin if isinstance(origin, SparseOrigin) else None
    proto = SparseTensorProto()
    if record is not None:
        proto.MergeFromString(record.rest)
    values, positions = (record.values, record.positions) if record is not None else (None, None)
    proto.values.CopyFrom(tensor_proto(sparse.values, values, name, what, places))
    label = positions.name if positions is not None else ""
    proto.indices.CopyFrom(tensor_proto(sparse.indices, positions, label, what, places))
    proto.dims.extend(sparse.shape)
    return proto


def sparse_parameter(parameter: Parameter, origin: SparseOrigin) -> SparseTensor:
    """The stored elements of a dense parameter that the file keeps sparse: at its indices, while those suffice."""
    array = parameter.array
    if origin.content is not None and array is origin.decoded:
        return origin.content
    flat = array.reshape(-1)
    if origin.content is not None and origin.content.shape == array.shape:
        positions = origin.content.positions()
        if np.count_nonzero(flat) == np.count_nonzero(flat[np.unique(positions)]):
            return SparseTensor(flat[positions], origin.content.indices, array.shape)
    positions = np.flatnonzero(flat).astype(np.int64)
    return SparseTensor(flat[positions], positions, array.shape)


def _point_at(header: TensorProto, place: Place) -> None:
    for entry in header.external_data:
        if entry.key == "location":
            entry.value = place.location
        elif entry.key == "checksum" and place.digest is not None:
            entry.value = place.digest


def _default_storage(element: Element) -> str:
    return "string_data" if element.storage == "string_data" else "raw_data"


def _fitting_storage(storage: str, element: Element, count: int) -> str:
    """The file's field while it can hold the array (an edit may have changed dtype or size)."""
    if storage == "raw_data" and element.storage != "string_data":
        return storage
    if storage == element.storage or (storage == "" and count == 0):
        return storage
    return _default_storage(element)


def _extend(header: TensorProto, storage: str, numbers: np.ndarray) -> None:
    if numbers.dtype.kind == "f":  # as bytes: conversion to Python floats would not keep every NaN
        number = TensorProto.DESCRIPTOR.fields_by_name[storage].number
        content = numbers.astype(STORAGE_DTYPES[storage], copy=False).tobytes()
        header.MergeFromString(prefix(number, len(content)) + content)
    else:
        getattr(header, storage).extend(numbers.tolist())
