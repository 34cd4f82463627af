"""Shapes and orders of whole tensors: Reshape, Flatten, Squeeze, Unsqueeze (views), Transpose, Expand, Tile.

What older versions take as an attribute and newer ones as an input arrives under the same name. ``consumed_inputs``
of opset 1 is a hint to engines of its time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import given, known, normalised
from toolkit.operators.expression import Expression, reduce_sum, reshape, transpose, unbroadcast
from toolkit.operators.record import Call, Gradient, TensorType, operator


def target_shape(shape: tuple[int, ...], wanted: Any, allowzero: int) -> tuple[int, ...]:
    """The shape that Reshape gives: 0 copies a size unless ``allowzero``, -1 takes what is left."""
    sizes = [int(size) for size in np.asarray(wanted).reshape(-1)]
    return tuple(shape[axis] if size == 0 and not allowzero else size for axis, size in enumerate(sizes))


def reshaped(x: np.ndarray, shape: Any, *, allowzero: int = 0, consumed_inputs: Any = None) -> np.ndarray:
    """``x`` with another shape."""
    return x.reshape(target_shape(x.shape, shape, allowzero))


def infer_reshape(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """The wanted shape with its 0 and -1 filled in; ONNX has no rule for version 1, and this one names both counts."""
    assert types[0] is not None
    dtype, shape = types[0]
    if "shape" not in attributes and len(constants) < 2:
        raise ValueError("the attribute 'shape' is required")
    wanted = attributes["shape"] if "shape" in attributes else known(constants[1], "shape")
    if any(size == 0 and axis >= len(shape) for axis, size in enumerate(wanted)) and not attributes.get("allowzero"):
        raise ValueError(f"shape {list(map(int, wanted))} copies a size of an axis that the data does not have")
    sizes = list(target_shape(shape, wanted, attributes.get("allowzero", 0)))
    count, rest = math.prod(shape), math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and rest and count % rest == 0:
        sizes[sizes.index(-1)] = count // rest
    if min(sizes, default=0) < 0 or math.prod(sizes) != count:
        raise ValueError(f"{count} elements cannot be given the shape {tuple(map(int, wanted))}")
    return [(dtype, tuple(sizes))]


def flatten(x: np.ndarray, *, axis: int = 1) -> np.ndarray:
    """Two axes: those before ``axis``, and the others."""
    split = axis if axis >= 0 else axis + x.ndim
    return x.reshape(int(np.prod(x.shape[:split], dtype=np.int64)), int(np.prod(x.shape[split:], dtype=np.int64)))


def squeeze(x: np.ndarray, axes: Any = None) -> np.ndarray:
    """``x`` without the given axes of size 1, or without all of them."""
    return np.squeeze(x, axis=None if axes is None else normalised(axes, x.ndim))


def unsqueeze(x: np.ndarray, axes: Any) -> np.ndarray:
    """``x`` with axes of size 1 put where ``axes`` says they stand in the result."""
    return np.expand_dims(x, normalised(axes, x.ndim + np.asarray(axes).size))


def transposed(x: np.ndarray, *, perm: Any = None) -> np.ndarray:
    """``x`` with its axes permuted, reversed by default."""
    return np.ascontiguousarray(np.transpose(x, perm), like=x) if x.ndim else x


def expanded(x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """``x`` broadcast together with a shape; either may stretch the other."""
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(size) for size in shape))).copy()


def tiled(x: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """``x`` repeated along each axis."""
    return np.tile(x, tuple(int(count) for count in repeats))


def tiled_along(x: np.ndarray, tiles: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Tile before opset 6: ``x`` repeated along one axis; both numbers come in the type of ``x``."""
    return np.concatenate([x] * int(np.asarray(tiles).reshape(-1)[0]), axis=int(np.asarray(axis).reshape(-1)[0]))


def infer_tiled_along(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """One axis grows as many times as ``tiles`` says; both inputs must be known."""
    assert types[0] is not None
    dtype, shape = types[0]
    repeats = _repeats(len(shape), known(constants[1], "tiles"), known(constants[2], "axis"))
    return [(dtype, tuple(size * count for size, count in zip(shape, repeats, strict=True)))]


def _repeats(rank: int, tiles: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """How often each axis is repeated. Raises ``ValueError`` for an axis out of range and for fewer than one tile."""
    repeats = np.ones(rank, np.int64)
    repeats[normalised(int(np.asarray(axis).reshape(-1)[0]), rank)[0]] = int(np.asarray(tiles).reshape(-1)[0])
    if repeats.min(initial=1) < 1:
        raise ValueError(f"tiles must be 1 or more, got {repeats.min()}")
    return repeats


def _first_only(call: Call, grad: Expression) -> list[Expression | None]:
    return [grad, *[None] * (len(call.inputs) - 1)]


def _reshape_gradient(call: Call, g: Expression) -> list[Expression | None]:
    return _first_only(call, reshape(g, call.x.shape))


def _transpose_gradient(call: Call, g: Expression) -> list[Expression | None]:
    permutation = call.attribute("perm") or list(range(call.x.ndim))[::-1]
    return [transpose(g, [int(axis) for axis in np.argsort(permutation)])]


def _expand_gradient(call: Call, g: Expression) -> list[Expression | None]:
    return _first_only(call, unbroadcast(g, call.x.shape))


def _tile_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """The sum over the copies, which stand on an axis of their own once the shape is split."""
    if call.version < 6:
        tiles, axis = (known(given(call, name, index), name) for index, name in enumerate(("tiles", "axis"), 1))
        repeats = _repeats(call.x.ndim, tiles, axis)
    else:
        repeats = known(given(call, "repeats", 1), "repeats")
    apart = [size for pair in zip(repeats.tolist(), call.x.shape, strict=True) for size in pair]
    copies = [2 * axis for axis, count in enumerate(repeats.tolist()) if count != 1]
    return _first_only(call, reshape(reduce_sum(reshape(g, apart), copies, keepdims=False), call.x.shape))


_VIEWS: tuple[tuple[str, Any, Gradient], ...] = (
    ("Flatten", flatten, _reshape_gradient),
    ("Squeeze", squeeze, _reshape_gradient),
    ("Unsqueeze", unsqueeze, _reshape_gradient),
)
for _name, _reference, _gradient in _VIEWS:
    operator(_name, reference=_reference, gradient=_gradient, is_view=True, host_inputs=(1,))
operator("Reshape", reference=reshaped, gradient=_reshape_gradient, infer=infer_reshape, is_view=True, host_inputs=(1,))
operator("Transpose", reference=transposed, gradient=_transpose_gradient)
operator("Expand", since=8, reference=expanded, gradient=_expand_gradient, host_inputs=(1,))
operator("Tile", reference=tiled_along, gradient=_tile_gradient, infer=infer_tiled_along, host_inputs=(1, 2))
operator("Tile", since=6, reference=tiled, gradient=_tile_gradient, host_inputs=(1,))
