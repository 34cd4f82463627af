"""Tensors moved and not changed: Transpose, Concat, Split, Slice, Pad, Expand, Tile, and slices chosen beforehand.

All are copies between strides, in runs as long as the strides allow. Elements are bits of one, two, four or eight
bytes. Refused: bounds that are not known beforehand, and what moves nothing, for numpy has a view for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product

import numpy as np

from toolkit.backends.iteration import broadcast_strides, iterate, permuted, row_major
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.registry import kernel
from toolkit.backends.numpy.backend import ViewKernel
from toolkit.backends.numpy.parts import evenly
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.known import known_input, known_slices
from toolkit.compiler.program import Node, Variable
from toolkit.operators.standard.slicing import pad_widths, padded

UNITS = {size: np.dtype(f"uint{8 * size}") for size in (1, 2, 4, 8)}
TOGETHER = 4  # elements that are moved one by one before the loop goes on
MOST_COPIES = 32  # of one kernel, each of which is code of its own


@dataclass(frozen=True, slots=True)
class Strided:
    """Elements of the tensor at a place of the code: the first one, and how far apart they are along each axis."""

    place: str
    strides: Sequence[int]
    first: int = 0


def copy(code: Code, itemsize: int, sizes: Sequence[int], source: Strided, target: Strided) -> None:
    """Move elements; a stride of 0 in the source repeats one."""
    if not all(sizes):
        return
    unit, iteration = UNITS[itemsize], iterate(sizes, [source.strides, target.strides])
    *outer, inner = iteration.sizes
    (*steps_in, step_in), (*steps_out, step_out) = iteration.strides
    with ExitStack() as loops:
        given, made = code.index(source.first), code.index(target.first)
        for size, one, other in zip(outer, steps_in, steps_out, strict=True):
            position = loops.enter_context(code.loop(size))
            given, made = given + position * one, made + position * other
        if step_in == step_out == 1:
            from_, to = code.address(source.place, given, unit), code.address(target.place, made, unit)
            code.copy(from_, to, inner * itemsize)
        elif step_in == 0 and step_out == 1:
            lanes = min(compiler().lanes(unit), inner)
            value = code.load(source.place, given, unit).spread(lanes)
            code.pieces(inner, lanes, lambda at, count: code.store_some(value, target.place, made + at, count))
        else:

            def piece(at: Number, count: int) -> None:
                start_in, start_out = given + at * step_in, made + at * step_out
                for index in range(count):
                    value = code.load(source.place, start_in + index * step_in, unit)
                    code.store(value, target.place, start_out + index * step_out)

            code.pieces(inner, TOGETHER, piece)


def is_movable(*items: Variable | None) -> bool:
    """Whether elements are bits of a size that is moved."""
    return all(item is None or (item.dtype != object and item.dtype.itemsize in UNITS) for item in items)


def _moves(node: Node) -> bool:
    """Whether all but the first input is known, and there is something to move."""
    known = all(item is None or item.constant is not None for item in node.inputs[1:])
    return known and is_movable(node.x, node.y) and node.x.size > 0 and node.y.size > 0


def _from_first(node: Node, code: Code, tables: Sequence[np.ndarray] = ()) -> Kernel:
    """A kernel that reads its first input only."""
    inputs: list[Layout | None] = [plain(node.x.dtype, node.x.shape), *[None] * (len(node.inputs) - 1)]
    outputs = plain_layouts(node.outputs)
    return CompiledKernel(code, inputs, outputs, tables=tables)


def _turned(node: Node, sizes: Sequence[int], strides: Sequence[int], first: int = 0) -> Kernel:
    """The result is what lies at the strides of the input, in row-major order."""
    if first == 0 and iterate(sizes, [strides, row_major(sizes)]).strides in (((1,), (1,)), ((0,), (0,))):
        return ViewKernel(node)
    code = Code(2)
    source, target = code.places
    copy(code, node.x.dtype.itemsize, sizes, Strided(source, strides, first), Strided(target, row_major(sizes)))
    return _from_first(node, code)


@kernel("", "Transpose", accepts=_moves)
def lower_transpose(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    order = node.attributes.get("perm") or range(len(node.x.shape))[::-1]
    return _turned(node, node.y.shape, permuted(row_major(node.x.shape), order))


@kernel("", "Expand", accepts=_moves)
def lower_expand(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    return _turned(node, node.y.shape, broadcast_strides(node.x.shape, len(node.y.shape)))


@kernel("", "Tile", accepts=lambda node: _moves(node) and node.version >= 6)
def lower_tile(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Each axis is two: how often it is repeated, and itself."""
    repeats = [total // size for total, size in zip(node.y.shape, node.x.shape, strict=True)]
    sizes = [item for pair in zip(repeats, node.x.shape, strict=True) for item in pair]
    return _turned(node, sizes, [item for step in row_major(node.x.shape) for item in (0, step)])


def _cuts(node: Node) -> bool:
    if not is_movable(node.x) or not node.y.size:
        return False
    parts = known_slices(node)
    is_whole = parts is not None and node.y.shape == node.x.shape and all((part.step or 1) > 0 for part in parts)
    return parts is not None and not is_whole


@kernel("", "Slice", accepts=_cuts)
def lower_slice(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    parts = known_slices(node)
    assert parts is not None
    begins = [part.indices(size) for part, size in zip(parts, node.x.shape, strict=True)]
    own = row_major(node.x.shape)
    first = sum(begin * step for (begin, _, _), step in zip(begins, own, strict=True))
    return _turned(node, node.y.shape, [step * stride for (_, _, stride), step in zip(begins, own, strict=True)], first)


def chosen(node: Node) -> slice | None:
    """The slice that a Gather with known indices takes of its axis; ``None`` where they do not follow evenly."""
    indices, axis = node.inputs[1], int(node.attributes.get("axis", 0))
    if indices is None or indices.constant is None or not indices.size or not node.x.size:
        return None
    size, wanted = node.x.shape[axis], indices.constant.reshape(-1).astype(np.int64)
    if not (-size <= wanted.min() and wanted.max() < size):
        return None
    found = evenly(wanted % size)
    return None if found == slice(0, size, 1) else found


@kernel("", "Gather", accepts=lambda node: is_movable(node.x) and chosen(node) is not None)
def lower_chosen(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    part, axis = chosen(node), int(node.attributes.get("axis", 0)) % len(node.x.shape)
    assert part is not None and node.inputs[1] is not None
    before, behind = node.x.shape[:axis], node.x.shape[axis + 1 :]
    strides, count = list(row_major(node.x.shape)), node.inputs[1].size
    first, step = part.start * strides[axis], part.step
    strides[axis] *= step
    return _turned(node, (*before, count, *behind), strides, first)


# several tensors ------------------------------------------------------------------------------------------------------


def _joins(node: Node) -> bool:
    return is_movable(node.y) and node.y.size > 0 and len(node.inputs) <= MOST_COPIES


@kernel("", "Concat", accepts=_joins)
def lower_concat(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Inputs without an element are not touched."""
    shape = node.y.shape
    axis, strides, first = int(node.attributes.get("axis", 1)) % len(shape), row_major(shape), 0
    parts = [item for item in node.inputs if item is not None]
    code = Code(1 + sum(item.size > 0 for item in parts))
    *places, target = code.places
    for place, item in zip(places, (item for item in parts if item.size), strict=True):
        source = Strided(place, row_major(item.shape))
        copy(code, node.y.dtype.itemsize, item.shape, source, Strided(target, strides, first * strides[axis]))
        first += item.shape[axis]
    layouts = [None if item is None or not item.size else plain(item.dtype, item.shape) for item in node.inputs]
    return CompiledKernel(code, layouts, [plain(node.y.dtype, shape)])


def _splits(node: Node) -> bool:
    is_known = all(item is None or item.constant is not None for item in node.inputs[1:])
    return is_known and is_movable(node.x) and node.x.size > 0 and None not in node.outputs


@kernel("", "Split", accepts=lambda node: _splits(node) and len(node.outputs) <= MOST_COPIES)
def lower_split(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    axis = int(node.attributes.get("axis", 0)) % len(node.x.shape)
    strides, first = row_major(node.x.shape), 0
    code = Code(1 + len(node.outputs))
    source, *targets = code.places
    for place, item in zip(targets, node.outputs, strict=True):
        assert item is not None
        part = Strided(source, strides, first * strides[axis])
        copy(code, item.dtype.itemsize, item.shape, part, Strided(place, row_major(item.shape)))
        first += item.shape[axis]
    return _from_first(node, code)


# surroundings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stretch:
    """``size`` elements of one axis that come from evenly placed ones; ``step`` is ``None`` for the constant."""

    size: int
    first: int
    step: int | None


def _stretches(size: int, widths: tuple[int, int], mode: str) -> list[_Stretch]:
    """What an axis becomes."""
    low, high = widths
    if mode == "constant":
        kept = _Stretch(size + min(low, 0) + min(high, 0), max(0, -low), 1)
        around = (_Stretch(low, 0, None), kept, _Stretch(high, 0, None))
        return [item for item in around if item.size > 0]
    places, found = padded(np.arange(size), widths, mode=mode).tolist(), []
    while places:
        step = places[1] - places[0] if len(places) > 1 else 1
        count = next((at for at in range(2, len(places)) if places[at] - places[at - 1] != step), len(places))
        found.append(_Stretch(count, places[0], step))
        places = places[count:]
    return found


def _boxes(node: Node) -> list[list[_Stretch]] | None:
    """The stretches of each axis; ``None`` where they are not known, or too many."""
    (is_known, pads), (knows_axes, axes) = (
        known_input(node, "paddings" if "paddings" in node.attributes else "pads", 1),
        known_input(node, "axes", 3),
    )
    if not (is_known and knows_axes and is_movable(node.x) and node.x.size and node.y.size):
        return None
    shape, mode = node.x.shape, node.attributes.get("mode", "constant")
    widths = pad_widths(len(shape), pads, axes)
    if not any(map(any, widths)) or any(
        size + min(low, 0) + min(high, 0) < 0 for size, (low, high) in zip(shape, widths, strict=True)
    ):
        return None
    found = [_stretches(size, pair, mode) for size, pair in zip(shape, widths, strict=True)]
    return found if math.prod(map(len, found)) <= MOST_COPIES else None


@kernel("", "Pad", accepts=lambda node: _boxes(node) is not None)
def lower_pad(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """One copy for each combination of stretches; the constant is a tensor that is repeated, given or a table."""
    axes, dtype = _boxes(node), node.x.dtype
    assert axes is not None
    given = node.inputs[2] if len(node.inputs) > 2 else None
    code = Code(3)
    source, second, third = code.places
    target, fill = (second, third) if given is None else (third, second)
    own, made = row_major(node.x.shape), row_major(node.y.shape)
    starts = [np.cumsum([0, *(item.size for item in found)]).tolist() for found in axes]
    for choice in product(*(range(len(found)) for found in axes)):
        box = [found[number] for found, number in zip(axes, choice, strict=True)]
        to = sum(begins[number] * step for begins, number, step in zip(starts, choice, made, strict=True))
        if any(item.step is None for item in box):
            part = Strided(fill, (0,) * len(box))
        else:
            first = sum(item.first * step for item, step in zip(box, own, strict=True))
            part = Strided(source, [(item.step or 0) * step for item, step in zip(box, own, strict=True)], first)
        copy(code, dtype.itemsize, [item.size for item in box], part, Strided(target, made, to))
    layouts: list[Layout | None] = [plain(dtype, node.x.shape), *[None] * (len(node.inputs) - 1)]
    if given is not None:
        layouts[2] = plain(dtype, given.shape)
    tables = [] if given is not None else [np.full(1, node.attributes.get("value", 0.0), dtype)]
    return CompiledKernel(code, layouts, [plain(dtype, node.y.shape)], tables=tables)
