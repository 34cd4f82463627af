"""Concat and Split, and the exchange of depth and space: parts of tensors put together and taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.derivative import filled
from toolkit.operators.expression import Expression, emit, indices, reshape, transpose
from toolkit.operators.record import Call, operator


def concatenate(*inputs: np.ndarray, axis: int = 1) -> np.ndarray:
    """All inputs, one after the other along ``axis``."""
    return np.concatenate(inputs, axis=axis)


def _concatenate_gradient(call: Call, g: Expression) -> list[Expression | None]:
    if len(call.inputs) == 1:
        return [g]
    axis = call.attribute("axis", 1)
    sizes = [item.shape[axis] for item in call.inputs if item is not None]
    return list(emit("Split", g, indices(g, sizes), axis=axis, outputs=len(sizes)))


def split(x: np.ndarray, split: Any = None, *, axis: int = 0, num_outputs: int | None = None) -> tuple[np.ndarray, ...]:
    """Parts of ``x`` along ``axis``: of the given sizes, or of equal ones, the last smaller where that does not fit.

    ``num_outputs`` is an attribute since version 18 only; before, binding derives it from the node's outputs.
    """
    if split is not None:
        sizes = [int(size) for size in np.asarray(split).reshape(-1)]
    elif num_outputs:
        each = -(-x.shape[axis] // num_outputs)
        sizes = [each] * (num_outputs - 1) + [x.shape[axis] - each * (num_outputs - 1)]
    else:
        raise ValueError("either the sizes of the parts or their number must be known")
    parts = np.split(x, np.cumsum(sizes)[:-1], axis=axis)
    return tuple(np.ascontiguousarray(part) for part in parts)


def _split_gradient(call: Call, *grads: Expression | None) -> list[Expression | None]:
    parts = [
        filled(call.x, output.shape) if grad is None else grad
        for output, grad in zip(call.outputs, grads, strict=True)
        if output is not None
    ]
    whole = parts[0] if len(parts) == 1 else emit("Concat", *parts, axis=call.attribute("axis", 0))
    return [whole, *[None] * (len(call.inputs) - 1)]


def _blocks(shape: Sequence[int], blocksize: int, mode: str) -> tuple[list[int], list[int]]:
    """How DepthToSpace splits (N, C, H, W), and the order of the six axes that puts the blocks into space."""
    batch, depth, height, width = shape
    inner = depth // blocksize**2
    if mode == "CRD":
        return [batch, inner, blocksize, blocksize, height, width], [0, 1, 4, 2, 5, 3]
    return [batch, blocksize, blocksize, inner, height, width], [0, 3, 4, 1, 5, 2]


def depth_to_space(x: np.ndarray, *, blocksize: int, mode: str = "DCR") -> np.ndarray:
    """(N, C, H, W) to (N, C / b², H b, W b)."""
    apart, order = _blocks(x.shape, blocksize, mode)
    batch, depth, height, width = x.shape
    moved = x.reshape(apart).transpose(order)
    return moved.reshape(batch, depth // blocksize**2, height * blocksize, width * blocksize)


def _depth_to_space_gradient(call: Call, g: Expression) -> list[Expression | None]:
    apart, order = _blocks(call.x.shape, call.attributes["blocksize"], call.attribute("mode", "DCR"))
    moved = transpose(reshape(g, [apart[axis] for axis in order]), np.argsort(order).tolist())
    return [reshape(moved, call.x.shape)]


def space_to_depth(x: np.ndarray, *, blocksize: int, mode: str = "DCR") -> np.ndarray:
    """(N, C, H, W) to (N, C b², H / b, W / b)."""
    batch, depth, height, width = x.shape
    rows, columns = height // blocksize, width // blocksize
    order = (0, 1, 3, 5, 2, 4) if mode == "CRD" else (0, 3, 5, 1, 2, 4)
    moved = x.reshape(batch, depth, rows, blocksize, columns, blocksize).transpose(order)
    return moved.reshape(batch, depth * blocksize**2, rows, columns)


def _space_to_depth_gradient(call: Call, g: Expression) -> list[Expression | None]:
    mode = call.attribute("mode", "DCR")
    return [emit("DepthToSpace", g, blocksize=call.attributes["blocksize"], mode=mode)]


operator("Concat", reference=concatenate, gradient=_concatenate_gradient)
operator("Split", since=2, reference=split, gradient=_split_gradient)
operator("DepthToSpace", reference=depth_to_space, gradient=_depth_to_space_gradient)
operator("SpaceToDepth", reference=space_to_depth, gradient=_space_to_depth_gradient)
