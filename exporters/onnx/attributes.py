"""Plain Python values to AttributeProto."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, defs

from exporters.onnx.tensors import NOWHERE, Places, sparse_proto, tensor_proto
from importers.onnx.attributes import SINGULAR, VALUE_FIELDS
from importers.onnx.elements import encode_text
from importers.onnx.origin import AttributeOrigin
from importers.onnx.types import write_type
from toolkit.errors import ModelError
from toolkit.graph import AttributeReference, Graph, Leaf, SparseTensor, Value

KINDS: list[tuple[type | tuple[type, ...], int, int]] = [
    (numbers.Integral, AttributeProto.INT, AttributeProto.INTS),
    (numbers.Real, AttributeProto.FLOAT, AttributeProto.FLOATS),
    ((str, bytes), AttributeProto.STRING, AttributeProto.STRINGS),
    (np.ndarray, AttributeProto.TENSOR, AttributeProto.TENSORS),
    (Graph, AttributeProto.GRAPH, AttributeProto.GRAPHS),
    (SparseTensor, AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS),
    (Value, AttributeProto.TYPE_PROTO, AttributeProto.TYPE_PROTOS),
]
_WIDENED: dict[int, int] = {AttributeProto.INT: AttributeProto.FLOAT, AttributeProto.INTS: AttributeProto.FLOATS}


def attribute_proto(
    name: str,
    value: Any,
    origin: AttributeOrigin | None,
    declared: int | None,
    write_graph: Callable[[Graph], GraphProto],
    what: str,
    places: Places = NOWHERE,
) -> AttributeProto:
    """One attribute. ``declared`` is the type that the operator's schema asks for, if it is known.

    Raises ``ModelError`` for values that no attribute can hold.
    """
    where = f"Attribute {name!r} of {what}"
    proto = AttributeProto()
    if origin is not None:
        proto.MergeFromString(origin.rest)
    if name or (origin is not None and "name" in origin.explicit):
        proto.name = name
    if isinstance(value, AttributeReference):
        proto.ref_attr_name = value.name
        if origin is None or origin.typed:
            proto.type = value.type  # type: ignore[assignment]
        return proto
    if origin is not None and "ref_attr_name" in origin.explicit:
        proto.ref_attr_name = ""
    kind = _kind(value, origin.kind if origin is not None else declared, where)
    same_kind = origin is not None and origin.kind == kind
    if origin is None or origin.typed or not same_kind:
        proto.type = kind  # type: ignore[assignment]
    elif "type" in origin.explicit:
        proto.type = AttributeProto.UNDEFINED
    if origin is not None and same_kind and not origin.present and _says_nothing(value):
        return proto
    _fill(proto, VALUE_FIELDS[kind], value, origin, write_graph, where, places)
    return proto


def _says_nothing(value: Any) -> bool:
    """Whether a value is still what an absent field reads as."""
    if isinstance(value, Graph):
        return not (value.leaves or value.outputs or value.name)
    if isinstance(value, Value):
        return value.dtype is None and value.shape is None
    return not isinstance(value, (np.ndarray, SparseTensor)) and not value


def declared_types(leaf: Leaf) -> dict[str, int]:
    """The attribute types in the operator's schema; empty for operators that onnx does not know."""
    if not defs.has(leaf.op_type, leaf.domain):
        return {}
    try:
        schema = defs.get_schema(leaf.op_type, leaf.version, leaf.domain)
    except defs.SchemaError:
        return {}
    return {name: _declared(attribute.type) for name, attribute in schema.attributes.items()}


def _declared(kind: Any) -> int:
    """The number of a schema's attribute type, which onnx's annotations keep to themselves."""
    return int(kind.value)


def _kind(value: Any, wanted: int | None, where: str) -> int:
    many = isinstance(value, (list, tuple))
    items = list(value) if many else [value]
    if not items:
        return wanted if wanted is not None and VALUE_FIELDS.get(wanted) not in SINGULAR else AttributeProto.INTS
    kinds = {_kind_of(item, many) for item in items}
    if kinds == {AttributeProto.INTS, AttributeProto.FLOATS}:
        return AttributeProto.FLOATS
    found = kinds.pop()
    if found is None or kinds:
        raise ModelError(
            f"{where} is {value!r:.80}; an attribute holds int, float, str, bytes, an array, a graph, a type, "
            "or a list of one of these. Convert it."
        )
    return wanted if wanted is not None and _WIDENED.get(found) == wanted else found


def _kind_of(item: Any, many: bool) -> int | None:
    return next((several if many else single for types, single, several in KINDS if isinstance(item, types)), None)


def _fill(
    proto: AttributeProto,
    field: str,
    value: Any,
    origin: AttributeOrigin | None,
    write_graph: Callable[[Graph], GraphProto],
    where: str,
    places: Places,
) -> None:
    items = [value] if field in SINGULAR else list(value)
    records = origin.elements if origin is not None else ()
    encoded: list[Any] = []
    for position, item in enumerate(items):
        record = records[position] if position < len(records) else None
        match item:
            case str() | bytes():
                encoded.append(encode_text(item))
            case np.ndarray():
                encoded.append(tensor_proto(item, record, getattr(record, "name", ""), where, places))
            case SparseTensor():
                label = getattr(getattr(record, "values", None), "name", "")
                encoded.append(sparse_proto(item, record, label, where, places))
            case Graph():
                encoded.append(write_graph(item))
            case Value():
                encoded.append(write_type(item, item.origin))
            case _:
                encoded.append(float(item) if field in ("f", "floats") else int(item))
    if field not in SINGULAR:
        getattr(proto, field).extend(encoded)
    elif field in ("f", "i", "s"):
        setattr(proto, field, encoded[0])
    else:
        getattr(proto, field).CopyFrom(encoded[0])
