"""MaxUnpool: the values of a max pooling back at the places they came from, zeros elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import known
from toolkit.operators.expression import Expression, emit, indices, reshape
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.windows import explicit_geometry, per_axis

Shape = Sequence[int]


def _pooled_from(shape: Shape, attributes: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape that a pooling of this geometry had, in which the indices count."""
    rank = len(shape) - 2
    if rank < 1:
        raise ValueError(f"the input must be (batch, channels, spatial...), got {len(shape)} axes")
    kernel = per_axis(attributes, "kernel_shape", rank)
    found = explicit_geometry({**attributes, "auto_pad": "NOTSET"}, shape[2:], kernel)
    strides, pads = found["strides"], found["pads"]
    sizes = [
        (shape[2 + axis] - 1) * strides[axis] + kernel[axis] - pads[axis] - pads[rank + axis] for axis in range(rank)
    ]
    if min(sizes) < 0:
        raise ValueError(f"pads {pads} leave no output: the spatial sizes would be {sizes}")
    return (*shape[:2], *sizes)


def _unpooled(shape: Shape, attributes: Mapping[str, Any], wanted: np.ndarray | None) -> tuple[int, ...]:
    """The shape of the output: ``wanted``, which must have room for the pooled shape, or that one."""
    least = _pooled_from(shape, attributes)
    if wanted is None:
        return least
    sizes = tuple(int(size) for size in wanted.reshape(-1))
    if len(sizes) != len(least) or any(size < needed for size, needed in zip(sizes, least, strict=True)):
        raise ValueError(f"output_shape must be at least {least} on every axis, got {sizes}")
    return sizes


def max_unpool(
    x: np.ndarray, places: np.ndarray, output_shape: np.ndarray | None = None, **attributes: Any
) -> np.ndarray:
    """``places`` count in the flattened output of the geometry; a larger ``output_shape`` adds zeros at the ends."""
    least = _pooled_from(x.shape, attributes)
    flat = np.zeros(int(np.prod(least)), x.dtype, like=x)
    if places.shape != x.shape or (places.size and (places.min() < 0 or places.max() >= flat.size)):
        raise ValueError(f"indices must have the input's shape {x.shape} and lie in [0, {flat.size - 1}]")
    flat[places.reshape(-1)] = x.reshape(-1)
    y = flat.reshape(least)
    if output_shape is None:
        return y
    target = _unpooled(x.shape, attributes, output_shape)
    return np.pad(y, [(0, size - inner) for size, inner in zip(target, least, strict=True)])


def _infer(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    assert types[0] is not None
    wanted = known(constants[2], "output_shape") if len(types) > 2 and types[2] is not None else None
    return [(types[0][0], _unpooled(types[0][1], attributes, wanted))]


def _gradient(call: Call, g: Expression) -> list[Expression | None]:
    """Every value takes the gradient of its place; of several in one place, each does."""
    places = call.inputs[1]
    assert places is not None
    least = _pooled_from(call.x.shape, call.attributes)
    if g.shape != least:
        g = emit("Slice", g, indices(g, [0] * g.ndim), indices(g, least))
    dx = emit("Gather", reshape(g, (int(np.prod(least)),)), places)
    return [dx, *[None] * (len(call.inputs) - 1)]


operator("MaxUnpool", since=9, reference=max_unpool, gradient=_gradient, infer=_infer, host_inputs=(2,))
