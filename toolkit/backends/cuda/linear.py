"""Matrix products with everything fused into them: cublasLt, and a graph of cuDNN for what cublasLt cannot add.

A bias along the last axis, a residual of the result's shape, Relu and Gelu by tanh are done on the way out. Whatever
else is added or applied follows in float32 from scratch memory, so half width is rounded once. Transposed factors, and
heads that lie behind the positions, are read through strides. Axes that no single stride covers are walked by several
calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product as every

import numpy as np

from toolkit.backends.broadcasting import joined
from toolkit.backends.cuda.cublaslt import Compute, Epilogue, Matrix, Multiplication, Product, session_of
from toolkit.backends.cuda.cudnn.activation import activate, knows
from toolkit.backends.cuda.cudnn.builder import Builder
from toolkit.backends.cuda.cudnn.descriptors import NoEngineError
from toolkit.backends.cuda.cudnn.graph import DATA_TYPES, row_major
from toolkit.backends.cuda.cudnn.graph_constants import DataType, PointwiseMode
from toolkit.backends.cuda.cudnn.session import session_of as cudnn_of
from toolkit.backends.cuda.images import FLOAT32, is_float
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.parts import (
    Addresses,
    CallPart,
    Part,
    PartsKernel,
    Place,
    Scratch,
    chain,
    graph_parts,
    reads,
    writes,
)
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, Step
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN

LIBRARY = "cublasLt"

Shape = tuple[int, ...]
TAIL_RANK = 3  # axes of the graphs that add and apply: more have engines for images alone
ALIGNMENT = 16
_EPILOGUES = {"": Epilogue.DEFAULT, "Relu": Epilogue.RELU, "GeluTanh": Epilogue.GELU}


def _accepts(node: Node) -> bool:
    a, b = node.inputs[:2]
    if a is None or b is None or min(len(a.shape), len(b.shape)) < 2 or a.dtype != b.dtype:
        return False
    addends = [item for item in node.inputs[2:4] if item is not None]
    fits = all(len(joined(node.y.shape, item.shape, least=TAIL_RANK)[0]) <= TAIL_RANK for item in addends)
    return is_float(node) and node.y.dtype in (a.dtype, FLOAT32) and knows(node.attributes) and fits


@kernel("", "MatMul", accepts=_accepts)
@kernel(TOOLKIT_DOMAIN, "FusedMatMul", accepts=_accepts)
def matrix_product(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """``activation(alpha * a @ b + bias + residual)``."""
    layouts = [[None if item is None else on_device(item.dtype, item.shape) for item in side] for side in _sides(node)]
    for fuses in (True, False):
        memory = Scratch()
        try:
            parts = _parts(node, resources, memory, fuses)
        except NoEngineError:
            if not fuses:
                raise
        else:
            return PartsKernel(parts, layouts[0], layouts[1], memory)
    raise AssertionError("unreachable: the second attempt returns or raises")


def _sides(node: Node) -> tuple[list[Variable | None], list[Variable | None]]:
    return node.inputs, node.outputs


def _parts(node: Node, resources: Resources, memory: Scratch, fuses: bool) -> list[Part]:
    """The product and what follows it; ``fuses``: as much as possible is done on its way out."""
    choice = _choose(node, fuses)
    target = writes(0) if not choice.tail and choice.activates else memory.take(4 * node.y.size)
    dtype = node.y.dtype if target == writes(0) else FLOAT32
    found: list[Part] = [_product(node, resources, choice, dtype, target)]
    if target != writes(0):
        found += _tail(node, resources, choice.tail, target, memory)
    return found


# what is done where -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which inputs the product adds on its way out, as bias and as residual, and which are left to the tail."""

    bias: int | None
    residual: int | None
    tail: tuple[int, ...]
    activates: bool  # whether the product applies the activation too
    epilogue: Epilogue


def _choose(node: Node, fuses: bool) -> _Choice:
    bias = residual = None
    left: list[int] = []
    activation = node.attributes.get("activation", "")
    addends = {index: item for index, item in enumerate(node.inputs[2:4], start=2) if item is not None}
    for index, item in addends.items():
        is_alike = fuses and item.dtype == node.y.dtype
        if is_alike and bias is None and item.shape[-1:] == node.y.shape[-1:] == (item.size,):
            bias = index
        elif is_alike and residual is None and item.shape == node.y.shape:
            residual = index
        else:
            left.append(index)
    if left or activation not in _EPILOGUES or (activation and not fuses):
        # The tail reads float32, so only addends of that type may be added before it.
        narrow = [index for index in (bias, residual) if index is not None and addends[index].dtype != FLOAT32]
        left = sorted([*left, *narrow])
        bias, residual = (None if index in narrow else index for index in (bias, residual))
        return _Choice(bias, residual, tuple(left), False, _with_bias(Epilogue.DEFAULT, bias))
    return _Choice(bias, residual, (), True, _with_bias(_EPILOGUES[activation], bias))


def _with_bias(epilogue: Epilogue, bias: int | None) -> Epilogue:
    if bias is None:
        return epilogue
    return Epilogue.BIAS if epilogue is Epilogue.DEFAULT else Epilogue(epilogue | Epilogue.BIAS)


# the product --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor as a stack of matrices: sizes and strides of the axes before, and of rows and columns."""

    lead: Shape
    steps: Shape
    sizes: tuple[int, int]
    strides: tuple[int, int]


def _view(shape: Shape, swap: bool, turn: bool) -> _View:
    """``shape`` as it is seen through the exchange of heads and positions, then of rows and columns."""
    axes, strides = list(range(len(shape))), row_major(shape)
    if swap:
        axes[-3], axes[-2] = axes[-2], axes[-3]
    if turn:
        axes[-2], axes[-1] = axes[-1], axes[-2]
    sizes, steps = [shape[axis] for axis in axes], [strides[axis] for axis in axes]
    return _View(tuple(sizes[:-2]), tuple(steps[:-2]), (sizes[-2], sizes[-1]), (steps[-2], steps[-1]))


@dataclass(frozen=True, slots=True)
class _Axis:
    """An axis of the stack: its size, and how far a, b and y move along it."""

    size: int
    moves: tuple[int, int, int]


def _axes(a: _View, b: _View, y: _View) -> list[_Axis]:
    """The axes of the stack, those of one size left out, neighbours that move evenly as one."""
    found: list[_Axis] = []
    for place, size in enumerate(y.lead):
        if size == 1:
            continue
        moves = (_move(a, place - len(y.lead)), _move(b, place - len(y.lead)), y.steps[place])
        before = found[-1] if found else None
        if before is not None and all(far == near * size for far, near in zip(before.moves, moves, strict=True)):
            found[-1] = _Axis(before.size * size, moves)
        else:
            found.append(_Axis(size, moves))
    return found


def _move(view: _View, place: int) -> int:
    """How far a factor moves along an axis of the result counted from the last; not at all where it broadcasts."""
    return 0 if -place > len(view.lead) or view.lead[place] == 1 else view.steps[place]


def _product(node: Node, resources: Resources, choice: _Choice, dtype: np.dtype, target: Place) -> Part:
    a, b = node.inputs[:2]
    assert a is not None and b is not None
    flags = node.attributes
    seen_a = _view(a.shape, bool(flags.get("swapA")), bool(flags.get("transA")))
    seen_b = _view(b.shape, bool(flags.get("swapB")), bool(flags.get("transB")))
    seen_y = _view(node.y.shape, bool(flags.get("swapY")), False)
    axes = _axes(seen_a, seen_b, seen_y)
    (rows, inner), (_, columns) = seen_a.sizes, seen_b.sizes
    if axes and axes[-1].moves[1] == 0 and _continues(axes[-1], rows, seen_a, seen_y):
        rows *= axes.pop().size  # all of them meet the same matrix: one taller product
    inner_axis = max(axes, key=lambda axis: axis.size, default=_Axis(1, (0, 0, 0)))
    outer = [axis for axis in axes if axis is not inner_axis]
    sizes = {"a": a.dtype.itemsize, "b": b.dtype.itemsize, "y": dtype.itemsize}
    given = zip(sizes.values(), zip(*(axis.moves for axis in axes), strict=True) if axes else ((),) * 3, strict=True)
    aligned = [min([ALIGNMENT, *(_alignment(move * size) for move in moves)]) for size, moves in given]
    product = Product(
        _matrix(a.dtype, (rows, inner), seen_a.strides, inner_axis.moves[0], aligned[0]),
        _matrix(b.dtype, (inner, columns), seen_b.strides, inner_axis.moves[1], aligned[1]),
        _matrix(dtype, (rows, columns), (seen_y.strides[0], 1), inner_axis.moves[2], aligned[2]),
        inner_axis.size,
        float(flags.get("alpha", 1.0)),
        choice.residual is not None,
        choice.epilogue,
        Compute.COMPUTE_32F if resources.strict or a.dtype != FLOAT32 else Compute.COMPUTE_32F_FAST_TF32,
    )
    multiplication = session_of(resources).multiplication(product)
    offsets = [[move * size for move, size in zip(moves, sizes.values(), strict=True)] for moves in _walk(outer)]
    return _walking(multiplication, choice, target, offsets)


def _continues(axis: _Axis, rows: int, a: _View, y: _View) -> bool:
    """Whether the next matrix of a begins where the rows of the last one end, and that of the result too."""
    return a.strides[1] == 1 and axis.moves[0] == rows * a.strides[0] and axis.moves[2] == rows * y.strides[0]


def _matrix(dtype: np.dtype, sizes: tuple[int, int], strides: tuple[int, int], step: int, alignment: int) -> Matrix:
    """A matrix with one stride of 1: an axis of one size has whichever is wanted."""
    rows, columns = sizes
    row, column = strides
    if column != 1 and columns == 1:
        column = 1
    if column != 1 and row != 1 and rows == 1:
        row = 1
    return Matrix(dtype, rows, columns, row, column, step, alignment)


def _alignment(nbytes: int) -> int:
    return nbytes & -nbytes if nbytes else ALIGNMENT


def _walk(axes: Sequence[_Axis]) -> Iterator[tuple[int, int, int]]:
    """How far a, b and y have moved at each place of the axes."""
    for places in every(*(range(axis.size) for axis in axes)):
        moved = [sum(place * axis.moves[who] for place, axis in zip(places, axes, strict=True)) for who in range(3)]
        yield moved[0], moved[1], moved[2]


def _walking(multiplication: Multiplication, choice: _Choice, target: Place, offsets: list[list[int]]) -> Part:
    """One call for each of ``offsets``, in bytes."""

    def make(address: Addresses, workspace: int) -> Step:
        calls = []
        for far_a, far_b, far_y in offsets:
            addresses = {"a": address(reads(0)) + far_a, "b": address(reads(1)) + far_b, "d": address(target) + far_y}
            if choice.residual is not None:
                addresses["c"] = address(reads(choice.residual)) + far_y
            if choice.bias is not None:
                addresses["bias"] = address(reads(choice.bias))
            calls.append(multiplication.bind(addresses, workspace))
        return calls[0] if len(calls) == 1 else chain(calls)

    name = "cublasLt" if len(offsets) == 1 else f"cublasLt x {len(offsets)}"
    return CallPart(name, make, multiplication.workspace)


# the tail -----------------------------------------------------------------------------------------------------------


def _tail(node: Node, resources: Resources, addends: Sequence[int], source: Place, memory: Scratch) -> list[Part]:
    """What is added to the float32 product: one graph for each addend, of which the last one activates."""
    parts: list[Part] = []
    steps: list[int | None] = [*addends] or [None]
    for number, index in enumerate(steps, start=1):
        is_last = number == len(steps)
        target = writes(0) if is_last else memory.take(4 * node.y.size)
        addend = None if index is None else node.inputs[index]
        whole, part = joined(node.y.shape, () if addend is None else addend.shape, least=TAIL_RANK)
        builder = Builder()
        value = builder.tensor(DataType.FLOAT, whole)
        into = builder.tensor(DATA_TYPES[node.y.dtype] if is_last else DataType.FLOAT, whole)
        places: dict[int, Place] = {value.uid: source, into.uid: target}
        activates = is_last and bool(node.attributes.get("activation"))
        if addend is not None and index is not None:
            other = builder.tensor(DATA_TYPES[addend.dtype], part)
            places[other.uid] = reads(index)
            value = builder.pointwise(PointwiseMode.ADD, value, other, into=None if activates else into)
        if activates or addend is None:
            activate(builder, value, node.attributes, into)
        parts += graph_parts(cudnn_of(resources), builder.graph(), places, memory, strict=resources.strict)
        source = target
    return parts
