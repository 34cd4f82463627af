"""Reductions over any axes, positions of extremes, and the range that DynamicQuantizeLinear asks for.

A tensor is read once, in whatever layout it lies. Where what is reduced lies together, a warp or a block works on one
result; where results lie together, each thread works on one. Few results of much are shared by many blocks, whose
parts a second kernel joins, always in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.backends.cuda.coordinates import coordinates, offset
from toolkit.backends.cuda.launch import Input, Launch, Output, Scratch, SourceKernel, in_one_row
from toolkit.backends.cuda.layouts import on_device, strides
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import (
    ELEMENT_TYPES,
    INTEGER_TYPES,
    NUMBER_TYPES,
    Function,
    reads,
    wide_name,
    writes,
)
from toolkit.backends.iteration import iterate
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node
from toolkit.operators.axes import normalised
from toolkit.operators.expression import TOOLKIT_DOMAIN

Shape = tuple[int, ...]
REDUCERS = {
    "ReduceSum": "Sum",
    "ReduceMean": "Mean",
    "ReduceMax": "Largest",
    "ReduceMin": "Smallest",
    "ReduceProd": "Product",
    "ReduceL1": "AbsoluteSum",
    "ReduceL2": "Norm",
    "ReduceSumSquare": "SquareSum",
    "ReduceLogSum": "LogarithmOfSum",
    "ReduceLogSumExp": "LogarithmOfPowers",
}
WARP = 32
ENOUGH_BLOCKS = 512  # so many keep every multiprocessor of today's largest devices busy
LARGEST_STATE = 16  # bytes of what is gathered for a result
FEWEST = 64  # elements of a column that a block is worth starting for
LONG_ROW = 1024  # elements from which on a whole block works on one result


@dataclass(frozen=True, slots=True)
class Reduction:
    """How a tensor is reduced: sizes and strides of the axes that are kept and of those that are not."""

    kept: Shape
    kept_strides: Shape
    reduced: Shape
    reduced_strides: Shape

    @property
    def results(self) -> int:
        return math.prod(self.kept)

    @property
    def count(self) -> int:
        return math.prod(self.reduced)

    @property
    def in_rows(self) -> bool:
        """Whether what is reduced lies together, rather than the results."""
        return self.results == 1 or self.reduced_strides[-1] == 1 or self.kept_strides[-1] != 1


def reduction_of(layout: Layout, axes: Sequence[int]) -> Reduction:
    """The reduction of a tensor over some of its axes."""
    steps = strides(layout)
    kept = [axis for axis in range(len(layout.shape)) if axis not in axes]
    inner_first = sorted(axes, key=lambda axis: -steps[axis])  # what is reduced may be taken in the order it lies in
    outer = iterate([layout.shape[axis] for axis in kept], [[steps[axis] for axis in kept]])
    inner = iterate([layout.shape[axis] for axis in inner_first], [[steps[axis] for axis in inner_first]])
    return Reduction(outer.sizes, outer.strides[0], inner.sizes, inner.strides[0])


def places(reduction: Reduction) -> str:
    """The C structure that tells where elements lie."""
    parts = []
    for name, sizes, steps in (
        ("kept", reduction.kept, reduction.kept_strides),
        ("reduced", reduction.reduced, reduction.reduced_strides),
    ):
        index = "uint32" if math.prod(sizes) <= np.iinfo(np.int32).max else "uint64"
        lines, names = coordinates("at", [max(size, 1) for size in sizes], index)
        wide = [f"(uint64){item}" if step > 1 else item for item, step in zip(names, steps, strict=True)]
        text = " ".join([*lines, f"return {offset(steps, wide)};"])
        parts.append(f"    static uint64 {name}({index} at) {{ {text} }}")
    return "\n".join(["struct At {", *parts, "};"])


def launches_of(
    reducer: str, name: str, given: np.dtype, made: np.dtype, reduction: Reduction, source: int = 0, target: int = 0
) -> tuple[list[Launch], int]:
    """The kernels that reduce input ``source`` to output ``target``, and the bytes of workspace that they share."""
    results, count = reduction.results, reduction.count
    if reduction.in_rows:
        lanes = WARP if count <= LONG_ROW else 256
        rows = 256 // lanes
        across, least = -(-results // rows), 4 * LONG_ROW
    else:
        lanes, rows, across, least = WARP, 8, -(-results // WARP), FEWEST
    parts = min(-(-ENOUGH_BLOCKS // max(across, 1)), max(count // least, 1), 1024)
    mapping = f"rows<{reducer}, At, {lanes}, {rows}" if reduction.in_rows else f"columns<{reducer}, At, {rows}"
    numbers = f"{results}u, {count}u"
    is_part = parts > 1
    body = f"    reduction::{mapping}, {'true' if is_part else 'false'}>(x, y, {numbers});"
    first = Function(name, (reads("x", given), writes("y", made)), body, ("reduction",), f"{places(reduction)}")
    threads = (lanes, rows, 1)
    if not is_part:
        return [Launch(first, (across, 1, 1), threads, (Input(source), Output(target)))], 0
    body = f"    reduction::join_parts<{reducer}>(parts, y, {numbers}, {parts}u);"
    second = Function(f"{name}_join", ("const void* parts", writes("y", made)), body, ("reduction",))
    return [
        Launch(first, (across, parts, 1), threads, (Input(source), Scratch())),
        Launch(second, (-(-results // 8), 1, 1), (WARP, 8, 1), (Scratch(), Output(target))),
    ], parts * results * LARGEST_STATE


def axes_of(node: Node) -> Sequence[int] | None:
    """The axes that a node reduces; ``None`` where they are not known."""
    axes = node.attributes.get("axes")
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        if node.inputs[1].constant is None:
            return None
        axes = node.inputs[1].constant.reshape(-1).tolist()
    rank = len(node.x.shape)
    if axes is None or len(axes) == 0:
        return () if node.attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return normalised(axes, rank)


def _reduces(node: Node) -> bool:
    extreme = node.op_type in ("ReduceMax", "ReduceMin")
    return node.x.dtype in (ELEMENT_TYPES if extreme else NUMBER_TYPES) and axes_of(node) is not None


@kernel("", *REDUCERS, accepts=_reduces)
def lower_reduction(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    layout, axes = inputs[0], axes_of(node)
    assert layout is not None and axes is not None
    dtype = layout.dtype
    gathered = "float64" if node.op_type == "ReduceLogSumExp" and dtype in INTEGER_TYPES else wide_name(dtype)
    reducer = f"reduction::{REDUCERS[node.op_type]}<{gathered}>"
    launches, workspace = launches_of(reducer, node.op_type, dtype, dtype, reduction_of(layout, axes))
    rest: list[Layout | None] = [None] * (len(inputs) - 1)
    result = on_device(dtype, node.y.shape)
    return SourceKernel("reduction", launches, [layout, *rest], [result], resources, workspace=workspace)


@kernel("", "ArgMax", "ArgMin", accepts=lambda node: node.x.dtype in NUMBER_TYPES and node.x.size > 0)
def lower_position(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    layout = inputs[0]
    assert layout is not None
    axis = int(node.attributes.get("axis", 0)) % len(layout.shape)
    choices = node.op_type == "ArgMax", bool(node.attributes.get("select_last_index", 0))
    flags = ", ".join("true" if choice else "false" for choice in choices)
    reducer = f"reduction::Place<{wide_name(layout.dtype)}, {flags}>"
    positions = np.dtype(np.int64)
    found = reduction_of(layout, [axis])
    launches, workspace = launches_of(reducer, node.op_type, layout.dtype, positions, found)
    result = on_device(positions, node.y.shape)
    return SourceKernel("reduction", launches, [layout], [result], resources, workspace=workspace)


def _is_range(node: Node) -> bool:
    return node.x.dtype == np.float32 and node.x.size > 0


@kernel(TOOLKIT_DOMAIN, "DynamicRange", accepts=_is_range)
@kernel("", "DynamicQuantizeLinear", accepts=_is_range)
def lower_dynamic_range(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Smallest and largest number, the grid that covers them, and all numbers on that grid."""
    float32, byte = np.dtype(np.float32), np.dtype(np.uint8)
    shape, size = node.x.shape, node.x.size
    layout = on_device(float32, shape)
    found = reduction_of(layout, range(len(shape)))
    launches, workspace, ends = [], 512, []
    for place, reducer in enumerate(("Smallest", "Largest")):
        made, more = launches_of(f"reduction::{reducer}<float32>", reducer, float32, float32, found)
        to = Scratch(256 * place)
        ends.append(to)
        for launch in made:
            arguments = [to if isinstance(item, Output) else item for item in launch.arguments]
            moved = [Scratch(512) if item == Scratch() and item is not to else item for item in arguments]
            launches.append(Launch(launch.function, launch.blocks, launch.threads, tuple(moved)))
        workspace = max(workspace, 512 + more)
    first = 1 if node.op_type == "DynamicQuantizeLinear" else 0
    grid = Function(
        "range",
        (reads("low", float32), reads("high", float32), writes("scale", float32), writes("zero", byte)),
        "    quantisation::grid(*low, *high, scale, zero);",
        ("quantisation",),
    )
    launches.append(in_one_row(grid, 1, [*ends, Output(first), Output(first + 1)], threads=1))
    if first:
        parameters = (reads("x", float32), reads("scale", float32), reads("zero", byte), writes("y", byte))
        body = f"    quantisation::quantise(x, *scale, *zero, y, {size}ull);"
        function = Function("quantise", parameters, body, ("quantisation",))
        launches.append(in_one_row(function, size, [Input(0), Output(1), Output(2), Output(0)]))
    outputs = [on_device(item.dtype, item.shape) for item in node.outputs if item is not None]
    return SourceKernel("dynamic range", launches, [layout], outputs, resources, workspace=workspace)
