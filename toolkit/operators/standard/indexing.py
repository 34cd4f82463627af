"""Gather and Scatter in all their forms, OneHot, NonZero, Trilu, and ArrayFeatureExtractor.

Gradients add up where an index occurs several times. Elements that share the extreme value of a scatter with reduction
max or min share its gradient evenly. ``GatherND`` and ``OneHot`` bring their own shape rules: the native one of the
first does not survive every input, that of the second reads no float64 depth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError
from toolkit.operators.axes import known
from toolkit.operators.derivative import cast, element_count, filled, indicator, masked
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, indices, reduce_sum, reshape, transpose
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, not_differentiable, operator

ACCUMULATE: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def gather(x: np.ndarray, index: np.ndarray, *, axis: int = 0) -> np.ndarray:
    """Slices of ``x`` along ``axis``, chosen by ``index`` of any rank."""
    return np.take(x, index, axis=axis)


def _gather_gradient(call: Call, g: Expression) -> list[Expression | None]:
    x, index = call.x, call.inputs[1]
    assert index is not None
    axis = call.attribute("axis", 0) % x.ndim
    if index.value is not None and index.value.size == 1:
        return [_one_slice_of_zeros(g, x.shape, axis, int(index.value.reshape(-1)[0])), None]
    chosen = list(range(axis, axis + index.ndim))
    rest = [position for position in range(g.ndim) if position not in chosen]
    front = transpose(g, chosen + rest)
    summed: Expression = emit("GatherGradient", front, index, domain=TOOLKIT_DOMAIN, size=x.shape[axis])
    return [transpose(summed, _moved_back(x.ndim, axis)), None]


def row_sums(g: np.ndarray, index: np.ndarray, target: np.ndarray) -> None:
    """Write to ``target`` (size, ...) the sums of the slices of ``g`` (index..., ...) that have the same index."""
    size, flat = target.shape[0], index.reshape(-1)
    target.fill(0)
    if not flat.size:
        return
    order = np.argsort(flat % size, kind="stable")
    rows, starts = np.unique((flat % size)[order], return_index=True)
    slices = g.reshape(flat.size, -1)[order]
    target.reshape(size, -1)[rows] = np.add.reduceat(slices, starts, axis=0)


@in_float32
def _gather_gradient_of_rows(g: np.ndarray, index: np.ndarray, *, size: int) -> np.ndarray:
    target = np.empty((size, *g.shape[index.ndim :]), g.dtype, like=g)
    if isinstance(g, np.ndarray):
        row_sums(g, index, target)
    else:  # a device adds as it scatters
        target.fill(0)
        np.add.at(target.reshape(size, -1), index.reshape(-1) % size, g.reshape(index.size, -1))
    return target


def _infer_rows(inputs: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    g, index = inputs
    assert g is not None and index is not None
    if g[1][: len(index[1])] != index[1]:
        raise ShapeError(f"the gradient must have the axes {index[1]} of the index in front, got {g[1]}")
    return [(g[0], (int(attributes["size"]), *g[1][len(index[1]) :]))]


def _expand_rows(call: Call) -> list[Expression | None]:
    g, index = call.inputs
    assert g is not None and index is not None
    zeros = filled(g, (int(call.attributes["size"]), *g.shape[index.ndim :]))
    rows = reshape(cast(index, np.dtype(np.int64)), (*index.shape, 1))
    return [emit("ScatterND", zeros, rows, g, reduction="add")]


def _moved_back(rank: int, axis: int) -> list[int]:
    """The permutation that brings the first axis to ``axis``."""
    order = list(range(1, rank))
    order.insert(axis, 0)
    return order


def _one_slice_of_zeros(g: Expression, shape: tuple[int, ...], axis: int, index: int) -> Expression:
    """``g`` as the only slice along ``axis`` that is not zero: padding, cheaper than a scatter."""
    position = index % shape[axis]
    pads = [0] * (2 * len(shape))
    pads[axis], pads[axis + len(shape)] = position, shape[axis] - 1 - position
    kept = tuple(1 if number == axis else size for number, size in enumerate(shape))
    return emit("Pad", reshape(g, kept), indices(g, pads))


def gather_elements(x: np.ndarray, index: np.ndarray, *, axis: int = 0) -> np.ndarray:
    """``x`` at positions that differ along ``axis`` only; ``index`` may be smaller than ``x`` along the other axes."""
    return x[_element_positions(index, x.shape, axis)]


def _element_positions(index: np.ndarray, shape: Sequence[int], axis: int) -> tuple[np.ndarray, ...]:
    positions: list[np.ndarray] = list(_grid(index.shape, index))
    positions[axis] = np.where(index < 0, index + shape[axis], index)
    if isinstance(index, np.ndarray) and index.size and (index.min() < -shape[axis] or index.max() >= shape[axis]):
        wrong = index.min() if index.min() < -shape[axis] else index.max()
        raise IndexError(f"index {wrong} is out of bounds for axis {axis} with size {shape[axis]}")
    return tuple(positions)


def _grid(sizes: Sequence[int], like: np.ndarray) -> tuple[np.ndarray, ...]:
    """The positions along each of several axes, each as an array that has only that axis."""
    rank = len(sizes)
    return tuple(
        np.arange(size, like=like).reshape([size if place == axis else 1 for place in range(rank)])
        for axis, size in enumerate(sizes)
    )


def gather_nd(x: np.ndarray, index: np.ndarray, *, batch_dims: int = 0) -> np.ndarray:
    """Slices of ``x`` at the tuples that the last axis of ``index`` holds, batch by batch."""
    return x[_tuple_positions(index, batch_dims)]


def _tuple_positions(index: np.ndarray, batch_dims: int) -> tuple[np.ndarray, ...]:
    grid = _grid(index.shape[:batch_dims], index)
    spread = [part.reshape(part.shape + (1,) * (index.ndim - 1 - batch_dims)) for part in grid]
    return (*spread, *np.moveaxis(index, -1, 0))


def infer_gather_nd(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """batch and tuple axes of the index, then what the tuples leave of the data."""
    assert types[0] is not None and types[1] is not None
    (dtype, shape), (_, index), batch = types[0], types[1], int(attributes.get("batch_dims", 0))
    if not index or not 0 <= batch < len(index) or not 1 <= index[-1] <= len(shape) - batch:
        raise ValueError(
            f"the last axis of indices must be 1 to the data's rank less batch_dims={batch}, which is below both ranks"
        )
    if shape[:batch] != index[:batch]:
        raise ValueError(f"the first {batch} sizes of data and indices must agree")
    return [(dtype, (*index[:-1], *shape[batch + index[-1] :]))]


def _gather_elements_gradient(call: Call, g: Expression) -> list[Expression | None]:
    zeros, axis = filled(g, call.x.shape), call.attribute("axis", 0)
    return [emit("ScatterElements", zeros, call.inputs[1], g, axis=axis, reduction="add"), None]


def _gather_nd_gradient(call: Call, g: Expression) -> list[Expression | None]:
    index = call.inputs[1]
    assert index is not None
    batch = call.attribute("batch_dims", 0)
    if batch:
        sizes = index.shape[:-1]
        grid = np.stack(np.broadcast_arrays(*np.indices(sizes)[:batch]), axis=-1).astype(np.int64)
        index = emit("Concat", grid, index, axis=-1)
    return [emit("ScatterND", filled(g, call.x.shape), index, g, reduction="add"), None]


def scatter_elements(
    x: np.ndarray, index: np.ndarray, updates: np.ndarray, *, axis: int = 0, reduction: str = "none"
) -> np.ndarray:
    """A copy of ``x`` with updates written, or combined with what is there, at positions along ``axis``."""
    return _scattered(x, _element_positions(index, x.shape, axis), updates, reduction)


def scatter_nd(x: np.ndarray, index: np.ndarray, updates: np.ndarray, *, reduction: str = "none") -> np.ndarray:
    """A copy of ``x`` with updates written, or combined with what is there, at tuples of positions."""
    return _scattered(x, _tuple_positions(index, 0), updates, reduction)


def _scattered(x: np.ndarray, positions: tuple[np.ndarray, ...], updates: np.ndarray, reduction: str) -> np.ndarray:
    result = x.copy()
    if reduction == "none":
        result[positions] = updates
    else:
        ACCUMULATE[reduction].at(result, positions, updates)
    return result


def _scatter_gradient(scatter: str, collect: str) -> Callable[[Call, Expression], list[Expression | None]]:
    """The gradient of a scatter, given the operator that collects from the places it writes to."""

    def gradient(call: Call, g: Expression) -> list[Expression | None]:
        x, index, updates = call.inputs
        assert x is not None and index is not None and updates is not None
        place = {"axis": call.attribute("axis", 0)} if scatter == "ScatterElements" else {}

        def collected(source: Expression) -> Expression:
            return emit(collect, source, index, **place)

        def written(target: Expression, values: Expression, reduction: str | None = None) -> Expression:
            return emit(scatter, target, index, values, reduction=reduction, **place)

        reduction = call.attribute("reduction", "none")
        if reduction == "add":
            return [g, None, collected(g) if call.wants[2] else None]
        if reduction == "none":
            in_x = written(g, filled(g, updates.shape)) if call.wants[0] else None
            return [in_x, None, collected(g) if call.wants[2] else None]
        if reduction == "mul":
            factor = written(filled(g, x.shape, 1.0), updates, "mul") if call.wants[0] else None
            in_updates = collected(g * call.y) / updates if call.wants[2] else None  # NaN where an update is 0
            return [None if factor is None else g * factor, None, in_updates]
        winner = indicator(emit("Equal", x, call.y), g)
        winning_updates = indicator(emit("Equal", updates, collected(call.y)), g)
        share = g / written(winner, winning_updates, "add")
        return [masked(emit("Equal", x, call.y), share), None, winning_updates * collected(share)]

    return gradient


def one_hot(index: np.ndarray, depth: np.ndarray, values: np.ndarray, *, axis: int = -1) -> np.ndarray:
    """``values[1]`` where the position along the new ``axis`` is the index, else ``values[0]``; -1 is the last one."""
    count = int(np.asarray(depth).reshape(-1)[0])
    place = axis % (index.ndim + 1)
    wanted = np.expand_dims(index, place).astype(np.int64)
    inside = (wanted >= -count) & (wanted < count)
    positions = np.arange(count, like=index).reshape(
        [count if number == place else 1 for number in range(index.ndim + 1)]
    )
    return np.where(inside & (positions == np.mod(wanted, max(count, 1))), values[1], values[0])


def infer_one_hot(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """The index's shape with the depth put at ``axis``."""
    assert types[0] is not None and types[2] is not None
    shape, depth = list(types[0][1]), int(known(constants[1], "depth").reshape(-1)[0])
    axis = int(attributes.get("axis", -1))
    if not -len(shape) - 1 <= axis <= len(shape) or depth < 1:
        raise ValueError(f"axis must lie in [{-len(shape) - 1}, {len(shape)}] and depth be positive, got {depth}")
    shape.insert(axis % (len(shape) + 1), depth)
    return [(types[2][0], tuple(shape))]


def _one_hot_gradient(call: Call, g: Expression) -> list[Expression | None]:
    """Both values collect the gradient of where they stand."""
    index, depth, values = call.inputs
    assert values is not None
    hot = emit("OneHot", index, depth, np.asarray([0, 1], dtype=values.dtype), axis=call.attribute("axis", -1))
    axes = list(range(g.ndim))
    on = reshape(reduce_sum(g * hot, axes), (1,))
    off = reshape(reduce_sum(g * (1 - hot), axes), (1,))
    return [None, None, emit("Concat", off, on, axis=0)]


def triangle(x: np.ndarray, k: np.ndarray | None = None, *, upper: int = 1) -> np.ndarray:
    """The upper or lower triangle of the last two axes, moved by ``k`` diagonals; zeros elsewhere."""
    offset = 0 if k is None else int(np.asarray(k).reshape(-1)[0])
    return np.triu(x, offset) if upper else np.tril(x, offset)


def _triangle_gradient(call: Call, g: Expression) -> list[Expression | None]:
    offset = call.inputs[1] if len(call.inputs) > 1 else None
    grad = emit("Trilu", g, offset, upper=call.attribute("upper", 1))
    return [grad, *[None] * (len(call.inputs) - 1)]


def non_zero(x: np.ndarray) -> np.ndarray:
    """Positions (rank, count) of the elements that are not 0."""
    return np.array(np.nonzero(x), dtype=np.int64).reshape(x.ndim, -1)


def array_feature_extractor(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Columns of the last axis; a vector counts as one row."""
    return np.take(x.reshape(1, -1) if x.ndim == 1 else x, index.reshape(-1), axis=-1)


def infer_array_feature_extractor(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    """The last axis becomes as long as the index."""
    assert types[0] is not None and types[1] is not None
    (dtype, shape), (_, index) = types[0], types[1]
    return [(dtype, (*(shape[:-1] or (1,)), int(np.prod(index, dtype=np.int64))))]


def _array_feature_extractor_gradient(call: Call, g: Expression) -> list[Expression | None]:
    index = call.inputs[1]
    assert index is not None
    rows = element_count(call.x) // call.x.shape[-1]
    wide = emit("Expand", reshape(index, (1, element_count(index))), indices(index, (rows, element_count(index))))
    zeros, flat = filled(g, (rows, call.x.shape[-1])), reshape(g, (rows, element_count(index)))
    return [reshape(emit("ScatterElements", zeros, wide, flat, axis=1, reduction="add"), call.x.shape), None]


operator("Gather", reference=gather, gradient=_gather_gradient)
operator("GatherElements", since=11, reference=gather_elements, gradient=_gather_elements_gradient)
operator("GatherND", since=11, reference=gather_nd, gradient=_gather_nd_gradient, infer=infer_gather_nd)
for _name, _since in (("Scatter", 9), ("ScatterElements", 11)):
    operator(
        _name,
        since=_since,
        reference=scatter_elements,
        gradient=_scatter_gradient("ScatterElements", "GatherElements"),
    )
operator("ScatterND", since=11, reference=scatter_nd, gradient=_scatter_gradient("ScatterND", "GatherND"))
operator("OneHot", since=9, reference=one_hot, gradient=_one_hot_gradient, infer=infer_one_hot, host_inputs=(1,))
operator("Trilu", since=14, reference=triangle, gradient=_triangle_gradient, host_inputs=(1,))
operator(
    "NonZero",
    since=9,
    reference=non_zero,
    gradient=not_differentiable("its result is positions"),
    host_only="how many elements are not 0 is known only when it has run",
)
operator(
    "ArrayFeatureExtractor",
    domain="ai.onnx.ml",
    reference=array_feature_extractor,
    gradient=_array_feature_extractor_gradient,
    infer=infer_array_feature_extractor,
)
operator(
    "GatherGradient",
    domain=TOOLKIT_DOMAIN,
    reference=_gather_gradient_of_rows,
    gradient=lambda call, gg: [emit("Gather", gg, call.inputs[1], axis=0), None],
    infer=_infer_rows,
    expansion=_expand_rows,
)
