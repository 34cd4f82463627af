"""Concat and Split, and the exchange of depth and space: parts of tensors put together and taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import known, normalised
from toolkit.operators.derivative import filled
from toolkit.operators.expression import Expression, emit, indices, reshape, transpose
from toolkit.operators.record import Call, TensorType, operator


def concatenate(*inputs: np.ndarray, axis: int = 1) -> np.ndarray:
    """All inputs, one after the other along ``axis``."""
    return np.concatenate(inputs, axis=axis)


def infer_concatenate(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    """ONNX has no rule of its own for version 1, whose default axis is 1. Raises ``ValueError`` for unequal sizes."""
    parts = [item for item in types if item is not None]
    dtype, first = parts[0]
    axis = normalised(attributes.get("axis", 1), len(first))[0]
    for _, shape in parts:
        if len(shape) != len(first) or (*shape[:axis], *shape[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]):
            raise ValueError(f"all inputs must have one shape but for axis {axis}, got {first} and {shape}")
    return [(dtype, (*first[:axis], sum(shape[axis] for _, shape in parts), *first[axis + 1 :]))]


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
    return _parts(x, split, axis, num_outputs)


def _parts(x: np.ndarray, wanted: Any, axis: int, num_outputs: int | None) -> tuple[np.ndarray, ...]:
    sizes = _sizes(x.shape[axis], wanted, num_outputs)
    return tuple(np.ascontiguousarray(part, like=x) for part in np.split(x, np.cumsum(sizes)[:-1].tolist(), axis=axis))


def _sizes(total: int, wanted: Any, num_outputs: int | None) -> list[int]:
    """The sizes of the parts. Raises ``ValueError`` where nothing tells them, or they do not add up to ``total``."""
    if wanted is not None:
        sizes = [int(size) for size in np.asarray(wanted).reshape(-1)]
    elif num_outputs:
        each = -(-total // num_outputs)
        sizes = [each] * (num_outputs - 1) + [total - each * (num_outputs - 1)]
    else:
        raise ValueError("either the sizes of the parts or their number must be known")
    if min(sizes, default=0) < 0 or sum(sizes) != total:
        raise ValueError(f"the parts {sizes} must add up to the {total} elements there are")
    return sizes


def split_1(
    x: np.ndarray,
    sizes: np.ndarray | None = None,
    *,
    axis: int = 0,
    split: Any = None,
    num_outputs: int | None = None,
) -> tuple[np.ndarray, ...]:
    """Split before opset 2: sizes may come as an input too, in the type of ``x``; the default axis is not told."""
    return _parts(x, split if sizes is None else sizes, axis, num_outputs)


def infer_split_1(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """ONNX has no rule of its own for version 1."""
    assert types[0] is not None
    dtype, shape = types[0]
    wanted = attributes.get("split")
    if len(types) > 1 and types[1] is not None:
        wanted = known(constants[1], "split")
    axis = normalised(attributes.get("axis", 0), len(shape))[0]
    sizes = _sizes(shape[axis], wanted, attributes.get("num_outputs"))
    return [(dtype, (*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]


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


operator("Concat", reference=concatenate, gradient=_concatenate_gradient, infer=infer_concatenate)
operator("Split", reference=split_1, gradient=_split_gradient, infer=infer_split_1, host_inputs=(1,))
operator("Split", since=2, reference=split, gradient=_split_gradient, host_inputs=(1,))
operator("DepthToSpace", reference=depth_to_space, gradient=_depth_to_space_gradient)
operator("SpaceToDepth", reference=space_to_depth, gradient=_space_to_depth_gradient)
