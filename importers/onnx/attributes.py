"""AttributeProto to plain Python values: numbers, text, arrays, graphs, types, references, and lists of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onnx import AttributeProto, GraphProto

from importers.onnx.elements import decode_text
from importers.onnx.external import DataFolder
from importers.onnx.origin import AttributeOrigin, SparseOrigin, TensorOrigin
from importers.onnx.residue import explicit_defaults, remainder, text
from importers.onnx.tensors import read_sparse, read_tensor
from importers.onnx.types import read_type
from toolkit.errors import ModelError
from toolkit.graph import AttributeReference, Graph

VALUE_FIELDS: dict[int, str] = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}
SINGULAR = {"f", "i", "s", "t", "g", "sparse_tensor", "tp"}


@dataclass(frozen=True, slots=True)
class AttributeReader:
    """Reads attributes; ``read_graph`` turns the bodies into graphs, ``in_function`` allows references."""

    folder: DataFolder
    read_graph: Callable[[GraphProto], Graph]
    in_function: bool

    def read(self, attribute: AttributeProto, where: str) -> tuple[Any, AttributeOrigin | None]:
        """The value and, where the file says more than the value, its record. Empties the attribute."""
        where = f"Attribute {attribute.name!r} of {where}"
        kind, typed = int(attribute.type), attribute.HasField("type")
        if attribute.ref_attr_name:
            return self._reference(attribute, kind, where)
        typed = kind != AttributeProto.UNDEFINED  # a file may also spell out that it leaves the type open
        kind = kind or _inferred_kind(attribute, where)
        name = VALUE_FIELDS[kind]
        present = name not in SINGULAR or attribute.HasField(name)
        elements: list[TensorOrigin | SparseOrigin] = []
        content = getattr(attribute, name)
        if name in SINGULAR:
            value = self._value(name, content, elements, where)
        else:
            singular = name.removesuffix("s") if name != "type_protos" else "tp"
            value = [self._value(singular, item, elements, where) for item in content]
        explicit = explicit_defaults(attribute, "name", "ref_attr_name", "type")
        rest = remainder(attribute, "name", "type", name, "ref_attr_name")
        plain = typed and present and not rest and not explicit and not elements and value != []
        origin = None if plain else AttributeOrigin(kind, typed, present, rest, explicit, tuple(elements))
        return value, origin

    def _reference(
        self, attribute: AttributeProto, kind: int, where: str
    ) -> tuple[AttributeReference, AttributeOrigin | None]:
        if not self.in_function:
            raise ModelError(
                f"{where} refers to {attribute.ref_attr_name!r} of a caller, but only nodes of functions have one. "
                "Give the attribute a value."
            )
        value = AttributeReference(text(attribute.ref_attr_name), kind)
        typed, explicit = attribute.HasField("type"), explicit_defaults(attribute, "name")
        rest = remainder(attribute, "name", "type", "ref_attr_name")
        plain = typed and not rest and not explicit
        return value, None if plain else AttributeOrigin(kind, typed, rest=rest, explicit=explicit)

    def _value(self, kind: str, content: Any, elements: list[TensorOrigin | SparseOrigin], where: str) -> Any:
        match kind:
            case "s" | "string":
                return decode_text(content)
            case "t" | "tensor":
                array, origin = read_tensor(content, self.folder, where)
                elements.append(origin)
                return array
            case "sparse_tensor":
                sparse, sparse_origin = read_sparse(content, self.folder, where)
                elements.append(sparse_origin)
                return sparse
            case "g" | "graph":
                return self.read_graph(content)
            case "tp":
                return read_type(content, where)
        return content


def _inferred_kind(attribute: AttributeProto, where: str) -> int:
    """The type of an attribute of the first file versions, which did not state it."""
    used = [
        kind
        for kind, name in VALUE_FIELDS.items()
        if (attribute.HasField(name) if name in SINGULAR else len(getattr(attribute, name)))
    ]
    if len(used) != 1:
        raise ModelError(
            f"{where} has no type, so exactly one kind of value is required, got {len(used)}. Export the model again."
        )
    return used[0]
