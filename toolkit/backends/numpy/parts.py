"""Direct numpy kernels that copy: Transpose, Concat, Split, Slice, Pad, Expand, Gather, ScatterND, Where.

What is known beforehand (bounds, widths, indices) becomes views of the arrays when a kernel is bound; a run copies from
view to view. Refused, so left to the reference: parts that only the data tells, but for Gather; texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from toolkit.backends.numpy.bound import Arrays, Direct, Lower
from toolkit.backends.protocol import Step
from toolkit.compiler.known import known_input, known_slices
from toolkit.compiler.program import Node
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.indexing import row_sums
from toolkit.operators.standard.slicing import pad_widths, padded

LARGEST_MAP = 1 << 18  # elements; the positions of a larger result would weigh more than what they save


def _transpose(node: Node) -> Direct | None:
    permutation = node.attributes.get("perm") or list(range(len(node.x.shape)))[::-1]

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        return partial(np.copyto, outputs[0], inputs[0].transpose(permutation))

    return Direct(bind)


def _concat(node: Node) -> Direct | None:
    axis = node.attributes.get("axis", 1)
    return Direct(lambda inputs, outputs: partial(np.concatenate, inputs, axis=axis, out=outputs[0]))


def _expand(node: Node) -> Direct | None:
    shape = node.y.shape
    return Direct(lambda inputs, outputs: partial(np.copyto, outputs[0], np.broadcast_to(inputs[0], shape)))


def _split(node: Node) -> Direct | None:
    axis = node.attributes.get("axis", 0)

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        starts = np.cumsum([0] + [item.shape[axis] for item in outputs])
        cut = [slice(None)] * (axis % inputs[0].ndim)
        pairs = [
            (item, inputs[0][(*cut, slice(start, start + item.shape[axis]))])
            for item, start in zip(outputs, starts, strict=False)
        ]

        def step() -> None:
            for target, source in pairs:
                np.copyto(target, source)

        return step

    return None if any(item is None for item in node.outputs) else Direct(bind)


def _slice(node: Node) -> Direct | None:
    parts = None if node.x.dtype == object else known_slices(node)
    if parts is None:
        return None
    is_whole = node.y.shape == node.x.shape and all((part.step or 1) > 0 for part in parts)
    return Direct(lambda inputs, outputs: partial(np.copyto, outputs[0], inputs[0][parts]), is_same=is_whole)


def _pad(node: Node) -> Direct | None:
    (known_pads, pads), (known_axes, axes) = (
        known_input(node, "paddings" if "paddings" in node.attributes else "pads", 1),
        known_input(node, "axes", 3),
    )
    if node.x.dtype == object or not (known_pads and known_axes):
        return None
    shape, mode = node.x.shape, node.attributes.get("mode", "constant")
    widths = pad_widths(len(shape), pads, axes)
    if not any(map(any, widths)):
        return Direct(lambda inputs, outputs: partial(np.copyto, outputs[0], inputs[0]), is_same=True)
    if mode == "constant":
        return _surrounded(widths, shape, node.attributes.get("value", 0.0))
    if node.y.size > LARGEST_MAP or not node.x.size:
        return None
    positions = padded(np.arange(node.x.size).reshape(shape), pads, axes=axes, mode=mode)

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        return partial(np.take, inputs[0].reshape(-1), positions, out=outputs[0], mode="wrap")

    return Direct(bind)


def _surrounded(widths: Sequence[tuple[int, int]], shape: Sequence[int], value: float) -> Direct | None:
    """A constant in the slabs around, and inside of them the input, cropped where widths are negative."""
    source = tuple(slice(max(0, -low), size - max(0, -high)) for (low, high), size in zip(widths, shape, strict=True))
    kept = [part.stop - part.start for part in source]
    if min(kept) < 0:
        return None
    inside = tuple(slice(max(0, low), max(0, low) + size) for (low, _), size in zip(widths, kept, strict=True))
    slabs: list[tuple[slice, ...]] = []
    for axis, (low, high) in enumerate(widths):
        if low > 0:
            slabs.append((*inside[:axis], slice(0, low)))
        if high > 0:
            slabs.append((*inside[:axis], slice(inside[axis].stop, None)))

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        target, content = outputs[0][inside], inputs[0][source]
        fill = inputs[2] if len(inputs) > 2 and inputs[2] is not None else np.asarray(value, outputs[0].dtype)
        fill, borders = fill.reshape(()), [outputs[0][slab] for slab in slabs]

        def step() -> None:
            for border in borders:
                np.copyto(border, fill)
            np.copyto(target, content)

        return step

    return Direct(bind)


def _gather(node: Node) -> Direct | None:
    axis, indices = node.attributes.get("axis", 0), node.inputs[1]
    if indices is None or node.x.dtype == object:
        return None
    size = node.x.shape[axis]
    if indices.constant is not None and indices.size:
        chosen = indices.constant.reshape(-1).astype(np.int64)
        if -size <= chosen.min() and chosen.max() < size:
            return _gathered(node, axis % len(node.x.shape), chosen % size)

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        def step() -> None:
            where = inputs[1]
            if where.size and (where.min() < -size or where.max() >= size):
                raise IndexError(f"Gather {node.layer!r}: index out of range for axis {axis} of size {size}.")
            np.take(inputs[0], where, axis=axis, out=outputs[0], mode="wrap")

        return step

    return Direct(bind)


def _gathered(node: Node, axis: int, chosen: np.ndarray) -> Direct:
    """Slices that are known beforehand: a part like those of Slice where they follow each other evenly."""
    before, size = math.prod(node.x.shape[:axis]), node.x.shape[axis]
    after, part = math.prod(node.x.shape[axis + 1 :]), evenly(chosen)

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        source, target = inputs[0].reshape(before, size, after), outputs[0].reshape(before, chosen.size, after)
        if part is not None:
            return partial(np.copyto, target, source[:, part])
        return partial(np.take, source, chosen, axis=1, out=target, mode="wrap")

    return Direct(bind, is_same=part == slice(0, size, 1))


def evenly(positions: np.ndarray) -> slice | None:
    """The slice of the same positions (at least one, none negative); ``None`` where their distances differ."""
    first, count = int(positions[0]), positions.size
    step = int(positions[1]) - first if count > 1 else 1
    if step == 0 or not np.array_equal(positions, np.arange(count) * step + first):
        return None
    stop = first + count * step
    return slice(first, stop if stop >= 0 else None, step)


def _scatter(node: Node) -> Direct | None:
    indices = node.inputs[1]
    if indices is None or indices.constant is None or not indices.size or node.x.dtype == object:
        return None
    if node.attributes.get("reduction", "none") != "none":
        return None
    depth = indices.shape[-1]
    sizes, inner = node.x.shape[:depth], node.x.shape[depth:]
    tuples = indices.constant.reshape(-1, depth).astype(np.int64)
    if (tuples < -np.asarray(sizes)).any() or (tuples >= np.asarray(sizes)).any():
        return None
    tuples = tuples % sizes
    box = _box(tuples)
    rows = np.ravel_multi_index(tuple(tuples.T), sizes)

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        x, y, updates = inputs[0], outputs[0], inputs[2]
        is_in_place = x.ctypes.data == y.ctypes.data
        if box is not None:
            target = y[box]
            write = partial(np.copyto, target, updates.reshape(target.shape))
        else:
            write = partial(y.reshape(-1, *inner).__setitem__, rows, updates.reshape(-1, *inner))
        if is_in_place:
            return write

        def step() -> None:
            np.copyto(y, x)
            write()

        return step

    return Direct(bind, in_place=((0, 0),))


def _box(tuples: np.ndarray) -> tuple[slice, ...] | None:
    """The rectangle whose positions, in row-major order, are ``tuples`` (count, axes); ``None`` where there is none."""
    low, high = tuples.min(axis=0), tuples.max(axis=0) + 1
    sizes = high - low
    if np.prod(sizes) != len(tuples):
        return None
    if not np.array_equal(np.indices(sizes).reshape(len(sizes), -1).T + low, tuples):
        return None
    return tuple(slice(int(first), int(last)) for first, last in zip(low, high, strict=True))


def _gather_gradient(node: Node) -> Direct | None:
    if node.y.dtype.name not in ("float32", "float64"):
        return None
    return Direct(lambda inputs, outputs: partial(row_sums, inputs[0], inputs[1], outputs[0]))


def _where(node: Node) -> Direct | None:
    first, second = node.inputs[1:]
    assert first is not None and second is not None
    if node.y.dtype == object:
        return None

    def bind(inputs: Arrays, outputs: Arrays) -> Step:
        (condition, x, other), y = inputs, outputs[0]
        write = partial(np.copyto, y, x, where=condition)
        if other.ctypes.data == y.ctypes.data:
            return write

        def step() -> None:
            np.copyto(y, other)
            write()

        return step

    return Direct(bind, in_place=((0, 2),) if second.shape == node.y.shape else ())


PARTS: dict[tuple[str, str], Lower] = {
    ("", "Transpose"): _transpose,
    ("", "Concat"): _concat,
    ("", "Expand"): _expand,
    ("", "Split"): _split,
    ("", "Slice"): _slice,
    ("", "Pad"): _pad,
    ("", "Gather"): _gather,
    (TOOLKIT_DOMAIN, "GatherGradient"): _gather_gradient,
    ("", "ScatterND"): _scatter,
    ("", "Where"): _where,
}
