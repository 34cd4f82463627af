"""Shape and type inference of one node, every size known, behind guards that keep hostile nodes out of native code.

A record's own rule goes first; else ONNX's native inference of the node's very version. What the native code is known
to crash or hang on (negative sizes, an axis out of range, a Split count below its outputs, an Einsum equation outside
its alphabet) is refused before. Results that miss a size are refused too: every shape of a program is concrete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from toolkit.errors import DataDependentShapeError, ShapeError, UnsupportedOperatorError
from toolkit.operators import wire
from toolkit.operators.record import DataDependentError, TensorType, canonical_domain, lookup
from toolkit.operators.schema import Signature, attribute_defaults, signature, since_version

LEFT_OUT: TensorType = (np.dtype(np.float32), ())
CONSTANT_LIMIT = 1024  # elements; axes, shapes and pads are far smaller, and larger ones would only cost time
EINSUM_ALPHABET = re.compile(r"[A-Za-z., ]*(->[A-Za-z. ]*)?")


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


def infer_types(
    domain: str,
    op_type: str,
    version: int,
    inputs: Sequence[Typed | None],
    attributes: Mapping[str, Any],
    outputs: int | Sequence[str],
    layer: str,
) -> list[TensorType]:
    """(dtype, concrete shape) of each output of one node; ``outputs`` is how many there are, or their names.

    Where a name is ``""`` the output is left out, and what stands at its place in the result means nothing.
    Raises ``ShapeError`` when the inputs or attributes do not fit the operator, its ``DataDependentShapeError`` when a
    shape depends on the data, and ``UnsupportedOperatorError`` when neither a record nor ONNX knows the operator. All
    name ``layer``.
    """
    names = [f"y{index}" for index in range(outputs)] if isinstance(outputs, int) else outputs
    known = signature(domain, op_type, version)
    record = lookup(domain, op_type, version)
    node = _Node(domain, op_type, version, inputs, attributes, layer)
    rule = record.infer if record is not None else None
    if known is not None:
        _guard(node, known)
    elif rule is None:
        title = f"{domain}::{op_type}" if canonical_domain(domain) else op_type
        raise UnsupportedOperatorError(
            f"{title}-{version} {layer!r}: neither a record nor ONNX knows this operator. "
            "Register it with operator(...) and a rule for its shapes (infer=)."
        )
    if rule is None:
        assert known is not None
        return _native(node, known, names)
    try:
        types = rule(
            [None if item is None else (item.dtype, item.shape) for item in inputs],
            dict(attributes),
            [None if item is None else item.constant for item in inputs],
        )
    except DataDependentError as error:
        raise node.depends_on_data(str(error)) from error
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise node.error(str(error)) from error
    if len(types) < len(names):
        raise node.error(f"it has {len(types)} outputs, not {len(names)}")
    return [(np.dtype(dtype), tuple(int(size) for size in shape)) for dtype, shape in types[: len(names)]]


def explicit_attributes(
    op_type: str, inputs: Sequence[Any], attributes: Mapping[str, Any], n_outputs: int
) -> dict[str, Any]:
    """The attributes of a node, with what older versions leave to the number of its outputs written out.

    Only Split before version 18 does that: without sizes it makes equal parts, ``num_outputs`` of them.
    """
    found = dict(attributes)
    if op_type == "Split" and "split" not in found and all(item is None for item in inputs[1:]):
        found.setdefault("num_outputs", n_outputs)
    return found


class _Node:
    """The node under inference, for guards and messages."""

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
    return (isinstance(value, (list, tuple, np.ndarray, str, bytes)) and len(value) > 16) or hasattr(value, "leaves")


def _guard(node: _Node, known: Signature) -> None:
    """Refuse what the schema forbids and native inference does not survive."""
    inputs, attributes = node.inputs, node.attributes
    if not known.min_inputs <= len(inputs) <= known.max_inputs:
        bound = f"{known.min_inputs} to {known.max_inputs}" if known.max_inputs < 1 << 30 else f"{known.min_inputs}+"
        raise node.error(f"it takes {bound} inputs, got {len(inputs)}")
    bound_types: dict[str, np.dtype] = {}
    for index, item in enumerate(inputs):
        if item is None:
            if index < known.min_inputs:
                raise node.error(f"input {known.input_name(index)!r} is required", "Connect it.")
            continue
        if item.shape and min(item.shape) < 0:
            raise node.error(f"every size of {item.name!r} must be 0 or more")
        parameter = known.type_parameter(index)
        if parameter is not None and bound_types.setdefault(parameter, item.dtype) != item.dtype:
            raise node.error(
                f"input {known.input_name(index)!r} must be {bound_types[parameter].name} like the ones before it",
                "Insert a Cast.",
            )
    for name in known.required_attributes:
        if name not in attributes:
            raise node.error(f"attribute {name!r} is required")
    check = GUARDS.get(node.op_type)
    if check is not None:
        check(node)


def _guard_axis(node: _Node) -> None:
    first = node.inputs[0]
    assert first is not None
    axis, rank = int(node.attributes.get("axis", -1)), len(first.shape)
    if not -rank <= axis < rank:
        raise node.error(f"axis must lie in [{-rank}, {rank - 1}], got {axis}")


def _guard_split(node: _Node) -> None:
    if "num_outputs" in node.attributes and int(node.attributes["num_outputs"]) < 1:
        raise node.error(f"num_outputs must be positive, got {node.attributes['num_outputs']}")


def _guard_einsum(node: _Node) -> None:
    equation = node.attributes["equation"]
    equation = equation.decode() if isinstance(equation, bytes) else equation
    if not EINSUM_ALPHABET.fullmatch(equation):
        raise node.error(f"an equation consists of letters, '.', ',', blanks and one '->', got {equation!r}")


GUARDS = {
    "LayerNormalization": _guard_axis,
    "RMSNormalization": _guard_axis,
    "Split": _guard_split,
    "Einsum": _guard_einsum,
}


def _native(node: _Node, known: Signature, wanted: Sequence[str]) -> list[TensorType]:
    """ONNX's own inference of one node: a few microseconds."""
    attributes = node.attributes
    if node.op_type == "Split" and int(attributes.get("num_outputs", len(wanted))) != len(wanted):
        raise node.error(f"num_outputs must equal its {len(wanted)} outputs")
    if node.op_type == "STFT":  # without the attribute, native inference takes onesided for 0
        attributes = {"onesided": attribute_defaults("", "STFT", known.since).get("onesided", 1), **attributes}
    names, types, data = [], {}, {}
    for index, item in enumerate(node.inputs):
        if item is None:
            names.append("")
            continue
        names.append(name := str(index))
        types[name] = wire.tensor_type(item.dtype, item.shape)
        content = item.constant
        if content is not None and content.ndim <= 1 and content.size <= CONSTANT_LIMIT:
            data[name] = wire.tensor(content)
    outputs = [f"y{index}" if name else "" for index, name in enumerate(wanted)]
    try:
        serialised = wire.node(node.op_type, names, outputs, attributes, known.attribute_types)
        found = known.schema._infer_node_outputs(
            serialised, types, data, {}, {node.domain: node.version}, onnx.IR_VERSION
        )
    except (InferenceError, ValidationError, RuntimeError, ValueError, IndexError, TypeError) as error:
        raise node.error(_reason(error)) from error
    return [_parsed(node, index, found.get(name)) if name else LEFT_OUT for index, name in enumerate(outputs)]


def _reason(error: Exception) -> str:
    """ONNX's message without its prefixes and source positions."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return re.sub(r"^(\[\w+\]\s*)+|\(op_type:[^)]*\):?\s*", "", text)


def _parsed(node: _Node, index: int, serialised: bytes | None) -> TensorType:
    parsed = wire.parse_type(serialised) if serialised is not None else None
    if parsed is None:
        raise node.depends_on_data(f"output {index} has sizes that its inputs do not tell")
    if parsed[1] and min(parsed[1]) < 0:
        raise node.error(f"output {index} would have the shape {parsed[1]}")
    return parsed


__all__ = ["Typed", "attribute_defaults", "explicit_attributes", "infer_types", "since_version"]
