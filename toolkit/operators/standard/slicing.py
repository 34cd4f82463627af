"""Slice and Pad: rectangular parts of a tensor, and rectangular surroundings.

``Slice`` brings its own shape rule: ONNX's native one does not survive every input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import given, known, normalised
from toolkit.operators.derivative import element_count, scatter_to_positions
from toolkit.operators.expression import Expression, emit, indices, reduce_sum, reshape
from toolkit.operators.record import Call, TensorType, operator


def slices(shape: Sequence[int], starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> tuple[slice, ...]:
    """One slice per axis. Raises ``ValueError`` for axes out of range, lists of unequal length and steps of 0."""
    first = [int(item) for item in np.asarray(starts).reshape(-1)]
    last = [int(item) for item in np.asarray(ends).reshape(-1)]
    along = range(len(first)) if axes is None else normalised(axes, len(shape))
    strides = [1] * len(first) if steps is None else [int(item) for item in np.asarray(steps).reshape(-1)]
    if not len(first) == len(last) == len(along) == len(strides) or len(first) > len(shape):
        raise ValueError(f"starts, ends, axes and steps must be equally long and at most {len(shape)} each")
    found = [slice(None)] * len(shape)
    for axis, start, end, step in zip(along, first, last, strides, strict=True):
        if step == 0:
            raise ValueError("steps must not be 0")
        begin, stop, step = slice(start, end, step).indices(shape[axis])
        found[axis] = slice(begin, None if stop < 0 else stop, step)
    return tuple(found)


def sliced(x: np.ndarray, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> np.ndarray:
    """A part of ``x``, starts and ends as in Python."""
    return x[slices(x.shape, starts, ends, axes, steps)].copy()


def sliced_shape(shape: Sequence[int], parts: Sequence[slice]) -> tuple[int, ...]:
    """The shape of the part."""
    return tuple(len(range(*part.indices(size))) for part, size in zip(parts, shape, strict=True))


def infer_slice(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """The shape of the part; starts, ends, axes and steps must be known."""
    assert types[0] is not None
    dtype, shape = types[0]
    names = ("starts", "ends", "axes", "steps")
    bounds = [attributes.get(name) for name in names]
    for index, (kind, content) in enumerate(zip(types[1:], constants[1:], strict=True)):
        if kind is not None:
            bounds[index] = known(content, names[index])
    return [(dtype, sliced_shape(shape, slices(shape, *bounds)))]


def _slice_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """Zeros around the gradient; where steps leave gaps, its elements are scattered to where they came from."""
    shape = call.x.shape
    bounds = [given(call, name, index + 1) for index, name in enumerate(("starts", "ends", "axes", "steps"))]
    parts = slices(shape, *bounds)
    others: list[Expression | None] = [None] * (len(call.inputs) - 1)
    if element_count(g) == 0 or any(part.step not in (None, 1) for part in parts):
        positions = np.arange(element_count(call.x), dtype=np.int64).reshape(shape)[parts]
        return [scatter_to_positions(g, positions, shape), *others]
    before = [part.indices(size)[0] for part, size in zip(parts, shape, strict=True)]
    after = [size - start - kept for size, start, kept in zip(shape, before, g.shape, strict=True)]
    return [emit("Pad", g, indices(g, before + after)) if any(before + after) else g, *others]


def pad_widths(rank: int, pads: Any, axes: Any = None) -> list[tuple[int, int]]:
    """(before, after) per axis; negative ones crop."""
    amounts = [int(amount) for amount in np.asarray(pads).reshape(-1)]
    along = range(rank) if axes is None else normalised(axes, rank)
    if len(amounts) != 2 * len(along):
        raise ValueError(f"pads must hold {2 * len(along)} numbers, got {len(amounts)}")
    widths = [(0, 0)] * rank
    for index, axis in enumerate(along):
        widths[axis] = (amounts[index], amounts[index + len(along)])
    return widths


def padded(
    x: np.ndarray,
    pads: Any,
    constant_value: Any = None,
    axes: Any = None,
    *,
    mode: str = "constant",
    value: float = 0.0,
) -> np.ndarray:
    """``x`` with its surroundings: a constant, its edge, its reflection, or itself around the corner (wrap)."""
    widths = pad_widths(x.ndim, pads, axes)
    crop = tuple(slice(max(0, -low), size - max(0, -high)) for (low, high), size in zip(widths, x.shape, strict=True))
    growth = [(max(0, low), max(0, high)) for low, high in widths]
    if mode != "constant":
        return np.pad(x[crop], growth, mode=mode)  # type: ignore[call-overload]
    fill = value if constant_value is None else constant_value.reshape(())
    sizes = [size + low + high for size, (low, high) in zip(x[crop].shape, growth, strict=True)]
    result = np.full(sizes, fill, x.dtype, like=x)
    result[tuple(slice(low, low + size) for (low, _), size in zip(growth, x[crop].shape, strict=True))] = x[crop]
    return result


def padded_1(x: np.ndarray, *, paddings: Any, mode: str = "constant", value: float = 0.0) -> np.ndarray:
    """Pad before opset 2."""
    return padded(x, paddings, mode=mode, value=value)


def _infer_pad_1(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    """ONNX has no rule of its own for version 1."""
    assert types[0] is not None
    dtype, shape = types[0]
    widths = pad_widths(len(shape), attributes["paddings"])
    sizes = tuple(size + low + high for size, (low, high) in zip(shape, widths, strict=True))
    if min(sizes, default=0) < 0:
        raise ValueError(f"paddings {list(attributes['paddings'])} take away more than the shape {shape} has")
    return [(dtype, sizes)]


def _pad_gradient(call: Call, g: Expression) -> list[Expression | None]:
    x = call.x
    name = "paddings" if call.version < 2 else "pads"
    pads, axes = known(given(call, name, 1), name), given(call, "axes", 3)
    others: list[Expression | None] = [None] * (len(call.inputs) - 1)
    if call.attribute("mode", "constant") != "constant":
        source = np.arange(element_count(x), dtype=np.int64).reshape(x.shape)
        positions = padded(source, pads, axes=axes, mode=call.attributes["mode"])
        return [scatter_to_positions(g, positions, x.shape), *others]
    widths = pad_widths(x.ndim, pads, axes)
    back = [-low for low, _ in widths] + [-high for _, high in widths]
    inner = emit("Pad", g, indices(g, back))
    if len(call.inputs) > 2 and call.inputs[2] is not None and call.wants[2]:
        everywhere = list(range(x.ndim))
        border = reduce_sum(g, everywhere, keepdims=False) - reduce_sum(inner, everywhere, keepdims=False)
        others[1] = reshape(border, call.inputs[2].shape)
    return [inner, *others]


operator("Slice", reference=sliced, gradient=_slice_gradient, infer=infer_slice, host_inputs=(1, 2, 3, 4))
operator("Pad", reference=padded_1, gradient=_pad_gradient, infer=_infer_pad_1)
operator("Pad", since=2, reference=padded, gradient=_pad_gradient, host_inputs=(1, 3))
