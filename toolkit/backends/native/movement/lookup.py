"""Elements at places that only the data tells: Gather, its form for columns, GatherElements, and ScatterElements.

An index outside of its axis ends the kernel, and the reference then says what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np

from toolkit.backends.iteration import row_major
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import INDEX, NUMBERS, Number
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.movement.copies import UNITS, is_movable
from toolkit.backends.native.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.standard.indexing import array_feature_extractor, gather, gather_elements, scatter_elements

INTEGERS = frozenset(map(np.dtype, ("int32", "int64")))
LEAST_COPY = 16  # bytes, from which a call is worth its way


def _looks_up(node: Node) -> bool:
    index = node.inputs[1]
    present = [item for item in (*node.inputs, *node.outputs) if item is not None]
    fits = index is not None and index.dtype in INTEGERS and all(item.size > 0 for item in present)
    return fits and is_movable(node.x) and node.x.shape != ()


def _scatters(node: Node) -> bool:
    reduction = node.attributes.get("reduction", "none")
    return _looks_up(node) and (reduction == "none" or (reduction == "add" and node.x.dtype in NUMBERS))


class _Axis:
    """An axis of a tensor along which indices are looked up."""

    def __init__(self, node: Node, code: Code, default: int = 0) -> None:
        index = node.inputs[1]
        assert index is not None
        self._code, self._dtype = code, index.dtype
        self.number = int(node.attributes.get("axis", default)) % len(node.x.shape)
        self.size = node.x.shape[self.number]

    def position(self, place: str, at: Number) -> Number:
        """The index at a place, counted from the front; leaves the kernel where there is no such element."""
        given = self._code.load(place, at, self._dtype).converted(INDEX)
        found = (given < 0).choose(given + self.size, given)
        self._code.refuse((found < 0) | (found >= self.size))
        return found


@kernel("", "Gather", accepts=_looks_up, is_fallback=True)
def lower_gather(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Slices, each copied as a whole."""
    axis = int(node.attributes.get("axis", 0))
    return _kernel(node, _slices(node, axis), partial(gather, axis=axis))


@kernel("ai.onnx.ml", "ArrayFeatureExtractor", accepts=_looks_up)
def lower_array_feature_extractor(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Columns: slices along the last axis, which every index is one of, whatever shape the indices have."""
    return _kernel(node, _slices(node, -1), array_feature_extractor)


def _slices(node: Node, along: int) -> Code:
    """The code that copies slices along an axis."""
    index, unit = node.inputs[1], UNITS[node.x.dtype.itemsize]
    assert index is not None
    code = Code(3)
    axis, (source, place, target) = _Axis(node, code, along), code.places
    inner = math.prod(node.x.shape[axis.number + 1 :])
    with code.loop(math.prod(node.x.shape[: axis.number])) as outer, code.loop(index.size) as number:
        start = (outer * axis.size + axis.position(place, number)) * inner
        end = (outer * index.size + number) * inner
        if inner * unit.itemsize >= LEAST_COPY:
            code.copy(code.address(source, start, unit), code.address(target, end, unit), inner * unit.itemsize)
        else:
            for offset in range(inner):
                code.store(code.load(source, start + offset, unit), target, end + offset)
    return code


@kernel("", "GatherElements", accepts=_looks_up)
def lower_gather_elements(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """One element for each index."""
    code, unit = Code(3), UNITS[node.x.dtype.itemsize]
    axis, (source, place, target) = _Axis(node, code), code.places
    with ExitStack() as loops:
        at, start = _walk(node, code, axis, loops)
        found = start + axis.position(place, at) * row_major(node.x.shape)[axis.number]
        code.store(code.load(source, found, unit), target, at)
    return _kernel(node, code, partial(gather_elements, axis=axis.number))


@kernel("", "ScatterElements", "Scatter", accepts=_scatters)
def lower_scatter_elements(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The data, then one update after the other."""
    reduction = node.attributes.get("reduction", "none")
    unit = node.x.dtype if reduction == "add" else UNITS[node.x.dtype.itemsize]
    code = Code(4)
    axis, (source, place, updates, target) = _Axis(node, code), code.places
    code.copy(source, target, node.x.size * unit.itemsize)
    with ExitStack() as loops:
        at, start = _walk(node, code, axis, loops)
        found = start + axis.position(place, at) * row_major(node.x.shape)[axis.number]
        update = code.load(updates, at, unit)
        code.store(code.load(target, found, unit) + update if reduction == "add" else update, target, found)
    return _kernel(node, code, partial(scatter_elements, axis=axis.number, reduction=reduction))


def _walk(node: Node, code: Code, axis: _Axis, loops: ExitStack) -> tuple[Number, Number]:
    """Loops over all indices: where each lies, and where in the tensor it is looked up, less its own axis."""
    index = node.inputs[1]
    assert index is not None
    at = start = code.index(0)
    for number, (size, own, other) in enumerate(
        zip(index.shape, row_major(index.shape), row_major(node.x.shape), strict=True)
    ):
        position = loops.enter_context(code.loop(size))
        at = at + position * own
        if number != axis.number:
            start = start + position * other
    return at, start


def _kernel(node: Node, code: Code, explain: Callable[..., np.ndarray]) -> Kernel:
    layouts = plain_layouts(node.inputs)
    return CompiledKernel(code, layouts, [plain(node.y.dtype, node.y.shape)], explain=explain)
