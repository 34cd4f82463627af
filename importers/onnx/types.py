"""TypeProto in both directions: kind, element type and symbolic shape of a value.

What the three cannot say (denotations, nested types, keys of maps) stays behind as a ``TypeOrigin``.
"""

from __future__ import annotations

import numpy as np
from onnx import TypeProto, ValueInfoProto

from importers.onnx.elements import BY_CODE, BY_DTYPE
from importers.onnx.origin import TypeOrigin, ValueOrigin
from importers.onnx.residue import explicit_defaults, remainder, text
from toolkit.errors import ModelError
from toolkit.graph import Dim, Shape, Value

UNKNOWN_ELEMENT = 0
DEEPEST_TYPE = 32


def read_value(info: ValueInfoProto, where: str) -> Value:
    """A declared value; batch axes are found later. Raises ``ModelError`` for element types that ONNX has not."""
    value = read_type(info.type, f"{where} {info.name!r}") if info.HasField("type") else Value("")
    value.name = text(info.name)
    type_origin = value.origin
    explicit = explicit_defaults(info, "name")
    rest = remainder(info, "name", "type")
    plain = not rest and not explicit and type_origin is None
    value.origin = None if plain else ValueOrigin(rest, type_origin, explicit)
    return value


def write_value(value: Value) -> ValueInfoProto:
    """The declaration of a value."""
    origin = value.origin if isinstance(value.origin, ValueOrigin) else ValueOrigin()
    info = ValueInfoProto()
    info.MergeFromString(origin.rest)
    name = value.name if origin.name is None else origin.name
    if name or "name" in origin.explicit:
        info.name = name
    if origin.type is not None or value.kind != "tensor" or value.dtype is not None or value.shape is not None:
        info.type.CopyFrom(write_type(value, origin.type))
    return info


def read_type(proto: TypeProto, where: str) -> Value:
    """A nameless value of this type; ``origin`` is a ``TypeOrigin`` where the value does not say everything."""
    which = proto.WhichOneof("value")
    kind = "tensor" if which is None else which.removesuffix("_type")
    dtype, shape = _innermost(proto, where)
    value = Value("", dtype, shape, kind=kind)
    if write_type(value, None) != proto or (kind == "tensor" and dtype is None and shape is None):
        value.origin = TypeOrigin(proto.SerializeToString(), (kind, dtype, shape))
    return value


def write_type(value: Value, origin: TypeOrigin | None) -> TypeProto:
    """The type of a value: the file's own where it still holds."""
    proto = TypeProto()
    if origin is not None and origin.key == (value.kind, value.dtype, value.shape):
        proto.ParseFromString(origin.content)
        return proto
    tensor = _tensor_slot(proto, value.kind)
    if tensor is None:
        return proto
    tensor.SetInParent()
    if value.dtype is not None:
        tensor.elem_type = BY_DTYPE[value.dtype].code
    if value.shape is not None:
        tensor.shape.SetInParent()
        for dim in value.shape:
            slot = tensor.shape.dim.add()
            if isinstance(dim, str):
                slot.dim_param = dim
            elif dim is not None:
                slot.dim_value = dim
    return proto


def _tensor_slot(proto: TypeProto, kind: str) -> TypeProto.Tensor | TypeProto.SparseTensor | None:
    match kind:
        case "tensor":
            return proto.tensor_type
        case "sparse_tensor":
            return proto.sparse_tensor_type
        case "sequence":
            return proto.sequence_type.elem_type.tensor_type
        case "optional":
            return proto.optional_type.elem_type.tensor_type
        case "map":
            proto.map_type.key_type = BY_DTYPE[np.dtype(np.int64)].code
            return proto.map_type.value_type.tensor_type
    return None


def _innermost(proto: TypeProto, where: str) -> tuple[np.dtype | None, Shape | None]:
    """Element type and shape of the tensor at the bottom of a type."""
    for _ in range(DEEPEST_TYPE):
        match proto.WhichOneof("value"):
            case "tensor_type":
                return _element(proto.tensor_type, where), _shape(proto.tensor_type)
            case "sparse_tensor_type":
                return _element(proto.sparse_tensor_type, where), _shape(proto.sparse_tensor_type)
            case "sequence_type":
                proto = proto.sequence_type.elem_type
            case "optional_type":
                proto = proto.optional_type.elem_type
            case "map_type":
                proto = proto.map_type.value_type
            case _:
                return None, None
    raise ModelError(f"{where} has a type nested deeper than {DEEPEST_TYPE} levels. The file was made to do harm.")


def _element(tensor: TypeProto.Tensor | TypeProto.SparseTensor, where: str) -> np.dtype | None:
    if tensor.elem_type == UNKNOWN_ELEMENT:
        return None
    element = BY_CODE.get(tensor.elem_type)
    if element is None:
        raise ModelError(
            f"{where} has element type {tensor.elem_type}, which is none of ONNX's. Export the model again, "
            "or upgrade onnx if the file is newer."
        )
    return element.dtype


def _shape(tensor: TypeProto.Tensor | TypeProto.SparseTensor) -> Shape | None:
    return tuple(_dim(dim) for dim in tensor.shape.dim) if tensor.HasField("shape") else None


def _dim(dim: object) -> Dim:
    """A size or a symbol; negative sizes are some exporters' way of saying that the size is open."""
    size: int = dim.dim_value  # type: ignore[attr-defined]
    symbol = text(dim.dim_param)  # type: ignore[attr-defined]
    return size if dim.HasField("dim_value") and size >= 0 else symbol or None  # type: ignore[attr-defined]
