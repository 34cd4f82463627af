"""Shape and type inference of one node, every size known, behind guards that keep hostile nodes out of native code.

A record's own rule goes first; else ONNX's native inference of the node's very version. What the native code does not
survive is refused before (``guards``). Results that miss a size are refused too: every shape of a program is concrete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from toolkit.errors import DataDependentShapeError, UnsupportedOperatorError
from toolkit.operators import wire
from toolkit.operators.guards import NodeInQuestion, Typed, is_possible, require_valid
from toolkit.operators.record import DataDependentError, TensorType, canonical_domain, lookup
from toolkit.operators.schema import Signature, attribute_defaults, signature, since_version

LEFT_OUT: TensorType = (np.dtype(np.float32), ())
CONSTANT_LIMIT = 1024  # elements; axes, shapes and pads are far smaller, and larger ones would only cost time


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
    node = NodeInQuestion(domain, op_type, version, inputs, attributes, layer)
    rule = record.infer if record is not None else None
    if known is not None:
        require_valid(node, known)
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
        found = [(np.dtype(dtype), tuple(int(size) for size in shape)) for dtype, shape in types[: len(names)]]
    except DataDependentError as error:
        raise node.depends_on_data(str(error)) from error
    except DataDependentShapeError:
        raise
    except Exception as error:  # a rule meets whatever a file holds; what it stumbles over does not fit
        raise node.error(str(error) or f"its shapes cannot be inferred ({type(error).__name__})") from error
    if len(found) < len(names):
        raise node.error(f"it has {len(found)} outputs, not {len(names)}")
    for index, (_, shape) in enumerate(found):
        _require_possible(node, index, shape)
    return found


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


def _native(node: NodeInQuestion, known: Signature, wanted: Sequence[str]) -> list[TensorType]:
    """ONNX's own inference of one node: a few microseconds."""
    attributes = node.attributes
    if node.op_type == "Split" and int(attributes.get("num_outputs", len(wanted))) != len(wanted):
        raise node.error(f"num_outputs must equal its {len(wanted)} outputs")
    if node.op_type == "STFT":  # without the attribute, native inference takes onesided for 0
        attributes = {"onesided": attribute_defaults("", "STFT", known.since).get("onesided", 1), **attributes}
    names, types, data = [], {}, {}
    outputs = [f"y{index}" if name else "" for index, name in enumerate(wanted)]
    try:
        for index, item in enumerate(node.inputs):
            if item is None:
                names.append("")
                continue
            names.append(name := str(index))
            types[name] = wire.tensor_type(item.dtype, item.shape)
            content = item.constant
            if content is not None and content.ndim <= 1 and content.size <= CONSTANT_LIMIT:
                data[name] = wire.tensor(content)
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


def _parsed(node: NodeInQuestion, index: int, serialised: bytes | None) -> TensorType:
    parsed = wire.parse_type(serialised) if serialised is not None else None
    if parsed is None:
        raise node.depends_on_data(f"output {index} has sizes that its inputs do not tell")
    _require_possible(node, index, parsed[1])
    return parsed


def _require_possible(node: NodeInQuestion, index: int, shape: tuple[int, ...]) -> None:
    if not is_possible(shape):
        raise node.error(f"output {index} would have the shape {shape}, which no tensor can have")


__all__ = ["Typed", "attribute_defaults", "explicit_attributes", "infer_types", "since_version"]
