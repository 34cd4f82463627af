"""Nodes, types and small tensors in the serialised form that ONNX's native per-node inference takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, TypeProto

from toolkit.errors import ShapeError


@cache
def element_type(dtype: np.dtype) -> int:
    """ONNX's number of an element type. Raises ``ShapeError`` for types that ONNX does not have."""
    if dtype.kind in "OSU":
        return TensorProto.STRING
    try:
        return int(onnx.helper.np_dtype_to_tensor_dtype(dtype))
    except (KeyError, ValueError) as error:
        raise ShapeError(f"ONNX tensors have no element type {dtype.name!r}: cast to a type that ONNX has.") from error


@cache
def element_dtype(number: int) -> np.dtype:
    """The numpy element type for ONNX's number; strings are ``object``. Raises ``ShapeError`` for other numbers."""
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number))
    except KeyError as error:
        raise ShapeError(f"ONNX has no element type number {number}: give one of TensorProto.DataType.") from error


@lru_cache(maxsize=8192)
def tensor_type(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """A serialised TypeProto."""
    proto = TypeProto()
    tensor = proto.tensor_type
    tensor.elem_type = element_type(dtype)
    dims = tensor.shape.dim
    for size in shape:
        dims.add().dim_value = size
    if not shape:
        tensor.shape.SetInParent()
    return proto.SerializeToString()


def parse_type(serialised: bytes) -> tuple[np.dtype, tuple[int, ...]] | None:
    """(dtype, concrete shape) of a serialised TypeProto; ``None`` unless it is a tensor with every size known."""
    proto = TypeProto.FromString(serialised)
    tensor = proto.tensor_type
    if not tensor.elem_type or not tensor.HasField("shape"):
        return None
    shape = []
    for dim in tensor.shape.dim:
        if not dim.HasField("dim_value"):
            return None
        shape.append(dim.dim_value)
    return element_dtype(tensor.elem_type), tuple(shape)


def tensor(array: np.ndarray) -> bytes:
    """A serialised TensorProto."""
    if array.dtype.itemsize > 1 and array.dtype.kind in "iufb":
        proto = TensorProto(data_type=element_type(array.dtype), dims=array.shape)
        proto.raw_data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        return proto.SerializeToString()
    return onnx.numpy_helper.from_array(array).SerializeToString()


def node(
    op_type: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, Any],
    types: Mapping[str, int],
) -> bytes:
    """A serialised NodeProto; ``types`` gives the schema's type of each attribute, others are left out."""
    proto = NodeProto(op_type=op_type, input=inputs, output=outputs)
    for name, value in attributes.items():
        kind = types.get(name)
        if kind is not None and value is not None:
            _fill(proto.attribute.add(), name, kind, value)
    return proto.SerializeToString()


def _fill(proto: AttributeProto, name: str, kind: int, value: Any) -> None:
    proto.name = name
    proto.type = kind  # type: ignore[assignment]
    if kind == AttributeProto.INT:
        proto.i = int(value)
    elif kind == AttributeProto.INTS:
        proto.ints.extend(map(int, value))
    elif kind == AttributeProto.FLOAT:
        proto.f = float(value)
    elif kind == AttributeProto.FLOATS:
        proto.floats.extend(map(float, value))
    elif kind == AttributeProto.STRING:
        proto.s = _encoded(value)
    elif kind == AttributeProto.STRINGS:
        proto.strings.extend(map(_encoded, value))
    elif kind == AttributeProto.TENSOR:
        proto.t.ParseFromString(onnx.numpy_helper.from_array(np.asarray(value)).SerializeToString())
    else:
        raise TypeError(f"attribute {name!r} holds a graph or a type, which per-node inference does not take")


def _encoded(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
