"""Common subexpressions: of two nodes that compute the same thing from the same variables, one stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.compiler.program import UPDATE_ROLES, Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.operators.standard.elementwise_region import Line


def share_common_subexpressions(program: Program) -> None:
    """Merge equal nodes; small constants count as equal when their contents are.

    Random operators never merge, nor does what is computed once more on purpose.
    """
    seen: dict[Any, list[Variable | None]] = {}

    def rule(node: Node) -> Replacement | None:
        record = node.record
        if record is None or record.is_random or node.is_recomputed or node.role in UPDATE_ROLES:
            return None
        outputs = tuple(item is not None for item in node.outputs)
        key = (
            node.domain,
            node.op_type,
            node.version,
            outputs,
            tuple(identity(item) for item in node.inputs),
            tuple(sorted((name, attribute_key(value)) for name, value in node.attributes.items())),
        )
        if key in seen:
            return seen[key]
        seen[key] = node.outputs
        return None

    rewrite(program, rule)


def identity(variable: Variable | None) -> Any:
    """What makes two variables the same: themselves, their parameter, or the content of a small constant."""
    if variable is None:
        return None
    if variable.parameter is not None:
        return id(variable.parameter)
    array = variable.constant
    if array is not None and array.dtype != object and array.nbytes <= 1024:
        return (array.dtype.str, array.shape, array.tobytes())
    return id(variable) if array is None else id(array)


def attribute_key(value: Any) -> Any:
    """A hashable form of an attribute value; graphs are the same only when they are one."""
    if isinstance(value, (int, float, str, bytes)):
        return (type(value).__name__, value)
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes() if value.dtype != object else id(value))
    if isinstance(value, (list, tuple)):
        return tuple(attribute_key(item) for item in value)
    if value is None or isinstance(value, np.dtype):
        return value
    if isinstance(value, Line):
        named = value.op_type, value.domain, value.version, value.operands
        return (*named, attribute_key(value.attributes), attribute_key(value.types))
    if isinstance(value, Mapping):
        return tuple(sorted((name, attribute_key(item)) for name, item in value.items()))
    return id(value)
