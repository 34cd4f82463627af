"""Sums, differences, products, quotients, extrema of two tensors, and sums of many.

Tensors of equal shapes are combined in the layout of the first one that is not plain. A number and a vector of
channels fit any layout; other broadcasting happens in row-major order, with neighbouring axes joined to the few
patterns that oneDNN has fast loops for. Refused: patterns it has none for, and two operands that stretch each other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from toolkit.backends.broadcasting import joined
from toolkit.backends.onednn.activation import POWER, eltwise_kernel
from toolkit.backends.onednn.memory import dense, descriptor_of
from toolkit.backends.onednn.primitive import (
    ADD,
    DIVIDE,
    DST,
    LINEAR,
    MAXIMUM,
    MINIMUM,
    MULTIPLE_SRC,
    MULTIPLY,
    SRC,
    SRC_1,
    SUBTRACT,
    Eltwise,
    Operand,
    PrimitiveDescriptor,
    PrimitiveKernel,
    describe,
    reads,
    try_describe,
    writes,
)
from toolkit.backends.onednn.registry import is_uniform, kernel
from toolkit.backends.protocol import Buffer, Kernel, Layout, Resources, Step, plain
from toolkit.compiler.program import Node, Variable

Shape = tuple[int, ...]
_ALGORITHMS = {"Add": ADD, "Mul": MULTIPLY, "Max": MAXIMUM, "Min": MINIMUM, "Div": DIVIDE, "Sub": SUBTRACT}
_COMMUTATIVE = ("Add", "Mul", "Max", "Min")


def _accepts(node: Node) -> bool:
    if not is_uniform(node) or len(node.inputs) != 2 or "axis" in node.attributes:
        return False
    if _with_number(node) is not None:
        return True
    pair = _ordered(node)
    if pair is None:
        return False
    return pair[0].shape == pair[1].shape or _fast(
        _ALGORITHMS[node.op_type], node.y.dtype, *joined(pair[0].shape, pair[1].shape, least=2)
    )


@kernel("", *_ALGORITHMS, accepts=_accepts)
def binary(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """An operand of the result's shape, and one that may broadcast to it; in place on either where that is whole."""
    number = _with_number(node)
    if number is not None:
        index, function = number
        layout = inputs[index]
        assert layout is not None
        return _OfOne(eltwise_kernel(function, layout), index)
    pair = _ordered(node)
    assert pair is not None
    full, other = pair
    first = 0 if node.inputs[0] is full else 1
    if full.shape == other.shape:
        return _equal_shapes(node, inputs)
    layout = inputs[first]
    assert layout is not None
    algorithm = _ALGORITHMS[node.op_type]
    aligned = (1,) * (len(full.shape) - len(other.shape)) + other.shape
    if not layout.is_plain and descriptor_of(layout).shape == full.shape and _is_per_channel(aligned):
        at, small = descriptor_of(layout), dense(other.dtype, aligned)
        described = try_describe("binary", algorithm, at, small, at)
        if described is not None and not described.is_reference:
            return _broadcasting(described, layout, other, first)
    whole, part = joined(full.shape, other.shape, least=2)
    at = dense(full.dtype, whole)
    described = describe("binary", algorithm, at, dense(other.dtype, part), at)
    is_anywhere = (
        other.size == 1 and layout.nbytes == full.nbytes
    )  # where a tensor lies makes no difference to a number
    return _broadcasting(described, layout if is_anywhere else plain(full.dtype, full.shape), other, first)


def _is_per_channel(aligned: Shape) -> bool:
    return all(size == 1 for axis, size in enumerate(aligned) if axis != 1)


def _broadcasting(described: PrimitiveDescriptor, layout: Layout, other: Variable, first: int) -> Kernel:
    """The full operand is input ``first``, ``other`` the second one, in row-major order."""
    at, small = described.argument(SRC), described.argument(SRC_1)
    layouts = [layout, plain(other.dtype, other.shape)]
    operands = [reads(SRC, first, at), reads(SRC_1, 1 - first, small), writes(DST, 0, at)]
    if first:
        layouts.reverse()
    return PrimitiveKernel(described, layouts, [layout], operands, in_place=((0, first),))


def _equal_shapes(node: Node, inputs: Sequence[Layout | None]) -> Kernel:
    layout = _shared_layout(inputs)
    at = descriptor_of(layout)
    described = describe("binary", _ALGORITHMS[node.op_type], at, at, at)
    if described.is_reference and not layout.is_plain:
        layout = plain(layout.dtype, layout.shape)
        at = descriptor_of(layout)
        described = describe("binary", _ALGORITHMS[node.op_type], at, at, at)
    operands = [reads(SRC, 0, at), reads(SRC_1, 1, at), writes(DST, 0, at)]
    return PrimitiveKernel(described, [layout, layout], [layout], operands, in_place=((0, 0), (0, 1)))


def _shared_layout(inputs: Sequence[Layout | None]) -> Layout:
    """The layout of the first input that is not plain, else the plain one."""
    present = [item for item in inputs if item is not None]
    return next((item for item in present if not item.is_plain), present[0])


def _ordered(node: Node) -> tuple[Variable, Variable] | None:
    """The operand of the result's shape and the other one, if the operator lets the full one come first."""
    left, right = node.inputs
    assert left is not None
    assert right is not None
    if left.shape == node.y.shape:
        return left, right
    if right.shape == node.y.shape and node.op_type in _COMMUTATIVE:
        return right, left
    return None


def _with_number(node: Node) -> tuple[int, Eltwise] | None:
    """The tensor's index and the function of it that the node is when the other operand is one known number."""
    for index, other in enumerate(reversed(node.inputs)):
        tensor = node.inputs[index]
        assert other is not None
        assert tensor is not None
        if other.constant is None or other.size != 1 or tensor.shape != node.y.shape:
            continue
        value = float(other.constant.reshape(-1)[0])
        function = _function(node.op_type, value, number_first=index == 1)
        if function is not None:
            return index, function
    return None


def _function(op_type: str, value: float, *, number_first: bool) -> Eltwise | None:
    if op_type == "Add":
        return Eltwise(LINEAR, 1.0, value)
    if op_type == "Mul":
        return Eltwise(LINEAR, value, 0.0)
    if op_type == "Sub":
        return Eltwise(LINEAR, -1.0, value) if number_first else Eltwise(LINEAR, 1.0, -value)
    if op_type == "Div" and number_first:
        return Eltwise(POWER, value, -1.0)
    return None


def _fast(algorithm: int, dtype: np.dtype, whole: Shape, part: Shape) -> bool:
    """Whether oneDNN has compiled loops for a pattern of broadcasting."""
    at = dense(dtype, whole)
    described = try_describe("binary", algorithm, at, dense(dtype, part), at)
    return described is not None and not described.is_reference


class _OfOne(Kernel):
    """A kernel of one input as that of a node with two, of which the other is a number known beforehand."""

    def __init__(self, inner: Kernel, index: int) -> None:
        self._inner, self._index = inner, index
        self.name, self.workspace, self.outputs = inner.name, inner.workspace, inner.outputs
        self.inputs = [inner.inputs[0] if position == index else None for position in range(2)]
        self.in_place = ((0, index),)

    def bind(self, inputs: Sequence[Buffer | None], outputs: Sequence[Buffer | None], workspace: Buffer | None) -> Step:
        return self._inner.bind([inputs[self._index]], outputs, workspace)


def _accepts_sum(node: Node) -> bool:
    equal = all(item is not None and item.shape == node.y.shape for item in node.inputs)
    return is_uniform(node) and equal and len(node.inputs) > 1


@kernel("", "Sum", accepts=_accepts_sum)
def sum_of_many(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """All inputs in one pass, in the layout of the first that is not plain."""
    layout = _shared_layout(inputs)
    at, count = descriptor_of(layout), len(inputs)
    sources = (ctypes.c_void_p * count)(*[at.handle.value] * count)
    described = describe("sum", at, count, (ctypes.c_float * count)(*[1.0] * count), sources)
    operands: list[Operand] = [reads(MULTIPLE_SRC + index, index, at) for index in range(count)]
    return PrimitiveKernel(described, [layout] * count, [layout], [*operands, writes(DST, 0, at)], in_place=((0, 0),))
