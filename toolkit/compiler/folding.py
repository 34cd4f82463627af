"""Folding: computing at build time what depends on constants, or on shapes, alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.compiler.program import Variable
from toolkit.errors import DataDependentShapeError, ShapeError
from toolkit.graph.layer import Leaf
from toolkit.operators.guards import check_form
from toolkit.operators.inference import infer_types
from toolkit.operators.record import lookup

FOLD_LIMIT = 1 << 24  # elements; larger constants stay computed, so that a hostile ConstantOfShape costs nothing
SMALL = 1024  # elements
ARITHMETIC = ("Add", "Cast", "Div", "Equal", "Mul", "Sub", "Where")
MOVEMENT = ("Concat", "Constant", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
HARMLESS = frozenset((*ARITHMETIC, *MOVEMENT))  # the arithmetic of shapes: of small inputs these make small outputs


def fold(
    leaf: Leaf, version: int, inputs: Sequence[Variable | None], attributes: dict[str, Any]
) -> tuple[np.ndarray, ...] | None:
    """The outputs of a leaf that depends on constants, or on shapes, alone; ``None`` when it must be computed.

    Raises ``ShapeError`` for a leaf whose inputs or attributes are not what its operator takes.
    """
    check_form(leaf.domain, leaf.op_type, version, inputs, attributes, leaf.path)
    if leaf.op_type == "Shape" and not leaf.domain and inputs[0] is not None:
        start, end = attributes.get("start", 0), attributes.get("end")
        return (np.asarray(inputs[0].shape[slice(start, end)], dtype=np.int64),)
    if leaf.op_type == "Size" and not leaf.domain and inputs[0] is not None:
        return (np.asarray(inputs[0].size, dtype=np.int64),)
    if any(item is not None and item.constant is None for item in inputs):
        return None
    if not _stays_small(leaf, version, inputs, attributes):
        return None
    return evaluate(leaf.domain, leaf.op_type, version, inputs, attributes, leaf.path)


def _stays_small(leaf: Leaf, version: int, inputs: Sequence[Variable | None], attributes: dict[str, Any]) -> bool:
    """Whether the outputs may be kept as constants; what cannot be inferred is no larger than its inputs."""
    if leaf.op_type in HARMLESS and all(item is None or item.size <= SMALL for item in inputs):
        return True
    try:
        types = infer_types(leaf.domain, leaf.op_type, version, inputs, attributes, leaf.outputs, leaf.path)
    except DataDependentShapeError:
        return True
    return all(math.prod(shape) <= FOLD_LIMIT for name, (_, shape) in zip(leaf.outputs, types, strict=True) if name)


def evaluate(
    domain: str,
    op_type: str,
    version: int,
    inputs: Sequence[Variable | None],
    attributes: dict[str, Any],
    layer: str,
) -> tuple[np.ndarray, ...] | None:
    """Compute an operator on constants; ``None`` if it is random, without reference or gives no tensors."""
    record = lookup(domain, op_type, version)
    if record is None or record.reference is None or record.is_random:
        return None
    arrays = [None if item is None else item.constant for item in inputs]
    try:
        with np.errstate(all="ignore"):
            result = record.reference(*arrays, **attributes)
    except Exception as error:  # a reference meets whatever a file holds
        reason = str(error) or type(error).__name__
        raise ShapeError(
            f"{op_type} {layer!r} cannot be computed on its constant inputs: {reason}. Change them or its attributes."
        ) from error
    results = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(item, (np.ndarray, np.generic)) for item in results):
        return None  # sequences, optionals and maps have no place in a program
    return tuple(np.asarray(item) for item in results)
