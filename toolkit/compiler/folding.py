"""Folding: computing at build time what depends on constants, or on shapes, alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.compiler.program import Variable
from toolkit.errors import ShapeError
from toolkit.graph.layer import Leaf
from toolkit.operators.record import lookup

FOLD_LIMIT = 1 << 24  # elements; larger constants stay computed, so that a hostile ConstantOfShape costs nothing


def fold(
    leaf: Leaf, version: int, inputs: Sequence[Variable | None], attributes: dict[str, Any]
) -> tuple[np.ndarray, ...] | None:
    """The outputs of a leaf that depends on constants, or on shapes, alone; ``None`` when it must be computed."""
    if leaf.op_type == "Shape" and not leaf.domain and inputs[0] is not None:
        start, end = attributes.get("start", 0), attributes.get("end")
        return (np.asarray(inputs[0].shape[slice(start, end)], dtype=np.int64),)
    if leaf.op_type == "Size" and not leaf.domain and inputs[0] is not None:
        return (np.asarray(inputs[0].size, dtype=np.int64),)
    if any(item is not None and item.constant is None for item in inputs):
        return None
    return evaluate(leaf.domain, leaf.op_type, version, inputs, attributes, leaf.path)


def evaluate(
    domain: str,
    op_type: str,
    version: int,
    inputs: Sequence[Variable | None],
    attributes: dict[str, Any],
    layer: str,
) -> tuple[np.ndarray, ...] | None:
    """Compute an operator on constants; ``None`` if it is random, too large, without reference or gives no tensors."""
    record = lookup(domain, op_type, version)
    if record is None or record.reference is None or record.is_random:
        return None
    if op_type in ("ConstantOfShape", "Expand", "Tile", "Range", "EyeLike") and _product(op_type, inputs) > FOLD_LIMIT:
        return None
    arrays = [None if item is None else item.constant for item in inputs]
    try:
        result = record.reference(*arrays, **attributes)
    except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError, MemoryError) as error:
        raise ShapeError(f"{op_type} {layer!r} cannot be computed on its constant inputs: {error}") from error
    results = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(item, (np.ndarray, np.generic)) for item in results):
        return None  # sequences, optionals and maps have no place in a program
    return tuple(np.asarray(item) for item in results)


def _product(op_type: str, inputs: Sequence[Variable | None]) -> int:
    """Elements that a shape-producing operator would create."""
    arrays = [item.constant for item in inputs if item is not None and item.constant is not None]
    if op_type == "ConstantOfShape":
        return int(np.prod(arrays[0].astype(object))) if arrays[0].size else 1
    if op_type == "Range":
        start, limit, delta = (float(array) for array in arrays)
        return int(max(0.0, (limit - start) / delta)) if delta else 0
    if op_type == "EyeLike":
        return int(arrays[0].size)
    return int(np.prod(np.abs(arrays[1].astype(object)))) * max(1, arrays[0].size)
