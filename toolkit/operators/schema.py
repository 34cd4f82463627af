"""What ONNX's schemas say about an operator of one version: inputs, attributes, defaults. Looked up once, then cached.

Nothing here infers a shape or runs an operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.defs
from onnx import numpy_helper

from toolkit.operators import wire
from toolkit.operators.record import canonical_domain


class Signature(NamedTuple):
    """The facts of one schema that are asked for per node.

    ``type_parameters`` holds, per formal input, the name of the type parameter that all inputs and outputs of that
    name share (``T``); ``repeats_last`` says that the last formal input may be given any number of times, and
    ``is_homogeneous`` that these repetitions share their type.
    """

    schema: Any
    since: int
    min_inputs: int
    max_inputs: int
    min_outputs: int
    max_outputs: int
    input_names: tuple[str, ...]
    type_parameters: tuple[str, ...]
    repeats_last: bool
    is_homogeneous: bool
    attribute_types: Mapping[str, int]
    required_attributes: tuple[str, ...]
    optional_inputs: frozenset[int] = frozenset()

    def input_name(self, index: int) -> str:
        """The schema's name of input ``index`` (``A``, ``axes``)."""
        return self.input_names[min(index, len(self.input_names) - 1)] if self.input_names else str(index)

    def type_parameter(self, index: int) -> str | None:
        """The type parameter of input ``index``, ``None`` where the input may have a type of its own."""
        last = len(self.type_parameters) - 1
        if index >= last and self.repeats_last and not self.is_homogeneous:
            return None
        return self.type_parameters[min(index, last)] if self.type_parameters else None


@cache
def signature(domain: str, op_type: str, version: int) -> Signature | None:
    """The signature of an operator at an opset version; ``None`` when ONNX has none or has deprecated it there."""
    try:
        schema = onnx.defs.get_schema(op_type, version, canonical_domain(domain))
    except onnx.defs.SchemaError:
        return None
    if schema.deprecated:
        return None
    attributes: Mapping[str, Any] = schema.attributes
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    last = schema.inputs[-1] if schema.inputs else None
    return Signature(
        schema=schema,
        since=schema.since_version,
        min_inputs=schema.min_input,
        max_inputs=schema.max_input,
        min_outputs=schema.min_output,
        max_outputs=schema.max_output,
        input_names=tuple(item.name for item in schema.inputs),
        type_parameters=tuple(item.type_str for item in schema.inputs),
        repeats_last=last is not None and last.option == variadic,
        is_homogeneous=last is None or last.is_homogeneous,
        attribute_types=MappingProxyType({name: int(item.type.value) for name, item in attributes.items()}),
        required_attributes=tuple(name for name, item in attributes.items() if item.required),
        optional_inputs=frozenset(index for index, item in enumerate(schema.inputs) if item.option == optional),
    )


def admits(found: Signature, inputs: Sequence[np.dtype | None], outputs: Sequence[np.dtype | None]) -> bool:
    """Whether so many inputs and outputs of these element types (``None`` for those left out) fit the signature."""
    formal_inputs, formal_outputs = list(found.schema.inputs), list(found.schema.outputs)
    return _admits(formal_inputs, inputs, found.max_inputs) and _admits(formal_outputs, outputs, found.max_outputs)


def _admits(formal: Sequence[Any], given: Sequence[np.dtype | None], most: int) -> bool:
    if len(given) > most:
        return False
    return all(
        dtype is None or f"tensor({_type_name(dtype)})" in formal[min(index, len(formal) - 1)].types
        for index, dtype in enumerate(given)
    )


def _type_name(dtype: np.dtype) -> str:
    return onnx.TensorProto.DataType.Name(wire.element_type(dtype)).lower()


def since_version(domain: str, op_type: str, opset: int) -> int | None:
    """The version of the operator that is in force at ``opset``; ``None`` when ONNX has none there."""
    found = signature(domain, op_type, opset)
    return None if found is None else found.since


@cache
def attribute_defaults(domain: str, op_type: str, version: int) -> Mapping[str, Any]:
    """The attributes that have a default in the schema of that very version, as plain Python values."""
    found = signature(domain, op_type, version)
    if found is None:
        return MappingProxyType({})
    return MappingProxyType(
        {
            name: plain_value(item.default_value)
            for name, item in found.schema.attributes.items()
            if item.default_value.type != onnx.AttributeProto.UNDEFINED
        }
    )


def plain_value(attribute: onnx.AttributeProto) -> Any:
    """An attribute as int, float, str, list of these or array."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [item.decode() for item in value]
    return list(value) if isinstance(value, (list, tuple)) or hasattr(value, "extend") else value
