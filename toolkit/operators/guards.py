"""Guards: what a node must be before its shapes are inferred or it is computed.

A file may give any operator anything. Here its inputs and attributes are held against the schema of its very version,
and what ONNX's native inference is known to crash or hang on (negative sizes, an axis out of range, a Split count below
its outputs, an Einsum equation outside its alphabet) is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np
from onnx import AttributeProto

from toolkit.errors import DataDependentShapeError, ShapeError
from toolkit.graph.sparse import SparseTensor
from toolkit.operators.schema import Signature, signature

EINSUM_TERM = r"[A-Za-z ]*(\.\.\.)?[A-Za-z ]*"
EINSUM_EQUATION = re.compile(rf"{EINSUM_TERM}(,{EINSUM_TERM})*(->{EINSUM_TERM})?")
MOST_ELEMENTS = 1 << 48  # of one tensor; beyond the memory of any machine, and far from what 64 bits cannot count
MOST_AXES = 64  # numpy's limit
LARGEST_DENSE = 1 << 31  # bytes; a sparse attribute of a few bytes may claim any size


class Typed(Protocol):
    """What inference needs to know of a variable; ``constant`` is its content where that is known."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def constant(self) -> np.ndarray | None: ...


class NodeInQuestion:
    """A node under inference: what it is given, and the errors that name it."""

    __slots__ = ("attributes", "domain", "inputs", "layer", "op_type", "version")

    def __init__(
        self,
        domain: str,
        op_type: str,
        version: int,
        inputs: Sequence[Typed | None],
        attributes: Mapping[str, Any],
        layer: str,
    ) -> None:
        self.domain, self.op_type, self.version = domain, op_type, version
        self.inputs, self.attributes, self.layer = inputs, attributes, layer

    def error(self, required: str, remedy: str = "") -> ShapeError:
        """The error that names layer, requirement, what came and the remedy."""
        return ShapeError(self._message(required, remedy))

    def depends_on_data(self, what: str) -> DataDependentShapeError:
        """The error for a type that cannot be known before the data is there."""
        return DataDependentShapeError(
            self._message(
                f"the shape of its output depends on the data ({what})",
                "Make the inputs that determine it constants (initializers).",
            )
        )

    def _message(self, required: str, remedy: str) -> str:
        received = ", ".join(
            "nothing" if item is None else f"{item.name!r} {item.dtype.name} {item.shape}" for item in self.inputs
        )
        if len(self.attributes) and (shown := {k: v for k, v in self.attributes.items() if not _is_big(v)}):
            received += f" with {', '.join(f'{name}={value!r}' for name, value in shown.items())}"
        remedy = remedy or "Change the shapes that reach this layer, or its attributes."
        required = required.strip().removesuffix(".")
        return f"{self.op_type}-{self.version} {self.layer!r}: {required}; got {received}. {remedy}"


def _is_big(value: Any) -> bool:
    count = value.size if isinstance(value, np.ndarray) else len(value) if hasattr(value, "__len__") else 0
    return count > 16 or hasattr(value, "leaves")


def check_form(
    domain: str, op_type: str, version: int, inputs: Sequence[Typed | None], attributes: Mapping[str, Any], layer: str
) -> None:
    """Raise ``ShapeError`` unless inputs and attributes are there as the schema, if there is one, asks for them."""
    known = signature(domain, op_type, version)
    if known is not None:
        require_form(NodeInQuestion(domain, op_type, version, inputs, attributes, layer), known)


def require_form(node: NodeInQuestion, known: Signature) -> None:
    """Refuse a wrong number of inputs, required ones and attributes that are missing, attributes of another type."""
    inputs, attributes = node.inputs, node.attributes
    if not known.min_inputs <= len(inputs) <= known.max_inputs:
        bound = f"{known.min_inputs} to {known.max_inputs}" if known.max_inputs < 1 << 30 else f"{known.min_inputs}+"
        raise node.error(f"it takes {bound} inputs, got {len(inputs)}")
    repeated = len(known.input_names) - 1 if known.repeats_last else len(inputs)
    for index, item in enumerate(inputs):
        is_required = index < known.min_inputs and index not in known.optional_inputs
        if item is None and (is_required or index >= repeated):
            raise node.error(f"input {known.input_name(index)!r} is required", "Connect it.")
    for name in known.required_attributes:
        if name not in attributes:
            raise node.error(f"attribute {name!r} is required")
    for name, value in attributes.items():
        kind = known.attribute_types.get(name)
        if kind is not None and value is not None and not FITS[kind](value):
            wanted = AttributeProto.AttributeType.Name(kind).lower().replace("_", " ")
            raise node.error(f"attribute {name!r} must be of type {wanted}, got {type(value).__name__}")
        if isinstance(value, SparseTensor) and math.prod(value.shape) * value.values.dtype.itemsize > LARGEST_DENSE:
            raise node.error(
                f"attribute {name!r} has the shape {value.shape}, which dense is above {LARGEST_DENSE} bytes"
            )


def require_valid(node: NodeInQuestion, known: Signature) -> None:
    """``require_form``, and sizes, types and axes that the operator can take."""
    require_form(node, known)
    bound_types: dict[str, np.dtype] = {}
    for index, item in enumerate(node.inputs):
        if item is None:
            continue
        if item.shape and min(item.shape) < 0:
            raise node.error(f"every size of {item.name!r} must be 0 or more")
        if not is_possible(item.shape):
            raise node.error(f"{item.name!r} has more elements than any memory holds")
        parameter = known.type_parameter(index)
        if parameter is not None and bound_types.setdefault(parameter, item.dtype) != item.dtype:
            raise node.error(
                f"input {known.input_name(index)!r} must be {bound_types[parameter].name} like the ones before it",
                "Insert a Cast.",
            )
    check = GUARDS.get(node.op_type)
    if check is not None:
        check(node)


def is_possible(shape: Sequence[int]) -> bool:
    """Whether a tensor can have this shape at all."""
    return (
        len(shape) <= MOST_AXES
        and min(shape, default=0) >= 0
        and math.prod(max(size, 1) for size in shape) <= (MOST_ELEMENTS)
    )


def _is_data(value: Any) -> bool:
    return isinstance(value, (str, bytes, Real, np.ndarray, list, tuple, SparseTensor))


def _whole(value: Any) -> bool:
    return isinstance(value, (Integral, np.bool_))


def _real(value: Any) -> bool:
    return isinstance(value, (Real, np.bool_))


def _text(value: Any) -> bool:
    return isinstance(value, (str, bytes))


def _many(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple, np.ndarray)) and all(map(fits, value))


FITS: dict[int, Callable[[Any], bool]] = {
    AttributeProto.INT: _whole,
    AttributeProto.INTS: _many(_whole),
    AttributeProto.FLOAT: _real,
    AttributeProto.FLOATS: _many(_real),
    AttributeProto.STRING: _text,
    AttributeProto.STRINGS: _many(_text),
    AttributeProto.TENSOR: lambda value: _is_data(value) and not _text(value),
    AttributeProto.TENSORS: lambda value: isinstance(value, (list, tuple)),
    AttributeProto.SPARSE_TENSOR: lambda value: isinstance(value, SparseTensor),
    AttributeProto.SPARSE_TENSORS: lambda value: isinstance(value, (list, tuple)),
    AttributeProto.GRAPH: lambda value: not _is_data(value),
    AttributeProto.GRAPHS: lambda value: isinstance(value, (list, tuple)),
    AttributeProto.TYPE_PROTO: lambda value: not _is_data(value),
    AttributeProto.TYPE_PROTOS: lambda value: isinstance(value, (list, tuple)),
}


def _guard_axis(node: NodeInQuestion) -> None:
    first = node.inputs[0]
    assert first is not None
    axis, rank = int(node.attributes.get("axis", -1)), len(first.shape)
    if not -rank <= axis < rank:
        raise node.error(f"axis must lie in [{-rank}, {rank - 1}], got {axis}")


def _guard_split(node: NodeInQuestion) -> None:
    if "num_outputs" in node.attributes and int(node.attributes["num_outputs"]) < 1:
        raise node.error(f"num_outputs must be positive, got {node.attributes['num_outputs']}")


def _guard_einsum(node: NodeInQuestion) -> None:
    equation = node.attributes["equation"]
    equation = equation.decode() if isinstance(equation, bytes) else equation
    if not EINSUM_EQUATION.fullmatch(equation):
        raise node.error(
            f"an equation consists of letters, blanks, ',', one '...' a term and one '->', got {equation!r:.80}"
        )


GUARDS = {
    "LayerNormalization": _guard_axis,
    "RMSNormalization": _guard_axis,
    "Split": _guard_split,
    "Einsum": _guard_einsum,
}
